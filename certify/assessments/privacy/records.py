"""What is recorded for a privacy statement, one canonical JSON object a line, each with its ``kind``.

``header`` (first, once), then any number of ``dp-sgd``, ``gnmax``, ``source``, ``touch``, ``choice`` and ``class``;
and, in the auditor file alone, ``batches`` and ``members``. A maker builds :class:`Records` with everything, calls
:func:`certify.assessments.privacy.withholding.write`, and has the public file signed by ``leanmark state --assessment
privacy``.

No record holds a seed of noise or of sampling: the field is there so that one that was used is stated, and refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le, Lt

from certify.core.accounting import Adjacency
from certify.data.touches import RAW

Unit = Literal["record", "user", "client"]
TrustModel = Literal["central", "local", "distributed", "secure-aggregation"]
Positive = Annotated[float, Gt(0)]
Count = Annotated[int, Ge(1)]
Size = Annotated[int, Ge(0)]
Share = Annotated[float, Gt(0), Le(1)]


@dataclass(frozen=True)
class Header:
    """What is claimed, and of what.

    Attributes:
        created: UTC time at which the records were begun, ISO 8601 with ``Z``.
        leanmark: version that recorded.
        model: digests of the model, ``sha256`` and ``leanmarkContent``.
        claimed_epsilon: that the model claims to keep, over all its mechanisms and runs.
        delta: for which it holds.
        unit: whose presence is hidden.
        contribution_bound: most records of one unit; None where nothing bounds them.
        adjacency: whether neighbouring data sets differ by a unit more, or by another one.
        units: N, the number of units in the private parts; None in public under ``add-remove``.
        private_parts: names of the parts of the data that are private.
        trust_model: whom the holders of the data trust: ``central`` (one holder sees raw data), ``local`` (noise before
            anything leaves a unit), ``distributed`` (noise adds up from several), ``secure-aggregation`` (a server sees
            sums alone).
        attempts: trainings on the private parts, with those that failed or were thrown away.
        lineage: hex SHA-256 of the model's lineage.json; None where there is none.
        auditor: what binds the auditor file; None in that file itself, and where nothing is withheld.
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
class Randomness:
    """Where noise and samples come from.

    Attributes:
        source: ``os`` for the entropy of the system, ``seeded`` for a generator with a seed that somebody chose.
        seed: where one was used; noise from it can be subtracted by whoever knows it.
        floating_point_safe: whether the noise was drawn so that the low bits of a sum tell nothing (discrete noise).
    """

    source: Literal["os", "seeded"]
    seed: int | None = None
    floating_point_safe: bool = False


@dataclass(frozen=True)
class Sampling:
    """How the records of a step are chosen.

    Attributes:
        scheme: ``poisson`` (each by a coin of its own), ``all`` (no sampling), or batches that amplify nothing here:
            ``shuffled`` and ``fixed-size``.
        rate: q, probability of the coin; None in public under ``add-remove``, and without a coin.
        expected_batch: q * N; likewise.
        public: whether anybody else may learn who took part, or how many did in a step.
    """

    scheme: Literal["poisson", "all", "shuffled", "fixed-size"]
    rate: Share | None = None
    expected_batch: Positive | None = None
    public: bool = False

    @property
    def amplifies(self) -> bool:
        """Whether sampling may be counted: coins, and nobody sees how they fell."""
        return self.scheme == "poisson" and not self.public


@dataclass(frozen=True)
class DpSgd:
    """Training on clipped gradients with Gaussian noise.

    Attributes:
        id: such as ``dp-sgd#0``, by which touches name it.
        runs: trainings that were released or chosen from.
        steps: noisy sums of one run.
        noise_multiplier: standard deviation of the noise over the clipping norm.
        clip: norm to which the gradient of a unit is clipped.
        clipped_per: whose gradient is clipped.
        microbatch: gradients that are averaged before they are clipped; above 1 the sensitivity doubles.
        sampling: how the records of a step are chosen.
        randomness: where noise and coins come from.
        cross_sample_layers: names of layers that mix samples while they train, such as batch norms.
        gradient_error: largest relative difference of per-sample gradients from a loop of one, before training; None
            where that was not looked at.
    """

    id: str
    runs: Count
    steps: Count
    noise_multiplier: Positive
    clip: Positive
    clipped_per: Unit
    microbatch: Count
    sampling: Sampling
    randomness: Randomness
    cross_sample_layers: tuple[str, ...]
    gradient_error: Annotated[float, Ge(0)] | None


