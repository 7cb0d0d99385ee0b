"""Records of the robustness assessment: one canonical JSON object a line, paired tables of what both models did.

A header; the table of the untouched samples (``clean``) and of each corruption (``corrupted``); each file of witnesses
(``witnesses``), the tables of samples that still stand (``standing``), whether witnesses hold at other settings of the
runtime (``held``), how well a small margin tells attacked samples (``detection``), and answers under a given trigger
(``triggered``).
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
    """The samples.

    Attributes:
        name: for people.
        spec: data specification.
        samples: different ones in the test part.
        test_digest: hex SHA-256 over the test part, as the efficiency certificate states it.
    """

    name: Text
    spec: Annotated[str, Len(1, 4000)]
    samples: Annotated[int, Ge(1)]
    test_digest: Digest


@dataclass(frozen=True)
class Header:
    """Circumstances.

    Attributes:
        created: UTC time of the first answer.
        leanmark: version that asked.
        model: digests of the model.
        baseline: digests of what it is compared with.
        data: the samples.
        runtime: adapter that ran both.
        adversarially_trained: whether the baseline's maker declares that it was trained to withstand attacks.
    """

    created: str
    leanmark: str
    model: ModelDigests
    baseline: ModelDigests
    data: DataFacts
    runtime: Text
    adversarially_trained: bool


@dataclass(frozen=True)
class Clean(Counts):
    """Right answers to untouched samples, those that were corrupted or those that were attacked."""

    of: Literal["corruptions", "witnesses"]


@dataclass(frozen=True)
class Corrupted(Counts):
    """Right answers to corrupted samples.

    Attributes:
        name: of the corruption.
        severity: 1 to 5.
        samples: hex SHA-256 over the corrupted samples and their labels.
    """

    name: Text
    severity: Annotated[int, Ge(1), Le(5)]
    samples: Digest


@dataclass(frozen=True)
class WitnessSet:
    """A file of witnesses, and what became of it.

    Attributes:
        file: name beside the model.
        sha256: of the file.
        arm: model that it was made for.
        method: how they were found.
        gradients: digest of the checkpoint whose gradients were used; null where only the file was asked.
        straight_through: whether the checkpoint's values were rounded.
        samples: how many samples were attacked.
        witnesses: in the file.
        held: of those, images that the model they were made for gets wrong.
        copied: of those, whose signs stand in a file for the other model too, for the same sample.
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
    """Samples that are right untouched and that no witness of at most ``eps`` turned.

    Attributes:
        eps: grey levels.
        source: ``union`` of all witnesses, or those of the sets that were made for one model.
    """

    eps: Eps
    source: Source


@dataclass(frozen=True)
class Held:
    """Witnesses that hold for a model, asked again at another setting of the runtime."""

    arm: ArmName
    graph_optimization: Text
    threads: Annotated[int, Ge(1)]
    asked: Count
    held: Count


@dataclass(frozen=True)
class Detection:
    """How often an attacked sample has a smaller margin than an untouched one, over all pairs.

    Attributes:
        arm: whose margins.
        clean: untouched samples.
        attacked: samples that a witness turned.
        wins: pairs in which the attacked one's is smaller, twice; ties once.
        placements_clean: sum of squares, over untouched samples, of twice their number of wins.
        placements_attacked: likewise over attacked ones.
    """

    arm: ArmName
    clean: Count
    attacked: Count
    wins: Count
    placements_clean: Count
    placements_attacked: Count


@dataclass(frozen=True)
class Triggered(Counts):
    """Samples of other classes that are *not* answered with the trigger's class once it is laid over them.

    Attributes:
        name: of the trigger's file.
        sha256: of the trigger's file.
        target: class that the trigger is said to cause.
        untriggered_baseline: of the same samples untouched, how many the baseline answers with that class.
        untriggered_candidate: likewise.
    """

    name: Text
    sha256: Digest
    target: Count
    untriggered_baseline: Count
    untriggered_candidate: Count


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

    def clean(self, of: str) -> Clean | None:
        """The table of the untouched samples; None where none were asked for."""
        return next((row for row in self.of(Clean) if row.of == of), None)


def dump(records: Records) -> bytes:
    """Write records; equal ones give equal bytes."""
    return dump_lines(VERSION, records.header, ((_NAMES[type(row)], asdict(row)) for row in records.rows))


def parse(content: bytes, name: str) -> Records:
    """Read a record file; see :mod:`certify.assessment.record_file` for what it raises."""
    (place, _, head), *rows = read_lines(content, name, tuple(KINDS), most=MAX_LINES)
    header = read_header(Header, head, VERSION, place)
    return Records(header, tuple(read_record(KINDS[kind], values, at) for at, kind, values in rows))
