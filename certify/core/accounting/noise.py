"""The least noise that keeps a budget, on the safe side."""

from __future__ import annotations

import math

from certify.core.accounting.mechanisms import Adjacency, SubsampledGaussian
from certify.core.accounting.spent import spent
from certify.core.errors import UsageError

LEAST_NOISE = 0.05
LARGEST_NOISE = 1e6
PRECISION = 1e-4
"""Relative; the noise that is returned keeps the budget and is at most this much too large."""


def noise_for(
    epsilon: float,
    delta: float,
    *,
    sampling_rate: float,
    steps: int,
    adjacency: Adjacency,
    runs: int = 1,
) -> float:
    """Find the noise multiplier of DP-SGD that keeps a budget, by bisection.

    Args:
        epsilon: of all runs together, above 0.
        delta: between 0 and 1.
        sampling_rate: probability with which each record is in a step's sample, in (0, 1].
        steps: of one run.
        adjacency: what neighbouring data sets are.
        runs: trainings on the same data, trials included.

    Returns:
        A multiplier whose epsilon is at most the budget.

    Raises:
        UsageError: epsilon is not above 0, or no noise keeps it.

    Example:
        >>> round(noise_for(8.0, 1e-5, sampling_rate=0.2, steps=300, adjacency="add-remove"), 2)
        2.38
    """
    if not (epsilon > 0 and math.isfinite(epsilon)):
        raise UsageError(f"epsilon must be above 0; got {epsilon:g}.")

    def keeps(noise: float) -> bool:
        release = (SubsampledGaussian(noise, sampling_rate, steps), runs)
        return spent([release], delta, adjacency).epsilon <= epsilon

    low, high = LEAST_NOISE, 1.0
    while not keeps(high):
        if high >= LARGEST_NOISE:
            raise UsageError(
                f"No noise keeps epsilon {epsilon:g} at delta {delta:g} for {steps} steps; allow a larger epsilon."
            )
        low, high = high, 2 * high
    if keeps(low):
        return low
    while high > low * (1 + PRECISION):
        middle = math.sqrt(low * high)
        low, high = (low, middle) if keeps(middle) else (middle, high)
    return high


def require_reachable(noise: float, largest: float, *, epsilon: float, steps: int) -> float:
    """Refuse a budget that needs more noise than training survives.

    Args:
        noise: multiplier that the budget needs.
        largest: at which training still learns, by the pass's own experience.
        epsilon: the budget, for the error.
        steps: likewise.

    Returns:
        The noise.

    Raises:
        UsageError: it is larger; the sentence says what helps.

    Example:
        >>> require_reachable(2.4, 25.0, epsilon=8.0, steps=300)
        2.4
    """
    if noise > largest:
        raise UsageError(
            f"epsilon {epsilon:g} needs noise {noise:.3g} at {steps} steps, and with more than {largest:g} nothing is "
            "learned; use fewer steps, a larger batch or more data."
        )
    return noise
