"""Quantiles of latency with distribution-free intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from certify.core.estimate import Estimate

QUANTILE_METHOD = "order statistic, distribution-free binomial interval"


def quantile_estimate(seconds: Sequence[float], probability: float, confidence: float) -> Estimate:
    """Return a quantile of independent times, with an interval between two order statistics.

    The l-th and u-th smallest values enclose the quantile with probability P(l <= X < u), X binomial (n, p); each side
    has at most half of the error probability (David and Nagaraja, Order Statistics, 7.1).

    Args:
        seconds: (n,), at least one time, in seconds.
        probability: 0.5 for the median.
        confidence: confidence of the two-sided interval.

    Returns:
        The estimate in s. With too few values for an end, that end is 0 or infinite.

    Raises:
        ValueError: there are no values.
    """
    from scipy.special import bdtr  # here, since SciPy takes as long to load as everything else that a timer needs

    n = len(seconds)
    if n == 0:
        raise ValueError("a quantile must have at least one value, got none")
    ordered = np.sort(np.asarray(seconds, dtype=np.float64))
    tail = (1 - confidence) / 2
    # below[k] = P(X <= k): the probability that at most k values are below the quantile.
    below = bdtr(np.arange(n, dtype=np.float64), n, probability)
    lower_rank = int(np.sum(below <= tail))
    upper_rank = int(np.sum(below < 1 - tail)) + 1
    # n * p may exceed an integer by rounding (0.55 * 100), and the next order statistic would be returned.
    value = float(ordered[max(1, math.ceil(n * probability - 1e-9)) - 1])
    low = float(ordered[lower_rank - 1]) if lower_rank >= 1 else 0.0
    high = float(ordered[upper_rank - 1]) if upper_rank <= n else math.inf
    return Estimate(value, min(low, value), max(high, value), "s", n, QUANTILE_METHOD)
