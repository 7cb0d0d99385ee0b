"""Test of whether a trainer adds the noise that it accounts for, from its sums rather than its word."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import stats

from certify.core.errors import ModelError

Sum = Callable[[], npt.NDArray[np.float64]]
LEAST_P = 1e-9
"""Smallest p-value that passes: an honest trainer is rejected once in a billion runs."""
LEAST_NUMBERS = 64


def noise_p(noisy_sum: Sum, deviation: float) -> float:
    """Test the noise of a trainer's sums: two sums over the same records differ by the noise alone.

    Their difference over ``sqrt(2) * deviation`` is standard normal, so the sum of its squares is chi-squared. The test
    is two-sided.

    Args:
        noisy_sum: function that returns a clipped and noisy sum over the same records each time, (n,).
        deviation: standard deviation of the noise in each value, as accounted for.

    Returns:
        The p-value; close to 0 if there is no noise, less, or more.

    Example:
        >>> noise_p(lambda: np.zeros(100), 1.0)
        0.0
    """
    squares, count = 0.0, 0
    # A head with few values needs several pairs, or the test has no power.
    while count < LEAST_NUMBERS:
        # The records cancel, so the test itself reveals nothing about them.
        difference = (noisy_sum() - noisy_sum()).ravel()
        squares += float(np.sum(difference**2)) / (2 * deviation**2)
        count += difference.size
    law = stats.chi2(count)
    return min(1.0, 2 * min(float(law.cdf(squares)), float(law.sf(squares))))


def require_noise(noisy_sum: Sum, deviation: float, whose: str) -> None:
    """Reject a trainer whose sums do not contain the noise that is accounted for.

    Raises:
        ModelError: the test fails.
    """
    if (p := noise_p(noisy_sum, deviation)) < LEAST_P:
        raise ModelError(
            f"{whose} accounts for noise of deviation {deviation:.3g}, but its sums do not contain it (p = {p:.1g}); "
            "nothing was trained."
        )
