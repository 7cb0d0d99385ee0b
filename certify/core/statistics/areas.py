"""Areas under ROC curves with intervals, and shares found at a bounded share of false alarms."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from certify.core.statistics.proportions import Interval, clopper_pearson, z_quantile

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Placements:
    """Where the scores of each kind stand among those of the other.

    Attributes:
        positives: for each positive, the share of negatives below it; ties count half, (m,).
        negatives: for each negative, the share of positives above it, (n,).
    """

    positives: Floats
    negatives: Floats

    @property
    def area(self) -> float:
        """The chance that a positive scores above a negative."""
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
    m, n = len(positives), len(negatives)
    together = rankdata(np.concatenate([positives, negatives]))
    below = together[:m] - rankdata(positives)
    above = m - (together[m:] - rankdata(negatives))
    return Placements(below / n, above / m)


def area_interval(found: Placements, confidence: float) -> Interval:
    """Interval of an area, within 0 to 1 (DeLong, DeLong and Clarke-Pearson 1988).

    Where every pair is in order DeLong's variance is 0; the end is then that of the rule of three for the smaller kind,
    so that a few perfect pairs do not show a perfect area.
    """
    half = z_quantile(confidence) * math.sqrt(_variance(found.positives, found.negatives))
    if half == 0:
        half = 3 / (min(len(found.positives), len(found.negatives)) + 3)
    return Interval(max(0.0, found.area - half), min(1.0, found.area + half))


def area_difference_interval(first: Placements, second: Placements, confidence: float) -> Interval:
    """Interval of second minus first, of two scores of the same samples (DeLong's paired form), within -1 to 1.

    Args:
        first: of one score.
        second: of the other; its samples stand in the same order.
        confidence: two-sided.
    """
    change = second.area - first.area
    variance = _variance(second.positives - first.positives, second.negatives - first.negatives)
    half = z_quantile(confidence) * math.sqrt(variance)
    return Interval(max(-1.0, change - half), min(1.0, change + half))


def _variance(positives: Floats, negatives: Floats) -> float:
    kinds = [one for one in (positives, negatives) if len(one) > 1]
    return sum(float(np.var(one, ddof=1)) / len(one) for one in kinds)


@dataclass(frozen=True)
class Operating:
    """What a threshold finds.

    Attributes:
        found: positives above it.
        positives: all of them.
        alarms: negatives above it.
        negatives: all of them.
    """

    found: int
    positives: int
    alarms: int
    negatives: int

    @property
    def share(self) -> float:
        """Share of positives that is found."""
        return self.found / self.positives

    def share_interval(self, confidence: float) -> Interval:
        """Clopper-Pearson interval of the share that is found, at this threshold."""
        return clopper_pearson(self.found, self.positives, confidence)

    def alarm_interval(self, confidence: float) -> Interval:
        """Clopper-Pearson interval of the share of false alarms, which the negatives show no more exactly."""
        return clopper_pearson(self.alarms, self.negatives, confidence)


def at_false_alarms(positives: Floats, negatives: Floats, rate: float) -> Operating:
    """Find what the lowest threshold finds whose false alarms are at most a share of the negatives.

    Args:
        positives: scores, (m,).
        negatives: scores, (n,).
        rate: largest share of false alarms, 0 to 1.

    Example:
        >>> at_false_alarms(np.array([3.0, 2.0, 0.5]), np.array([1.0, 0.0]), 0.0)
        Operating(found=2, positives=3, alarms=0, negatives=2)
    """
    threshold = threshold_for(negatives, rate)
    return Operating(
        int((positives > threshold).sum()), len(positives), int((negatives > threshold).sum()), len(negatives)
    )


def threshold_for(negatives: Floats, rate: float) -> float:
    """The lowest threshold above which at most a share of the negatives lies, (n,)."""
    allowed = int(math.floor(rate * len(negatives) + 1e-9))
    falling = np.sort(negatives)[::-1]
    # Only scores above the first negative that is one too many count, so that ties are never cut in two.
    return float(falling[allowed]) if allowed < len(falling) else -math.inf
