"""Records of the mechanisms of a privacy statement: their noise, their sampling, and how often they ran.

A seed of noise or sampling must never be used; the field exists so that a seed that was used is stated, and refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

Unit = Literal["record", "user", "client"]
Positive = Annotated[float, Gt(0)]
Count = Annotated[int, Ge(1)]
Share = Annotated[float, Gt(0), Le(1)]


@dataclass(frozen=True)
class Randomness:
    """Source of noise and sampling.

    Attributes:
        source: ``os`` for the system's entropy, ``seeded`` for a generator with a chosen seed.
        seed: the seed if one was used; anyone who knows it can subtract the noise.
        floating_point_safe: whether the noise hides the low bits of sums (discrete noise).
    """

    source: Literal["os", "seeded"]
    seed: int | None = None
    floating_point_safe: bool = False


@dataclass(frozen=True)
class Sampling:
    """Choice of the records of a step.

    Attributes:
        scheme: ``poisson`` (an independent coin each), ``all`` (no sampling), or batches without amplification:
            ``shuffled`` and ``fixed-size``.
        rate: q, probability of the coin; None in public under ``add-remove``, and without coins.
        expected_batch: q * N; likewise.
        public: whether anyone else may learn which records took part in a step, or how many.
    """

    scheme: Literal["poisson", "all", "shuffled", "fixed-size"]
    rate: Share | None = None
    expected_batch: Positive | None = None
    public: bool = False

    @property
    def amplifies(self) -> bool:
        """Whether amplification by sampling may be counted: coins whose outcomes stay secret."""
        return self.scheme == "poisson" and not self.public


@dataclass(frozen=True)
class DpSgd:
    """Training on clipped gradients with Gaussian noise.

    Attributes:
        id: name such as ``dp-sgd#0``, used by touches.
        runs: training runs that were released or selected from.
        steps: noisy sums per run.
        noise_multiplier: standard deviation of the noise relative to the clipping norm; None in public where the
            sampling rate is withheld, which would follow from it and from epsilon.
        clip: norm to which a unit's gradient is clipped.
        clipped_per: unit of clipping.
        microbatch: number of gradients averaged before clipping; above 1 the sensitivity doubles.
        sampling: choice of the records of a step.
        randomness: source of noise and coins.
        cross_sample_layers: names of layers that mix samples during training, such as batch norms.
        gradient_error: largest relative difference of per-sample gradients from a loop over single samples, before
            training; None if it was not measured.
    """

    id: str
    runs: Count
    steps: Count
    noise_multiplier: Positive | None
    clip: Positive
    clipped_per: Unit
    microbatch: Count
    sampling: Sampling
    randomness: Randomness
    cross_sample_layers: tuple[str, ...]
    gradient_error: Annotated[float, Ge(0)] | None


@dataclass(frozen=True)
class GnMaxVotes:
    """Noisy votes of teachers on disjoint splits (PATE); the numbers of queries and answers are caps, not counts.

    Attributes:
        id: name such as ``gnmax#0``.
        runs: number of times the whole vote was held.
        teachers: number of teachers, each on its own split.
        noise: standard deviation of the votes' noise.
        answers: maximum number of answered queries.
        threshold_noise: standard deviation of the check's noise; None if every query is answered.
        queries: maximum number of queries; None likewise.
        caps_fixed_before: whether both caps were fixed before the first query.
        randomness: source of the noise.
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


Mechanism = DpSgd | GnMaxVotes
