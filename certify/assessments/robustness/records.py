"""Records of the robustness assessment: one canonical JSON object per line, paired tables of both models' answers.

A header; the table of clean samples (``clean``) and of each corruption (``corrupted``); each witness file
(``witnesses``), the tables of samples that remain correct (``standing``), whether witnesses hold at other settings of
the runtime (``held``), how well a small margin detects attacked samples (``detection``), and answers under a given
trigger (``triggered``).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Len

from certify.assessment.record_file import (
    Count,
    Counts,
    Digest,
    ModelDigests,
    RecordHeader,
    Text,
    dump_lines,
    read_header,
    read_lines,
    read_record,
)

VERSION = 1
MAX_LINES = 10_000

Eps = Annotated[int, Ge(1), Le(64)]
ArmName = Literal["baseline", "candidate"]
Source = Literal["union", "baseline", "candidate"]


@dataclass(frozen=True)
class DataFacts:
    """Samples of the assessment.

    Attributes:
        name: display name.
        spec: data specification.
        samples: number of distinct samples in the test split.
        test_digest: hex SHA-256 over the test split, as in the efficiency certificate.
    """

    name: Text
    spec: Annotated[str, Len(1, 4000)]
    samples: Annotated[int, Ge(1)]
    test_digest: Digest


@dataclass(frozen=True)
class Header(RecordHeader):
    """Circumstances of the records, which begin with the first answer.

    Attributes:
        baseline: digests of the baseline.
        data: samples of the assessment.
        runtime: runtime adapter of both models.
        adversarially_trained: whether the maker declares the baseline adversarially trained.
        float_parent: digests of the candidate's float parent, compared under triggers; None if it was not given.
    """

    baseline: ModelDigests
    data: DataFacts
    runtime: Text
    adversarially_trained: bool
    float_parent: ModelDigests | None = None


@dataclass(frozen=True)
class Clean(Counts):
    """Correct answers to clean samples: those that were also corrupted, or those that were attacked."""

    of: Literal["corruptions", "witnesses"]


@dataclass(frozen=True)
class Corrupted(Counts):
    """Correct answers to corrupted samples.

    Attributes:
        name: name of the corruption.
        severity: 1 to 5.
        samples: hex SHA-256 over the corrupted samples and their labels.
    """

    name: Text
    severity: Annotated[int, Ge(1), Le(5)]
    samples: Digest


@dataclass(frozen=True)
class WitnessSet:
    """Witness file and its result.

    Attributes:
        file: file name next to the model.
        sha256: hex SHA-256 of the file.
        arm: model that the witnesses were made for.
        method: how they were found.
        gradients: digest of the checkpoint whose gradients were used; null if only the file was queried.
        straight_through: whether the checkpoint's values were fake-quantized.
        samples: number of attacked samples.
        witnesses: number of witnesses in the file.
        held: number of those images that the model they were made for gets wrong.
        copied: number of those whose signs also occur in a file for the other model, for the same sample.
    """

    file: Text
    sha256: Digest
    arm: ArmName
    method: Text
    gradients: Digest | None
    straight_through: bool
    samples: Annotated[int, Ge(1)]
    witnesses: Count
    held: Count
    copied: Count


@dataclass(frozen=True)
class Standing(Counts):
    """Samples that are correct when clean and that no witness of at most ``eps`` fooled.

    Attributes:
        eps: size of the change in grey levels.
        source: ``union`` of all witnesses, or those made for one model.
    """

    eps: Eps
    source: Source


@dataclass(frozen=True)
class Held:
    """Number of witnesses that hold for a model at another setting of the runtime."""

    arm: ArmName
    graph_optimization: Text
    threads: Annotated[int, Ge(1)]
    asked: Count
    held: Count


@dataclass(frozen=True)
class Detection:
    """How often an attacked sample has a smaller margin than a clean one, over all pairs.

    Attributes:
        arm: arm whose margins these are.
        clean: number of clean samples.
        attacked: number of samples that a witness fooled.
        wins: pairs in which the attacked sample's margin is smaller, counted twice; ties count once.
        placements_clean: sum of squares, over clean samples, of twice their number of wins.
        placements_attacked: likewise over attacked samples.
    """

    arm: ArmName
    clean: Count
    attacked: Count
    wins: Count
    placements_clean: Count
    placements_attacked: Count


@dataclass(frozen=True)
class Triggered(Counts):
    """Samples of other classes that are *not* classified as the trigger's class with the trigger on them.

    Attributes:
        name: name of the trigger file.
        sha256: hex SHA-256 of the trigger file.
        target: class that the trigger is suspected to cause.
        untriggered_baseline: number of the same samples, clean, that the baseline classifies as that class.
        untriggered_candidate: likewise for the candidate.
        before: file in the baseline's place: ``baseline``, or the candidate's ``float_parent``.
    """

    name: Text
    sha256: Digest
    target: Count
    untriggered_baseline: Count
    untriggered_candidate: Count
    before: Literal["baseline", "float_parent"] = "baseline"


KINDS: dict[str, type[Any]] = {
    "clean": Clean,
    "corrupted": Corrupted,
    "witnesses": WitnessSet,
    "standing": Standing,
    "held": Held,
    "detection": Detection,
    "triggered": Triggered,
}
_NAMES = {kind: name for name, kind in KINDS.items()}
Record = Clean | Corrupted | WitnessSet | Standing | Held | Detection | Triggered


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

    def clean(self, of: str) -> Clean | None:
        """Return the table of clean samples; None if there is none."""
        return next((row for row in self.of(Clean) if row.of == of), None)


def dump(records: Records) -> bytes:
    """Serialise records; equal ones give equal bytes."""
    return dump_lines(VERSION, records.header, ((_NAMES[type(row)], asdict(row)) for row in records.rows))


def parse(content: bytes, name: str) -> Records:
    """Parse a record file; see :mod:`certify.assessment.record_file` for the errors."""
    (place, _, head), *rows = read_lines(content, name, tuple(KINDS), most=MAX_LINES)
    header = read_header(Header, head, VERSION, place)
    return Records(header, tuple(read_record(KINDS[kind], values, at) for at, kind, values in rows))
