"""Test of whether recorded batch sizes are compatible with Poisson sampling at the claimed rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from certify.core.errors import UsageError

LEAST_P = 1e-6
"""P-value below which sizes count as impossible: one in a million honest runs."""


@dataclass(frozen=True)
class SamplerTest:
    """Two tests of batch sizes against Binomial(N, q).

    Attributes:
        p_total: two-sided exact p-value of the sum of all sizes, which detects a wrong N or q.
        p_spread: two-sided p-value of the sum of squared deviations, which detects fixed and shuffled batches, whose
            sizes hardly vary.
    """

    p_total: float
    p_spread: float

    @property
    def p(self) -> float:
        """P-value of both tests together (Bonferroni)."""
        return min(1.0, 2 * min(self.p_total, self.p_spread))

    @property
    def possible(self) -> bool:
        """Whether the sizes are compatible with the claimed sampling."""
        return self.p >= LEAST_P


def poisson_sizes(sizes: Sequence[int], records: int, rate: float) -> SamplerTest:
    """Test the actual batch sizes of one training.

    The spread is compared with a gamma distribution of the same mean and variance as the sum of squared standardised
    binomials, whose excess kurtosis (1 - 6q(1 - q)) / (Nq(1 - q)) matters for small batches.

    Args:
        sizes: number of records in each step's sample, (steps,).
        records: number N of records in the data set.
        rate: probability q with which each record is in a sample.

    Raises:
        UsageError: sizes are empty, one is negative or larger than N, or q is not in (0, 1].

    Example:
        >>> poisson_sizes([250] * 480, 3000, 1 / 12).possible
        False
    """
    from scipy import stats  # takes 0.5 s, which most commands do not need

    found = np.array(sizes, dtype=np.float64)
    if not 0 < rate <= 1:
        raise UsageError(f"The sampling rate must be in (0, 1], got {rate:g}.")
    if found.size == 0 or records < 1 or found.min() < 0 or found.max() > records:
        raise UsageError(f"Batch sizes must not be empty and must be in [0, {records}], the number of records.")
    steps, variance = found.size, records * rate * (1 - rate)
    if variance == 0:
        # At q = 1 every batch is the whole data set; there is no distribution to test against.
        whole = 1.0 if bool((found == records).all()) else 0.0
        return SamplerTest(whole, whole)
    # A sum of independent binomials of one rate is binomial, so the first test is exact.
    total = stats.binom(records * steps, rate)
    drawn = int(found.sum())
    p_total = min(1.0, 2 * min(float(total.cdf(drawn)), float(total.sf(drawn - 1))))
    excess = (1 - 6 * rate * (1 - rate)) / variance
    spread = stats.gamma(steps / (2 + excess), scale=2 + excess)
    squares = float(np.sum((found - records * rate) ** 2) / variance)
    # Both tails: too little spread means shuffled batches, too much means a rate that changed.
    p_spread = min(1.0, 2 * min(float(spread.cdf(squares)), float(spread.sf(squares))))
    return SamplerTest(p_total, p_spread)
