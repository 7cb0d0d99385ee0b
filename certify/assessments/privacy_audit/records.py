"""Records of a privacy audit: one canonical JSON object per line, about attacks on a model and on twins of it.

A header; the cost of each training or attack (``step``), and of each earlier audit of the same lineage (``earlier``),
whose statement this one replaces; the canaries (``canaries``), committed to before the twin was
trained; the samples of the membership attack (``membership``), with the scores of the model and of each shadow
(``scores``); the opened commitment (``opened``); and the agreement of a thief's copies (``extraction``).

If the data are private, the public file holds only the header, the costs and the commitment; all other records go to
the auditor file, because epsilon does not cover the findings of an attack.
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
    RecordHeader,
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
class Header(RecordHeader):
    """What was audited.

    Attributes:
        baseline: digests of the original that is published next to it; None where there is none.
        data: name of the data.
        private: whether the data are private; figures then go to the auditor file.
        recipe: hex SHA-256 of the model's passes, which shadows and twins also went through.
        baseline_trained: whether the original was trained on the data; only then can shadows of it be trained.
        parts: parts of the audit.
        lineage: hex SHA-256 of the model's lineage.json; None without one.
        auditor: binding of the auditor file; None in that file, and if nothing is withheld.
    """

    leanmark: Text
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
    """Cost and reads of one training or attack of the audit.

    Attributes:
        name: name of the step, such as ``shadow 3``.
        seconds: wall-clock time.
        cpu_s: processor time of the process.
        energy_j: energy, as the JSON of an Estimate; None if it was not measured.
        touched: how each part of the data was read, by name of the part.
    """

    name: Text
    seconds: Annotated[float, Ge(0)]
    cpu_s: Annotated[float, Ge(0)]
    energy_j: Mapping[str, Any] | None
    touched: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class EarlierAudit:
    """Cost of an earlier audit of the same lineage, so that replacing its statement does not lose its joules.

    Attributes:
        statement: hex SHA-256 of its signed envelope; None if it was abandoned before it had one.
        created: UTC time at which it began.
        energy_j: energy, as the JSON of an Estimate; None if it is unknown.
    """

    statement: Digest | None
    created: Text
    energy_j: Mapping[str, Any] | None


@dataclass(frozen=True)
class Membership:
    """Samples of the membership attack.

    Attributes:
        samples: number of members and non-members together.
        digest: hex SHA-256 over their identifiers in order, one per line.
    """

    samples: Number
    digest: Digest


@dataclass(frozen=True)
class ScoresOf:
    """Scores that one model gives all samples.

    Attributes:
        of: model: ``target``, or the number of a shadow.
        arm: file of the model.
        recipe: hex SHA-256 of the model's passes.
        inside: hexadecimal bits, highest first: whether the model was trained on each sample.
        values: log(p / (1 - p)) of the true class, one per sample.
    """

    of: Annotated[str, Len(1, 20)]
    arm: Arm
    recipe: Digest
    inside: Hex
    values: tuple[float, ...]


@dataclass(frozen=True)
class Canaries:
    """Terms of the canaries, committed to before the twin was trained.

    Attributes:
        canaries: number of canaries.
        guesses: number of coins to guess afterwards.
        commitment: hex SHA-256 of :func:`certify.assessments.privacy_audit.coins.commitment_of`.
        committed: UTC time of the commitment.
        samples: hex SHA-256 over the canaries' identifiers and labels in order, one per line.
        claimed_epsilon: epsilon of the tested claim; None if no claim was tested.
        delta: delta for which it holds.
        adjacency: adjacency of the claim.
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
    """Opened commitment, with the twin's scores.

    Attributes:
        seed: hexadecimal secret of the coins, opened after the training.
        trained: UTC time at which the twin was finished.
        recipe: hex SHA-256 of the twin's passes.
        scores: scores of the canaries; higher if the twin seems to have seen one.
    """

    seed: Digest
    trained: str
    recipe: Digest
    scores: tuple[float, ...]


@dataclass(frozen=True)
class Extraction(Counts):
    """Agreement with the model on unseen samples: of a thief's copy as ``candidate``, of a control as ``baseline``.

    Attributes:
        queries: number of answers that the thief received.
        access: content of an answer.
        control: what the control learned from instead.
    """

    queries: Number
    access: Literal["labels", "probabilities"]
    control: Text


KINDS: dict[str, type[Any]] = {
    "step": Step,
    "earlier": EarlierAudit,
    "canaries": Canaries,
    "membership": Membership,
    "scores": ScoresOf,
    "opened": Opened,
    "extraction": Extraction,
}
_NAMES = {kind: name for name, kind in KINDS.items()}
PUBLIC = (Step, EarlierAudit, Canaries)
"""Kinds of records that are public even if the data are private."""
Record = Step | EarlierAudit | Canaries | Membership | ScoresOf | Opened | Extraction


@dataclass(frozen=True)
class Records:
    """All records of an audit.

    Attributes:
        header: header of the records.
        rows: records, in the order of :data:`KINDS`.
    """

    header: Header
    rows: tuple[Record, ...]

    def of(self, kind: type[Any]) -> tuple[Any, ...]:
        """Return the records of one kind, in order."""
        return tuple(row for row in self.rows if type(row) is kind)

    def first(self, kind: type[Any]) -> Any:
        """Return the first record of a kind, or None."""
        return next(iter(self.of(kind)), None)

    @property
    def withheld(self) -> bool:
        """Whether the findings are only in the auditor file."""
        return self.header.auditor is not None and all(type(row) in PUBLIC for row in self.rows)


def dump(records: Records) -> bytes:
    """Serialise records; equal records give equal bytes."""
    return dump_lines(VERSION, records.header, ((_NAMES[type(row)], asdict(row)) for row in records.rows))


def parse(content: bytes, name: str) -> Records:
    """Read a record file; :mod:`certify.assessment.record_file` lists the errors."""
    (place, _, head), *rows = read_lines(content, name, tuple(KINDS), most=MAX_LINES)
    header = read_header(Header, head, VERSION, place)
    require_binding(header.auditor, place)
    return Records(header, tuple(read_record(KINDS[kind], values, at) for at, kind, values in rows))
