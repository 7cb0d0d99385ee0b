"""Rényi divergences (RDP) of the mechanisms that a ledger may name, at integer orders.

Every value is a finite sum, an upper bound up to rounding, and can be recomputed with a pocket calculator's arithmetic:
no numerical integral, no convolution, no fractional order.
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
    """Something whose Rényi divergence between neighbouring data sets is bounded."""

    def rdp(self, orders: Sequence[int], adjacency: Adjacency) -> Rdp:
        """Bound of the Rényi divergence at each order, in nats, (orders,)."""
        ...


@dataclass(frozen=True)
class SubsampledGaussian:
    """Steps that add Gaussian noise to a sum over a Poisson sample: DP-SGD (Abadi et al. 2016, arXiv 1607.00133).

    Attributes:
        noise_multiplier: standard deviation of the noise over the clipping norm, above 0.
        sampling_rate: probability with which each record is in a step's sample, in (0, 1]; 1 also where the sampling
            is not secret, since then it amplifies nothing.
        steps: number of noisy sums that are released.

    Raises:
        UsageError: a number is out of its range.

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
            raise UsageError(f"The sampling rate must be in (0, 1], got {self.sampling_rate:g}.")
        if self.steps < 1:
            raise UsageError(f"The number of steps must be at least 1, got {self.steps}.")

    def rdp(self, orders: Sequence[int], adjacency: Adjacency) -> Rdp:
        """Bound of the Rényi divergence at each order.

        Under ``add-remove`` the finite sum of Mironov, Talwar and Zhang (2019, arXiv 1908.10530, section 3.3). Under
        ``replace-one`` the lesser of two bounds. One has twice the sensitivity and no amplification. The other goes by
        way of the data without the record, by the weak triangle inequality (Mironov 2017, arXiv 1702.07476, corollary
        4): D_a(P, R) <= (a - 1/2) / (a - 1) * D_2a(P, Q) + D_(2a - 1)(Q, R).
        """
        if adjacency == "add-remove":
            return self.steps * self._one_step(orders)
        whole = np.array([2 * order / self.noise_multiplier**2 for order in orders])
        first, second = self._one_step([2 * a for a in orders]), self._one_step([2 * a - 1 for a in orders])
        weights = np.array([(a - 0.5) / (a - 1) for a in orders])
        bound: Rdp = self.steps * np.minimum(whole, weights * first + second)
        return bound

    def _one_step(self, orders: Sequence[int]) -> Rdp:
        return np.array([_log_moment(self.sampling_rate, self.noise_multiplier, a) / (a - 1) for a in orders])


def _log_moment(rate: float, noise: float, order: int) -> float:
    """Log of the moment of that order, of one step.

    The terms of the binomial sum add up to 1 without the noise, so what is summed is how far each exceeds its share.
    """
    if rate == 1:
        return order * (order - 1) / (2 * noise**2)
    k = np.arange(2, order + 1, dtype=np.float64)
    exponents = k * (k - 1) / (2 * noise**2)
    binomials = gammaln(order + 1) - gammaln(k + 1) - gammaln(order - k + 1)
    excess = exponents + np.log(-np.expm1(-exponents))
    terms = binomials + k * math.log(rate) + (order - k) * math.log1p(-rate) + excess
    return float(np.logaddexp(0.0, logsumexp(terms)))


@dataclass(frozen=True)
class GnMax:
    """Noisy votes of teachers that were trained on disjoint parts of the data: PATE, data-independent.

    One record moves the vote of one teacher, under either adjacency, as long as which part a record belongs to does not
    depend on other records. A released argmax over counts with noise of standard deviation s has the divergence
    a / s**2, a noisy check of the largest count a / (2 s**2) (Papernot et al. 2018, arXiv 1802.08908, proposition 8).

    Attributes:
        noise: standard deviation of the votes' noise, in votes.
        answers: most queries that may be answered, fixed before the first.
        threshold_noise: standard deviation of the check's noise, in votes; None where every query is answered.
        queries: most queries that may be asked, fixed before the first.

    Raises:
        UsageError: a number is out of its range.

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
            raise UsageError(f"The number of answers must be at least 1, got {self.answers}.")
        if (self.threshold_noise is None) != (self.queries is None):
            raise UsageError("The noise of the threshold and the number of queries go together; give both or neither.")
        if self.threshold_noise is not None:
            _require_positive("noise of the threshold", self.threshold_noise)
        if self.queries is not None and self.queries < self.answers:
            raise UsageError(f"{self.answers} answers are more than the {self.queries} queries; raise the queries.")

    def rdp(self, orders: Sequence[int], adjacency: Adjacency) -> Rdp:
        """Bound of the Rényi divergence at each order, which is the same under both adjacencies."""
        checks = 0.0 if self.threshold_noise is None else (self.queries or 0) / (2 * self.threshold_noise**2)
        return np.array(orders, dtype=np.float64) * (self.answers / self.noise**2 + checks)


def _require_positive(what: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise UsageError(f"The {what} must be above 0, got {value:g}.")
