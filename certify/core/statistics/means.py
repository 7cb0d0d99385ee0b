"""Relative loss of an arbitrary score, from both models' scores on the same samples.

Fieller (1954), "Some problems in interval estimation": the interval contains each ratio r of two paired means for which
``candidate - r * baseline`` does not differ significantly from 0, with the variance under r. Solved for r, this is a
quadratic whose two roots are the ends; if its leading coefficient is not positive, the baseline's mean does not differ
significantly from 0 and the ratio has no bounds.

If few samples differ, the variance of the differences is unknown although it looks small: 500 samples with equal scores
do not show that the 501st will agree. So z^2 pseudo-samples are added that differ by the whole range of the scores,
half of them in each direction, as in Agresti and Coull (1998) for a proportion and Agresti and Min (2005) for two
paired ones. For scores of 0 and 1 without differences, the interval then equals that of the score method; with many
differences the addition is negligible.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from certify.core.statistics.proportions import Interval, z_quantile

Scores = npt.NDArray[np.float64]


def mean_ratio_interval(baseline: Scores, candidate: Scores, confidence: float) -> Interval | None:
    """Return the interval for mean(candidate) / mean(baseline).

    Args:
        baseline: scores, higher is better, (n,), at least 2.
        candidate: scores of the same samples, (n,).
        confidence: confidence of the two-sided interval.

    Returns:
        The interval, or None if the baseline's mean is not significantly greater than 0.
    """
    n = len(baseline)
    z2 = z_quantile(confidence) ** 2
    below, above = float(np.mean(baseline)), float(np.mean(candidate))
    (var_above, shared), (_, var_below) = np.cov(candidate, baseline) / n
    # The 0 counts as a possible score, so that two models with one constant score still have a range.
    both = np.concatenate([baseline, candidate, [0.0]])
    hidden = z2 * float(np.ptp(both)) ** 2 / (4 * n**2)
    a = below**2 - z2 * (float(var_below) + hidden)
    b = above * below - z2 * (float(shared) - hidden)
    c = above**2 - z2 * (float(var_above) + hidden)
    if below <= 0 or a <= 0:
        return None
    # Equal scores make the discriminant 0 up to rounding.
    root = math.sqrt(max(0.0, b * b - a * c))
    return Interval((b - root) / a, (b + root) / a)


def mean_interval(scores: Scores, confidence: float) -> Interval:
    """Return the normal interval for the mean of many scores, (n,), at least 2."""
    mean = float(np.mean(scores))
    half = z_quantile(confidence) * float(np.std(scores, ddof=1)) / math.sqrt(len(scores))
    return Interval(mean - half, mean + half)
