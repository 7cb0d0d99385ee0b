"""Numeric targets: the metric ``regression:SCALE``.

The score of an answer is 1 - min(1, |error| / scale): the absolute error, truncated at a scale that the maker declares,
so that scores are in [0, 1] like those of every metric. This is leanmark's own definition, not a standard. The best
constant answer is found exactly: the mean score is piecewise linear, and all its kinks except those at the numbers are
convex, so the maximum is at one of the numbers.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from certify.core.errors import UsageError

PREFIX = "regression:"

Values = npt.NDArray[np.float64]


def scale_of(metric: str) -> float | None:
    """Return the scale in the name of a regression metric; None for any other metric.

    Raises:
        UsageError: the scale is not a number above 0.

    Example:
        >>> scale_of("regression:0.5"), scale_of("top1")
        (0.5, None)
    """
    if not metric.startswith(PREFIX):
        return None
    try:
        scale = float(metric.removeprefix(PREFIX))
    except ValueError:
        scale = math.nan
    if not 0 < scale < math.inf:
        raise UsageError(
            f"The metric '{metric}' has no valid scale; write regression:SCALE with a number greater than 0."
        )
    return scale


def closeness(answers: Values | float, truth: Values, scale: float) -> Values:
    """Return the scores of answers, in [0, 1].

    Example:
        >>> closeness(np.array([1.0, 1.5, 9.0]), np.array([1.0, 1.0, 1.0]), 2.0).tolist()
        [1.0, 0.75, 0.0]
    """
    return np.asarray(1 - np.minimum(1, np.abs(answers - truth) / scale), dtype=np.float64)


def best_constant(truth: Values, scale: float) -> float:
    """Return the constant answer with the highest mean score on numbers (n,), which is one of them.

    Example:
        >>> best_constant(np.array([0.0, 10.0, 11.0]), 5.0)
        10.0
    """
    numbers = np.sort(truth)
    before = np.concatenate([[0.0], np.cumsum(numbers)])
    # Prefix sums over the sorted numbers score all candidates in n log n instead of n squared steps.
    low, high = np.searchsorted(numbers, numbers - scale), np.searchsorted(numbers, numbers + scale, side="right")
    place = np.arange(len(numbers))
    below = (place - low) * numbers - (before[place] - before[low])
    above = (before[high] - before[place]) - (high - place) * numbers
    return float(numbers[np.argmax((high - low) - (below + above) / scale)])
