"""Areas under ROC curves with intervals, and detection rates at a bounded false-alarm rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from certify.core.statistics.proportions import Interval, clopper_pearson, z_quantile

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Placements:
    """Placements of the scores of each kind among those of the other.

    Attributes:
        positives: for each positive, the fraction of negatives below it; ties count half, (m,).
        negatives: for each negative, the fraction of positives above it, (n,).
    """

    positives: Floats
    negatives: Floats

    @property
    def area(self) -> float:
        """Probability that a positive scores above a negative."""
        return float(self.positives.mean())


def placements(positives: Floats, negatives: Floats) -> Placements:
    """Place scores of two kinds among each other, by ranks.

    Args:
        positives: scores, (m,), at least one.
        negatives: scores, (n,), at least one.

    Example:
        >>> placements(np.array([3.0, 1.0]), np.array([1.0, 0.0])).area
        0.875
    """
    from scipy.stats import rankdata  # takes 0.5 s, which most commands do not need

    m, n = len(positives), len(negatives)
    together = rankdata(np.concatenate([positives, negatives]))
    # A positive's rank among all, less its rank among positives, counts the negatives below it in O(n log n).
    below = together[:m] - rankdata(positives)
    above = m - (together[m:] - rankdata(negatives))
    return Placements(below / n, above / m)


def area_interval(found: Placements, confidence: float) -> Interval:
    """Return the interval of an area, within 0 to 1 (DeLong, DeLong and Clarke-Pearson 1988).

    If every pair is in order, DeLong's variance is 0; the end is then given by the rule of three for the smaller kind,
    so that a few perfect pairs do not show a perfect area.
    """
    half = z_quantile(confidence) * math.sqrt(_variance(found.positives, found.negatives))
    if half == 0:
        half = 3 / (min(len(found.positives), len(found.negatives)) + 3)
    return Interval(max(0.0, found.area - half), min(1.0, found.area + half))


def area_difference_interval(first: Placements, second: Placements, confidence: float) -> Interval:
    """Return the interval of second minus first, for two scores of the same samples (DeLong's paired form).

    Args:
        first: placements of one score.
        second: placements of the other score, with the samples in the same order.
        confidence: confidence of the two-sided interval.
    """
    change = second.area - first.area
    variance = _variance(second.positives - first.positives, second.negatives - first.negatives)
    half = z_quantile(confidence) * math.sqrt(variance)
    return Interval(max(-1.0, change - half), min(1.0, change + half))


def _variance(positives: Floats, negatives: Floats) -> float:
    # A single score has no spread; its part of the variance cannot be estimated and is left out.
    kinds = [values for values in (positives, negatives) if len(values) > 1]
    return sum(float(np.var(kind, ddof=1)) / len(kind) for kind in kinds)


@dataclass(frozen=True)
class Operating:
    """Counts above a threshold.

    Attributes:
        found: number of positives above the threshold.
        positives: number of positives.
        alarms: number of negatives above the threshold.
        negatives: number of negatives.
    """

    found: int
    positives: int
    alarms: int
    negatives: int

    @property
    def share(self) -> float:
        """Fraction of positives above the threshold."""
        return self.found / self.positives

    def share_interval(self, confidence: float) -> Interval:
        """Return the Clopper-Pearson interval of the detection rate at this threshold."""
        return clopper_pearson(self.found, self.positives, confidence)

    def alarm_interval(self, confidence: float) -> Interval:
        """Return the Clopper-Pearson interval of the false-alarm rate, which is as precise as the negatives allow."""
        return clopper_pearson(self.alarms, self.negatives, confidence)


def at_false_alarms(positives: Floats, negatives: Floats, rate: float) -> Operating:
    """Return the counts at the lowest threshold with at most a given false-alarm rate.

    Args:
        positives: scores, (m,).
        negatives: scores, (n,).
        rate: largest false-alarm rate, 0 to 1.

    Example:
        >>> at_false_alarms(np.array([3.0, 2.0, 0.5]), np.array([1.0, 0.0]), 0.0)
        Operating(found=2, positives=3, alarms=0, negatives=2)
    """
    threshold = threshold_for(negatives, rate)
    return Operating(
        int((positives > threshold).sum()), len(positives), int((negatives > threshold).sum()), len(negatives)
    )


def threshold_for(negatives: Floats, rate: float) -> float:
    """Return the lowest threshold with at most a fraction ``rate`` of the negatives, (n,), above it."""
    # 0.29 * 100 is below 29 in floating point; without the slack one allowed alarm would be lost.
    allowed = int(math.floor(rate * len(negatives) + 1e-9))
    falling = np.sort(negatives)[::-1]
    # Only scores above the first excess negative count, so ties are never split.
    return float(falling[allowed]) if allowed < len(falling) else -math.inf
