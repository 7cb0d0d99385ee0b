"""Smallest noise that keeps a privacy budget, rounded up."""

from __future__ import annotations

import math

from certify.core.accounting.conversion import spent
from certify.core.accounting.mechanisms import Adjacency, SubsampledGaussian
from certify.core.errors import UsageError

LEAST_NOISE = 0.05
LARGEST_NOISE = 1e6
PRECISION = 1e-4
"""Relative tolerance: the returned noise keeps the budget and is larger than necessary by at most this fraction."""


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
        epsilon: budget of all runs together, greater than 0.
        delta: in (0, 1).
        sampling_rate: probability with which each record is in a step's sample, in (0, 1].
        steps: number of steps of one run.
        adjacency: definition of neighbouring data sets.
        runs: number of trainings on the same data, including trials.

    Returns:
        A multiplier whose epsilon is at most the budget.

    Raises:
        UsageError: epsilon is not positive, or no noise keeps the budget.

    Example:
        >>> round(noise_for(8.0, 1e-5, sampling_rate=0.2, steps=300, adjacency="add-remove"), 2)
        2.38
    """
    if not (epsilon > 0 and math.isfinite(epsilon)):
        raise UsageError(f"The 'epsilon' of a budget must be greater than 0, got {epsilon:g}.")

    def keeps(noise: float) -> bool:
        release = (SubsampledGaussian(noise, sampling_rate, steps), runs)
        return spent([release], delta, adjacency).epsilon <= epsilon

    # Doubling first brackets the answer, since no upper bound on the noise is known in advance.
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
        # The tolerance is relative, so the interval is halved in logarithms.
        middle = math.sqrt(low * high)
        low, high = (low, middle) if keeps(middle) else (middle, high)
    # Always the end that was shown to keep the budget.
    return high


def require_reachable(noise: float, largest: float, *, epsilon: float, steps: int) -> float:
    """Refuse a budget that needs too much noise for training.

    Args:
        noise: noise multiplier that the budget needs.
        largest: largest multiplier with which the pass still learns.
        epsilon: the budget, for the error.
        steps: number of steps, for the error.

    Returns:
        The noise.

    Raises:
        UsageError: the noise is larger; the message says what to change.

    Example:
        >>> require_reachable(2.4, 25.0, epsilon=8.0, steps=300)
        2.4
    """
    if noise > largest:
        raise UsageError(
            f"epsilon {epsilon:g} needs noise {noise:.3g} at {steps} steps, but with more than {largest:g} training "
            "does not learn; use fewer steps, a larger batch or more data."
        )
    return noise
