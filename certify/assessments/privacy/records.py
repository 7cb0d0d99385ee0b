"""Records of a privacy statement: one canonical JSON object per line, each with its ``kind``.

``header`` (first, once), then any number of ``dp-sgd``, ``gnmax``, ``source``, ``touch``, ``choice`` and ``class``;
and, only in the auditor file, ``batches`` and ``members``. A maker builds :class:`Records` with everything, calls
:func:`certify.assessments.privacy.withholding.write`, and signs the public file with ``leanmark state --assessment
privacy``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt

from certify.assessments.privacy.mechanisms import (
    Count,
    DpSgd,
    GnMaxVotes,
    Mechanism,
    Positive,
    Randomness,
    Sampling,
    Unit,
)
from certify.core.accounting import Adjacency
from certify.data.touches import RAW

TrustModel = Literal["central", "local", "distributed", "secure-aggregation"]
Size = Annotated[int, Ge(0)]


@dataclass(frozen=True)
class Header:
    """Claim and its subject.

    Attributes:
        created: UTC time of the first record, ISO 8601 with ``Z``.
        leanmark: version that wrote the records.
        model: digests of the model, ``sha256`` and ``leanmarkContent``.
        claimed_epsilon: epsilon claimed over all mechanisms and runs.
        delta: delta of the claim.
        unit: unit whose presence is hidden.
        contribution_bound: maximum number of records per unit; None if unbounded.
        adjacency: whether neighbouring data sets differ by an added unit or by a replaced one.
        units: N, the number of units in the private splits; None in public under ``add-remove``.
        private_parts: names of the private splits.
        trust_model: whom the data holders trust: ``central`` (one holder sees raw data), ``local`` (noise is added
            before anything leaves a unit), ``distributed`` (noise adds up from several parties), ``secure-aggregation``
            (a server sees only sums).
        attempts: training runs on the private splits, including failed or discarded ones.
        lineage: hex SHA-256 of the model's lineage.json; None if there is none.
        auditor: binding of the auditor file; None in that file itself, and if nothing is withheld.
    """

    created: str
    leanmark: str
    model: Mapping[str, str]
    claimed_epsilon: Positive
    delta: Annotated[float, Gt(0), Lt(1)]
    unit: Unit
    contribution_bound: Count | None
    adjacency: Adjacency
    units: Count | None
    private_parts: tuple[str, ...]
    trust_model: TrustModel
    attempts: Count
    lineage: str | None = None
    auditor: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class SourceOf:
    """Model or data set that was used in addition to the private splits.

    Attributes:
        role: its role for the model: ``original``, ``teacher``, ``features`` or ``data``.
        name: display name.
        status: whether its own sources are public.
        digest: hex SHA-256 of the public data or weights; None if it is not stated.
        mechanism: id of the mechanism that it was trained under, if it saw the private splits.
    """

    role: Literal["original", "teacher", "features", "data"]
    name: str
    status: Literal["public", "private", "unknown"]
    digest: str | None = None
    mechanism: str | None = None


@dataclass(frozen=True)
class Touch:
    """Reads of one split by one step of the lineage, as recorded by the loaders.

    Attributes:
        step: name such as ``1 distill``, ``baseline`` or ``export``.
        part: name of the split; ``*`` if it is unknown what the step read.
        how: ``raw``, ids of mechanisms, or ``unknown``.
    """

    step: str
    part: str
    how: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """Choice made by looking at data: a clipping norm, a size, the epoch to keep, a threshold.

    Attributes:
        what: parameter that was chosen.
        on: ``none`` (fixed in advance), ``public`` data, the raw ``private`` splits, or a ``mechanism``.
        mechanism: its id, if ``on`` is ``mechanism``.
    """

    what: str
    on: Literal["none", "public", "private", "mechanism"]
    mechanism: str | None = None


@dataclass(frozen=True)
class ClassAccuracy:
    """Correct answers in one class of a test set, before and after private training.

    Attributes:
        name: name of the class.
        samples: samples of the class.
        before: correct answers of the model without privacy.
        after: correct answers of the private model.
    """

    name: str
    samples: Count
    before: Size
    after: Size


@dataclass(frozen=True)
class Batches:
    """Realised batch sizes of one run, one per step; only in the auditor file."""

    mechanism: str
    run: Size
    sizes: tuple[Size, ...]


@dataclass(frozen=True)
class Members:
    """Keyed identifiers of the samples of a split; only in the auditor file.

    Attributes:
        part: a private split, ``teacher:K`` for a teacher's, or ``public:NAME`` for data stated as public.
        ids: HMAC-SHA256 of the samples' digests under the data key.
    """

    part: str
    ids: tuple[str, ...]


@dataclass(frozen=True)
class Records:
    """All records from which a privacy statement follows.

    Example:
        >>> sampling = Sampling("poisson", rate=0.2, expected_batch=600.0)
        >>> sampling.amplifies
        True
    """

    header: Header
    sgd: tuple[DpSgd, ...] = ()
    votes: tuple[GnMaxVotes, ...] = ()
    sources: tuple[SourceOf, ...] = ()
    touches: tuple[Touch, ...] = ()
    choices: tuple[Choice, ...] = ()
    classes: tuple[ClassAccuracy, ...] = ()
    batches: tuple[Batches, ...] = field(default=(), repr=False)
    members: tuple[Members, ...] = field(default=(), repr=False)

    @property
    def mechanisms(self) -> tuple[Mechanism, ...]:
        """All mechanisms."""
        return (*self.sgd, *self.votes)

    @property
    def ids(self) -> frozenset[str]:
        """Names of the mechanisms."""
        return frozenset(mechanism.id for mechanism in self.mechanisms)

    @property
    def raw_touches(self) -> tuple[Touch, ...]:
        """Touches of private splits that no recorded mechanism covers."""
        # An unknown read is not raw; a separate check reports it.
        covered = self.ids | {UNKNOWN}
        return tuple(
            touch for touch in self.touches if self.is_private(touch.part) and not covered.issuperset(touch.how)
        )

    def is_private(self, part: str) -> bool:
        """Return whether a split is private; an unknown split counts as private."""
        # An unknown split may have been a private one.
        return part in self.header.private_parts or part == ANY_PART


UNKNOWN = "unknown"
ANY_PART = "*"


def touches_of(lineage: Mapping[str, Any]) -> tuple[Touch, ...]:
    """Return the touches stated by a lineage, in order; reads by a search, or of a step that states none, are unknown.

    Example:
        >>> row = {"pass": "distill", "touched": {"train": ["raw"]}}
        >>> touches_of({"baseline": {"touched": {}}, "rows": [row], "export": None})
        (Touch(step='0 distill', part='train', how=('raw',)),)
    """
    steps = [("baseline", lineage["baseline"])]
    steps += [(f"{number} {row['pass']}", row) for number, row in enumerate(lineage["rows"])]
    steps += [] if lineage["export"] is None else [("export", lineage["export"])]
    # A search reads data in ways that no single step records.
    found = [Touch("search", ANY_PART, (UNKNOWN,))] if lineage.get("search") else []
    for step, values in steps:
        touched = values.get("touched")
        if touched is None:
            found.append(Touch(step, ANY_PART, (UNKNOWN,)))
        else:
            found += [Touch(step, part, tuple(hows)) for part, hows in sorted(touched.items())]
    return tuple(found)


__all__ = [
    "ANY_PART", "RAW", "UNKNOWN", "Batches", "Choice", "ClassAccuracy", "DpSgd", "GnMaxVotes", "Header", "Mechanism",
    "Members", "Randomness", "Records", "Sampling", "SourceOf", "Touch", "touches_of",
]  # fmt: skip
