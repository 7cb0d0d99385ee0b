"""Records of the social assessment: one canonical JSON object per line, with counts of people and never a person.

A header; the paired table of all samples of a label (``total``) and of every published cell (``cell``); the names of
withheld cells (``held_back``); sums of proper scores (``calibration``); counts of changed answers (``turned``), of
flips when an attribute is exchanged (``flips``) and of further metrics (``metric``). If a model was measured without a
baseline, both models are the same in its tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Len, MinLen

from certify.assessment.record_file import (
    Count,
    Counts,
    ModelDigests,
    RecordHeader,
    Text,
    dump_lines,
    read_header,
    read_lines,
    read_record,
)

VERSION = 1
MAX_LINES = 20_000
NOT_STATED = "not stated"
"""Group of the samples without a value in the column."""

Kind = Literal["binary", "classes"]


@dataclass(frozen=True)
class DataFacts:
    """Samples of the assessment.

    Attributes:
        name: display name.
        spec: data specification.
        samples: number of distinct scored samples; a repeated one counts once.
        test_digest: hex SHA-256 over the test split, as in the efficiency certificate.
        columns: hex SHA-256 of every group column of the data, bound to ``test_digest``, by name.
        columns_digest: hex SHA-256 over ``columns``, as in the efficiency certificate.
        classes: class names; of two, the second is the positive answer.
    """

    name: Text
    spec: Annotated[str, Len(1, 4000)]
    samples: Count
    test_digest: Annotated[str, Len(64, 64)]
    columns: Mapping[str, str]
    columns_digest: Annotated[str, Len(64, 64)]
    classes: Annotated[tuple[Text, ...], MinLen(2)]


@dataclass(frozen=True)
class Attribute:
    """Group column, or two crossed ones.

    Attributes:
        name: name of the column, or ``A:B`` for two.
        columns: names of the one or two columns.
        groups: published groups, in order; for two columns every pair of their groups.
        merged: original values of each group that was merged from several.
        missing: number of samples without a value in the column.
        of_label: whether the label determines the group, so that the column adds nothing to the label.
    """

    name: Text
    columns: Annotated[tuple[Text, ...], Len(1, 2)]
    groups: Annotated[tuple[Text, ...], MinLen(2)]
    merged: Mapping[str, tuple[Text, ...]]
    missing: Count
    of_label: bool


@dataclass(frozen=True)
class Header(RecordHeader):
    """Circumstances of the measurement.

    Attributes:
        decision: ``binary``: cells are groups by label (false positives, false negatives); ``classes``: cells are
            groups.
        baseline: digests of the baseline; null if the model was measured alone.
        data: samples of the assessment.
        attributes: attributes in the order of their cells.
    """

    decision: Kind
    baseline: ModelDigests | None
    data: DataFacts
    attributes: Annotated[tuple[Attribute, ...], MinLen(1)]


@dataclass(frozen=True)
class Total(Counts):
    """All samples of a label; of all labels if it is null."""

    label: Count | None


@dataclass(frozen=True)
class Cell(Counts):
    """Samples of one group and one label; of all labels if it is null.

    Attributes:
        attribute: name of the attribute.
        group: name of the group.
        label: true label.
        labels: number of distinct labels of its samples.
    """

    attribute: Text
    group: Text
    label: Count | None
    labels: Count


@dataclass(frozen=True)
class HeldBack:
    """A cell whose table is not published."""

    attribute: Text
    group: Text
    label: Count | None


@dataclass(frozen=True)
class Calibration:
    """Sums of both models' proper scores, ``brier`` or ``log_loss``, over all samples.

    Attributes:
        score: name of the score.
        n: number of samples.
        baseline: sum of the baseline's scores.
        candidate: sum of the candidate's scores.
        difference: sum of candidate minus baseline.
        difference_squared: sum of the squared differences.
    """

    score: Literal["brier", "log_loss"]
    n: Count
    baseline: Annotated[float, Ge(0)]
    candidate: Annotated[float, Ge(0)]
    difference: float
    difference_squared: Annotated[float, Ge(0)]


@dataclass(frozen=True)
class Reliability:
    """One arm's confidence against correctness, in bins of equal width from 0 to 1."""

    arm: Literal["baseline", "candidate"]
    n: tuple[Count, ...]
    confidence: tuple[Annotated[float, Ge(0)], ...]
    right: tuple[Count, ...]


@dataclass(frozen=True)
class Turned:
    """Samples whose answer changed.

    Attributes:
        by: ``class`` (true label) or ``margin`` (parts of equal size, the smallest margins of the baseline first).
        place: index of the class or the part.
        n: number of samples.
        turned: number of those whose answer changed.
    """

    by: Literal["class", "margin"]
    place: Count
    n: Count
    turned: Count


@dataclass(frozen=True)
class Flips(Counts):
    """Paired table of samples whose answer stays (``right``) if only an attribute is exchanged in the input."""

    attribute: Text


@dataclass(frozen=True)
class MetricCounts(Counts):
    """Further binary metric, as a paired table."""

    name: Literal["top3"]


Record = Total | Cell | HeldBack | Calibration | Reliability | Turned | Flips | MetricCounts

KINDS: dict[str, type[Any]] = {
    "total": Total,
    "cell": Cell,
    "held_back": HeldBack,
    "calibration": Calibration,
    "reliability": Reliability,
    "turned": Turned,
    "flips": Flips,
    "metric": MetricCounts,
}
_NAMES = {kind: name for name, kind in KINDS.items()}


@dataclass(frozen=True)
class Records:
    """All counts of the assessment.

    Attributes:
        header: circumstances of the records.
        rows: records in the order of :data:`KINDS`.
    """

    header: Header
    rows: tuple[Record, ...]

    def of(self, kind: type[Any]) -> tuple[Any, ...]:
        """Return the records of one kind, in order."""
        return tuple(row for row in self.rows if type(row) is kind)

    @property
    def compares(self) -> bool:
        """Whether the model was compared with a baseline."""
        return self.header.baseline is not None

    @property
    def cells(self) -> tuple[Cell, ...]:
        """Published cells."""
        return self.of(Cell)


def dump(records: Records) -> bytes:
    """Serialise records; equal ones give equal bytes."""
    return dump_lines(VERSION, records.header, ((_NAMES[type(row)], asdict(row)) for row in records.rows))


def parse(content: bytes, name: str) -> Records:
    """Parse a record file; see :mod:`certify.assessment.record_file` for the errors."""
    (place, _, head), *rows = read_lines(content, name, tuple(KINDS), most=MAX_LINES)
    header = read_header(Header, head, VERSION, place)
    return Records(header, tuple(read_record(KINDS[kind], values, at) for at, kind, values in rows))