@dataclass(frozen=True)
class GnMaxVotes:
    """Noisy votes of teachers on disjoint parts (PATE); the number of queries and answers is a cap, not a count.

    Attributes:
        id: such as ``gnmax#0``.
        runs: times that the whole vote was held.
        teachers: number of them, each on a part of its own.
        noise: standard deviation of the votes' noise.
        answers: most queries that may be answered.
        threshold_noise: standard deviation of the check's noise; None where every query is answered.
        queries: most queries that may be asked; None likewise.
        caps_fixed_before: whether both numbers were fixed before the first query.
        randomness: where the noise comes from.
    """

    id: str
    runs: Count
    teachers: Count
    noise: Positive
    answers: Count
    threshold_noise: Positive | None
    queries: Count | None
    caps_fixed_before: bool
    randomness: Randomness


@dataclass(frozen=True)
class SourceOf:
    """A model or data set that entered beside the private parts.

    Attributes:
        role: what it is to the model: ``original``, ``teacher``, ``features`` or ``data``.
        name: for people.
        status: whether what it was made from is public.
        digest: hex SHA-256 of the public data or weights; None where it is not stated.
        mechanism: id of the mechanism that it was trained under, where it saw the private parts.
    """

    role: Literal["original", "teacher", "features", "data"]
    name: str
    status: Literal["public", "private", "unknown"]
    digest: str | None = None
    mechanism: str | None = None


@dataclass(frozen=True)
class Touch:
    """How one step of the lineage read one part, as the loaders noted it.

    Attributes:
        step: such as ``1 distill``, ``baseline`` or ``export``.
        part: name of the part; ``*`` where it is not known what the step read.
        how: ``raw`` or ids of mechanisms; ``unknown``.
    """

    step: str
    part: str
    how: tuple[str, ...]


@dataclass(frozen=True)
class Choice:
    """Something that was chosen by looking at data: a clipping norm, a size, the epoch to keep, a threshold.

    Attributes:
        what: was chosen.
        on: ``none`` (fixed in advance), ``public`` data, the ``private`` parts as they are, or a ``mechanism``.
        mechanism: its id, for the last.
    """

    what: str
    on: Literal["none", "public", "private", "mechanism"]
    mechanism: str | None = None


@dataclass(frozen=True)
class ClassAccuracy:
    """Right answers in one class of a test set, before and after the private training.

    Attributes:
        name: of the class.
        samples: of the class.
        before: right answers of the model without privacy.
        after: right answers of the private model.
    """

    name: str
    samples: Count
    before: Size
    after: Size


@dataclass(frozen=True)
class Batches:
    """Realised batch sizes of one run, one for each step; they stand in the auditor file alone."""

    mechanism: str
    run: Size
    sizes: tuple[Size, ...]


@dataclass(frozen=True)
class Members:
    """Keyed identifiers of the samples of a part; they stand in the auditor file alone.

    Attributes:
        part: a private part, ``teacher:K`` for that of a teacher, or ``public:NAME`` for data that are stated public.
        ids: HMAC-SHA256 of the samples' digests under the data key.
    """

    part: str
    ids: tuple[str, ...]


Mechanism = DpSgd | GnMaxVotes


@dataclass(frozen=True)
class Records:
    """Everything that a privacy statement follows from.

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
        return frozenset(one.id for one in self.mechanisms)

    @property
    def raw_touches(self) -> tuple[Touch, ...]:
        """Touches of private parts that no recorded mechanism covers."""
        covered = self.ids | {UNKNOWN}
        return tuple(one for one in self.touches if self.is_private(one.part) and not covered.issuperset(one.how))

    def is_private(self, part: str) -> bool:
        """Whether a part is private; so is whatever a step read that is not known."""
        return part in self.header.private_parts or part == ANY_PART


UNKNOWN = "unknown"
ANY_PART = "*"


def touches_of(lineage: Mapping[str, Any]) -> tuple[Touch, ...]:
    """The touches that a lineage states, in its order; what a search read, or a step that states none, is unknown.

    Example:
        >>> row = {"pass": "distill", "touched": {"train": ["raw"]}}
        >>> touches_of({"baseline": {"touched": {}}, "rows": [row], "export": None})
        (Touch(step='0 distill', part='train', how=('raw',)),)
    """
    steps = [("baseline", lineage["baseline"])]
    steps += [(f"{number} {row['pass']}", row) for number, row in enumerate(lineage["rows"])]
    steps += [] if lineage["export"] is None else [("export", lineage["export"])]
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
