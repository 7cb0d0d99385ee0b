"""Records of the social assessment: one canonical JSON object a line, counts of people and never a person.

A header; the paired table of all samples of a label (``total``) and of every published cell (``cell``); the names of
cells that are held back (``held_back``); sums of proper scores (``calibration``); counts of answers that turned
(``turned``), of flips when an attribute is exchanged (``flips``) and of further metrics (``metric``). A model that was
measured without a baseline has tables in which both models are the same.
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
    Text,
    dump_lines,
    read_header,
    read_lines,
    read_record,
)

VERSION = 1
MAX_LINES = 20_000
NOT_STATED = "not stated"
"""Group of the samples whose column says nothing."""

Kind = Literal["binary", "classes"]


@dataclass(frozen=True)
class DataFacts:
    """The samples.

    Attributes:
        name: for people.
        spec: data specification.
        samples: different ones that were scored, so that a repeated one counts once.
        test_digest: hex SHA-256 over the test part, as the efficiency certificate states it.
        columns: hex SHA-256 of every column of groups that the data carry, bound to ``test_digest``, by name.
        columns_digest: hex SHA-256 over ``columns``, as the efficiency certificate states it.
        classes: names of the classes; of two, the second is the positive answer.
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
    """A column of groups, or two that were crossed.

    Attributes:
        name: of the column, or ``A:B`` of two.
        columns: names of the one or two columns.
        groups: published ones, in order; of two columns every pair of their groups.
        merged: the values that a group was made of, by the group, where they are several.
        missing: samples whose column says nothing.
        of_label: whether the truth decides the group, so that the column says nothing that the label does not.
    """

    name: Text
    columns: Annotated[tuple[Text, ...], Len(1, 2)]
    groups: Annotated[tuple[Text, ...], MinLen(2)]
    merged: Mapping[str, tuple[Text, ...]]
    missing: Count
    of_label: bool


@dataclass(frozen=True)
class Header:
    """Circumstances.

    Attributes:
        created: UTC time of the measurement.
        leanmark: version that measured.
        decision: ``binary``: cells are groups by label (false positives, false negatives); ``classes``: groups.
        model: digests of the model.
        baseline: digests of what it is compared with; null where it was measured alone.
        data: the samples.
        attributes: in the order of their cells.
    """

    created: str
    leanmark: str
    decision: Kind
    model: ModelDigests
    baseline: ModelDigests | None
    data: DataFacts
    attributes: Annotated[tuple[Attribute, ...], MinLen(1)]


@dataclass(frozen=True)
class Total(Counts):
    """All samples of a label; of all labels where it is null."""

    label: Count | None


@dataclass(frozen=True)
class Cell(Counts):
    """The samples of one group and one label; of all labels where it is null.

    Attributes:
        attribute: name of the attribute.
        group: name of the group.
        label: of the truth.
        labels: how many different labels its samples have.
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
    """Sums over all samples of a proper score of both models, ``brier`` or ``log_loss``.

    Attributes:
        score: which one.
        n: samples.
        baseline: sum of the baseline's scores.
        candidate: likewise.
        difference: sum of candidate minus baseline.
        difference_squared: sum of its squares.
    """

    score: Literal["brier", "log_loss"]
    n: Count
    baseline: Annotated[float, Ge(0)]
    candidate: Annotated[float, Ge(0)]
    difference: float
    difference_squared: Annotated[float, Ge(0)]


@dataclass(frozen=True)
class Reliability:
    """One arm's confidence against what was right, in bins of equal width from 0 to 1."""

    arm: Literal["baseline", "candidate"]
    n: tuple[Count, ...]
    confidence: tuple[Annotated[float, Ge(0)], ...]
    right: tuple[Count, ...]


@dataclass(frozen=True)
class Turned:
    """Samples whose answer is another one after than before.

    Attributes:
        by: ``class`` (of the truth) or ``margin`` (parts of equal size, the smallest margins of the baseline first).
        place: number of the class or the part.
        n: samples.
        turned: of those.
    """

    by: Literal["class", "margin"]
    place: Count
    n: Count
    turned: Count


@dataclass(frozen=True)
class Flips(Counts):
    """Samples whose answer stays (``right``) when only an attribute is exchanged in the input, as a paired table."""

    attribute: Text


@dataclass(frozen=True)
class MetricCounts(Counts):
    """A further yes-or-no metric, as a paired table."""

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
    """Everything that was counted.

    Attributes:
        header: circumstances.
        rows: the records, in the order of :data:`KINDS`.
    """

    header: Header
    rows: tuple[Record, ...]

    def of(self, kind: type[Any]) -> tuple[Any, ...]:
        """Records of one kind, in their order."""
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
    """Write records; equal ones give equal bytes."""
    return dump_lines(VERSION, records.header, ((_NAMES[type(row)], asdict(row)) for row in records.rows))


def parse(content: bytes, name: str) -> Records:
    """Read a record file; see :mod:`certify.assessment.record_file` for what it raises."""
    (place, _, head), *rows = read_lines(content, name, tuple(KINDS), most=MAX_LINES)
    header = read_header(Header, head, VERSION, place)
    return Records(header, tuple(read_record(KINDS[kind], values, at) for at, kind, values in rows))
