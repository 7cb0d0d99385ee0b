"""Records of a privacy audit: one canonical JSON object a line, of attacks on a model and on twins that never ship.

A header; what each training or attack cost (``step``); the canaries (``canaries``), fixed before the twin was trained;
the samples of the membership attack (``membership``) with what the model and its shadows score on each (``scores``);
what became of the canaries (``opened``); and what a thief's copies agree with (``extraction``).

Of private data the public file holds the header, the steps and the canaries' commitment alone: epsilon does not cover
what an attack finds out, and the rest goes to the auditor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Len, Lt

from certify.assessment.auditor_file import require_binding
from certify.assessment.record_file import (
    Counts,
    Digest,
    ModelDigests,
    Text,
    dump_lines,
    read_header,
    read_lines,
    read_record,
)
from certify.core.accounting import Adjacency

VERSION = 1
MAX_LINES = 10_000
ARMS = ("baseline", "candidate")
TARGET = "target"

Arm = Literal["baseline", "candidate"]
Part = Literal["membership", "canaries", "extraction"]
Number = Annotated[int, Ge(1)]
Hex = Annotated[str, Len(2, 1 << 24)]


@dataclass(frozen=True)
class Header:
    """What was audited.

    Attributes:
        created: UTC time at which the audit began.
        leanmark: version that audited.
        model: digests of the model.
        baseline: digests of the original that is published beside it; None where there is none.
        data: name of the data.
        private: whether the data are private, so that figures go to the auditor.
        recipe: hex SHA-256 of the passes that made the model, which shadows and twins went through too.
        baseline_trained: whether the original was trained on the data, so that shadows of it can be trained.
        parts: what was done.
        lineage: hex SHA-256 of the model's lineage.json; None where there is none.
        auditor: what binds the auditor file; None in that file itself, and where nothing is withheld.
    """

    created: str
    leanmark: Text
    model: ModelDigests
    baseline: ModelDigests | None
    data: Text
    private: bool
    recipe: Digest
    baseline_trained: bool
    parts: tuple[Part, ...]
    lineage: Digest | None = None
    auditor: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Step:
    """One training or attack of the audit: what it cost, and which data it read.

    Attributes:
        name: such as ``shadow 3``.
        seconds: wall time.
        cpu_s: processor time of the process.
        energy_j: JSON of an Estimate; None where no meter told.
        touched: how each part of the data was read, by its name.
    """

    name: Text
    seconds: Annotated[float, Ge(0)]
    cpu_s: Annotated[float, Ge(0)]
    energy_j: Mapping[str, Any] | None
    touched: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Membership:
    """The samples that an attack tells apart.

    Attributes:
        samples: how many, members and others together.
        digest: hex SHA-256 over their identifiers in order, one a line.
    """

    samples: Number
    digest: Digest


@dataclass(frozen=True)
class ScoresOf:
    """What one model says of each sample.

    Attributes:
        of: ``target``, or the number of a shadow.
        arm: which of its two files.
        recipe: hex SHA-256 of the passes that it went through.
        inside: hexadecimal bits, highest first, of the samples that it was trained on.
        values: log(p / (1 - p)) of the true class, for each sample.
    """

    of: Annotated[str, Len(1, 20)]
    arm: Arm
    recipe: Digest
    inside: Hex
    values: tuple[float, ...]


@dataclass(frozen=True)
class Canaries:
    """Canaries, as they were fixed before the twin was trained.

    Attributes:
        canaries: how many.
        guesses: how many coins are guessed afterwards.
        commitment: hex SHA-256 of :func:`certify.assessments.privacy_audit.coins.commitment_of`.
        committed: UTC time of the commitment.
        samples: hex SHA-256 over the canaries' identifiers and labels in order, one a line.
        claimed_epsilon: that the model claims; None where it claims none.
        delta: for which it holds.
        adjacency: of the claim.
    """

    canaries: Number
    guesses: Number
    commitment: Digest
    committed: str
    samples: Digest
    claimed_epsilon: Annotated[float, Gt(0)] | None
    delta: Annotated[float, Ge(0), Lt(1)]
    adjacency: Adjacency


@dataclass(frozen=True)
class Opened:
    """What became of the canaries.

    Attributes:
        seed: hexadecimal secret of the coins, opened after the training.
        trained: UTC time at which the twin was done.
        recipe: hex SHA-256 of the passes that it went through.
        scores: the higher, the more the twin seems to know a canary.
    """

    seed: Digest
    trained: str
    recipe: Digest
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Extraction(Counts):
    """Agreement with the model on samples that no copy saw: a thief's copy as ``candidate``, a control as ``baseline``.

    Attributes:
        queries: answers that the thief got.
        access: what an answer holds.
        control: what the control learned from instead, without one query.
    """

    queries: Number
    access: Literal["labels", "probabilities"]
    control: Text


KINDS: dict[str, type[Any]] = {
    "step": Step,
    "canaries": Canaries,
    "membership": Membership,
    "scores": ScoresOf,
    "opened": Opened,
    "extraction": Extraction,
}
_NAMES = {kind: name for name, kind in KINDS.items()}
PUBLIC = (Step, Canaries)
"""Kinds of records that stay public where the data are private."""
Record = Step | Canaries | Membership | ScoresOf | Opened | Extraction


@dataclass(frozen=True)
class Records:
    """Everything that an audit found.

    Attributes:
        header: what was audited.
        rows: the records, in the order of :data:`KINDS`.
    """

    header: Header
    rows: tuple[Record, ...]

    def of(self, kind: type[Any]) -> tuple[Any, ...]:
        """Records of one kind, in their order."""
        return tuple(row for row in self.rows if type(row) is kind)

    def first(self, kind: type[Any]) -> Any:
        """The first record of a kind; None where there is none."""
        return next(iter(self.of(kind)), None)

    @property
    def withheld(self) -> bool:
        """Whether figures stand in the auditor file alone."""
        return self.header.auditor is not None and all(type(row) in PUBLIC for row in self.rows)


def dump(records: Records) -> bytes:
    """Write records; equal ones give equal bytes."""
    return dump_lines(VERSION, records.header, ((_NAMES[type(row)], asdict(row)) for row in records.rows))


def parse(content: bytes, name: str) -> Records:
    """Read a record file; see :mod:`certify.assessment.record_file` for what it raises."""
    (place, _, head), *rows = read_lines(content, name, tuple(KINDS), most=MAX_LINES)
    header = read_header(Header, head, VERSION, place)
    require_binding(header.auditor, place)
    return Records(header, tuple(read_record(KINDS[kind], values, at) for at, kind, values in rows))
