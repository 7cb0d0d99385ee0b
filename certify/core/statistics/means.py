"""Relative loss of a score that is any number, from both models' scores on the same samples.

Fieller (1954), "Some problems in interval estimation": the ratio r of two paired means is in the interval where
``candidate - r * baseline`` does not differ from 0 at the confidence, with the variance that holds under r. Solved for
r, that is a quadratic, whose two roots are the ends; where its leading term is not above 0, the baseline's mean can't
be told from 0 and the ratio has no bounds.

Where few samples differ at all, the variance of the differences is unknown though it looks small: 500 samples on which
both models score the same do not show that the 501st will agree. So z^2 samples are reckoned in that differ by the
whole range of the scores, half of them each way, in the manner of Agresti and Coull (1998) for a proportion and of
Agresti and Min (2005) for two paired ones. For scores of 0 and 1 without any difference the interval is then that of
the score method; with many differences the addition vanishes.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from certify.core.statistics.proportions import Interval, z_quantile

Scores = npt.NDArray[np.float64]


def mean_ratio_interval(baseline: Scores, candidate: Scores, confidence: float) -> Interval | None:
    """Interval for mean(candidate) / mean(baseline).

    Args:
        baseline: scores, higher is better, (n,) at least 2.
        candidate: of the same samples, (n,).
        confidence: of the two-sided interval.

    Returns:
        None where the baseline's mean can't be told from 0, or is below it.
    """
    n = len(baseline)
    z2 = z_quantile(confidence) ** 2
    below, above = float(np.mean(baseline)), float(np.mean(candidate))
    (var_above, shared), (_, var_below) = np.cov(candidate, baseline) / n
    both = np.concatenate([baseline, candidate, [0.0]])
    hidden = z2 * float(np.ptp(both)) ** 2 / (4 * n**2)
    a = below**2 - z2 * (float(var_below) + hidden)
    b = above * below - z2 * (float(shared) - hidden)
    c = above**2 - z2 * (float(var_above) + hidden)
    if below <= 0 or a <= 0:
        return None
    root = math.sqrt(max(0.0, b * b - a * c))
    return Interval((b - root) / a, (b + root) / a)


def mean_interval(scores: Scores, confidence: float) -> Interval:
    """Normal interval for the mean of many scores, (n,) at least 2."""
    mean = float(np.mean(scores))
    half = z_quantile(confidence) * float(np.std(scores, ddof=1)) / math.sqrt(len(scores))
    return Interval(mean - half, mean + half)
