"""Rényi divergences (RDP) of the mechanisms that a ledger may contain, at integer orders.

Every value is a finite sum and, up to rounding, an upper bound; it can be recomputed with elementary arithmetic,
without numerical integrals, convolutions or fractional orders.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt
from scipy.special import gammaln, logsumexp

from certify.core.errors import UsageError

Adjacency = Literal["add-remove", "replace-one"]
ADJACENCIES: tuple[Adjacency, ...] = get_args(Adjacency)

Rdp = npt.NDArray[np.float64]


class Mechanism(Protocol):
    """A mechanism with bounded Rényi divergence between neighbouring data sets."""

    def rdp(self, orders: Sequence[int], adjacency: Adjacency) -> Rdp:
        """Return a bound on the Rényi divergence at each order, in nats, (orders,)."""
        ...


@dataclass(frozen=True)
class SubsampledGaussian:
    """Steps that add Gaussian noise to sums over Poisson samples: DP-SGD (Abadi et al. 2016, arXiv 1607.00133).

    Attributes:
        noise_multiplier: standard deviation of the noise divided by the clipping norm, greater than 0.
        sampling_rate: probability with which each record is in a step's sample, in (0, 1]; also 1 if the sampling is
            not secret, since it then gives no amplification.
        steps: number of released noisy sums.

    Raises:
        UsageError: a number is out of range.

    Example:
        >>> SubsampledGaussian(1.0, 1.0, 1).rdp([2, 3], "add-remove").tolist()
        [1.0, 1.5]
    """

    noise_multiplier: float
    sampling_rate: float
    steps: int

    def __post_init__(self) -> None:
        _require_positive("noise multiplier", self.noise_multiplier)
        if not 0 < self.sampling_rate <= 1:
            raise UsageError(f"The 'sampling_rate' of a mechanism must be in (0, 1], got {self.sampling_rate:g}.")
        if self.steps < 1:
            raise UsageError(f"The 'steps' of a mechanism must be at least 1, got {self.steps}.")

    def rdp(self, orders: Sequence[int], adjacency: Adjacency) -> Rdp:
        """Bound of the Rényi divergence at each order.

        Under ``add-remove`` it is the finite sum of Mironov, Talwar and Zhang (2019, arXiv 1908.10530, section 3.3).
        Under ``replace-one`` it is the smaller of two bounds. One has twice the sensitivity and no amplification. The
        other passes through the data without the record, by the weak triangle inequality (Mironov 2017, arXiv
        1702.07476, corollary 4): D_a(P, R) <= (a - 1/2) / (a - 1) * D_2a(P, Q) + D_(2a - 1)(Q, R).
        """
        if adjacency == "add-remove":
            return self.steps * self._one_step(orders)
        # Replacing a record moves the sum by up to twice the clipping norm: order * 2^2 / (2 noise^2).
        whole = np.array([2 * order / self.noise_multiplier**2 for order in orders])
        first, second = self._one_step([2 * a for a in orders]), self._one_step([2 * a - 1 for a in orders])
        weights = np.array([(a - 0.5) / (a - 1) for a in orders])
        bound: Rdp = self.steps * np.minimum(whole, weights * first + second)
        return bound

    def _one_step(self, orders: Sequence[int]) -> Rdp:
        return np.array([_log_moment(self.sampling_rate, self.noise_multiplier, a) / (a - 1) for a in orders])


def _log_moment(rate: float, noise: float, order: int) -> float:
    """Return the log-moment of an order for one step.

    Without noise the terms of the binomial sum add up to 1, so the sum is over the excess of each term, for accuracy.
    """
    if rate == 1:
        return order * (order - 1) / (2 * noise**2)
    # The terms of k = 0 and 1 have no excess: their exponents are 0.
    k = np.arange(2, order + 1, dtype=np.float64)
    exponents = k * (k - 1) / (2 * noise**2)
    binomials = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    # log(e^x - 1) without overflow at large x or cancellation at small x.
    excess = exponents + np.log(-np.expm1(-exponents))
    terms = binomials + k * math.log(rate) + (order - k) * math.log1p(-rate) + excess
    # log(1 + sum of excesses), in logarithms because the sum exceeds a double at high orders.
    return float(np.logaddexp(0.0, logsumexp(terms)))


@dataclass(frozen=True)
class GnMax:
    """Noisy votes of teachers trained on disjoint parts of the data: PATE, with a data-independent bound.

    Under either adjacency one record affects the vote of one teacher, provided that the part to which a record belongs
    does not depend on other records. A released argmax over counts with noise of standard deviation s has the
    divergence a / s**2, a noisy check of the largest count a / (2 s**2) (Papernot et al. 2018, arXiv 1802.08908,
    proposition 8).

    Attributes:
        noise: standard deviation of the noise on the counts, in votes.
        answers: maximum number of answered queries, fixed in advance.
        threshold_noise: standard deviation of the noise of the check, in votes; None if every query is answered.
        queries: maximum number of queries, fixed in advance.

    Raises:
        UsageError: a number is out of range.

    Example:
        >>> GnMax(10.0, 100).rdp([2], "replace-one").tolist()
        [2.0]
    """

    noise: float
    answers: int
    threshold_noise: float | None = None
    queries: int | None = None

    def __post_init__(self) -> None:
        _require_positive("noise of the votes", self.noise)
        if self.answers < 1:
            raise UsageError(f"The 'answers' of a mechanism must be at least 1, got {self.answers}.")
        if (self.threshold_noise is None) != (self.queries is None):
            raise UsageError("'threshold_noise' and 'queries' must be given together or not at all.")
        if self.threshold_noise is not None:
            _require_positive("noise of the threshold", self.threshold_noise)
        if self.queries is not None and self.queries < self.answers:
            raise UsageError(
                f"The number of answers must not exceed the {self.queries} queries, got {self.answers}; allow more "
                "queries."
            )

    def rdp(self, orders: Sequence[int], adjacency: Adjacency) -> Rdp:
        """Return a bound on the Rényi divergence at each order, which is the same under both adjacencies."""
        checks = 0.0 if self.threshold_noise is None else (self.queries or 0) / (2 * self.threshold_noise**2)
        return np.array(orders, dtype=np.float64) * (self.answers / self.noise**2 + checks)


def _require_positive(what: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise UsageError(f"The {what} must be greater than 0, got {value:g}.")
