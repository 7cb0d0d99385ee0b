"""Accuracy of two models on the same samples: score intervals for paired and single proportions.

Notation: of n samples, both models got ``both`` right, only one of them ``only_candidate`` and ``only_baseline``, and
no model ``neither``. Score intervals invert a test whose variance is computed under the tested value (constrained
maximum likelihood), so they stay valid with few or no discordant samples, where Wald's interval collapses.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtr, betaincinv, ndtri

RELATIVE_PRECISION = 1e-12
_LONGEST_LOG = 80.0  # ratios are searched between exp(-80) and exp(80)


@dataclass(frozen=True)
class PairedTable:
    """Counts of samples by the models that got them right."""

    both: int
    only_candidate: int
    only_baseline: int
    neither: int

    @classmethod
    def from_correct(cls, baseline: NDArray[np.bool_], candidate: NDArray[np.bool_]) -> PairedTable:
        """Count two boolean arrays (n,), True for a correct sample."""
        return cls(
            both=int(np.sum(baseline & candidate)),
            only_candidate=int(np.sum(~baseline & candidate)),
            only_baseline=int(np.sum(baseline & ~candidate)),
            neither=int(np.sum(~baseline & ~candidate)),
        )

    @property
    def n(self) -> int:
        """Number of all samples."""
        return self.both + self.only_candidate + self.only_baseline + self.neither

    @property
    def candidate(self) -> int:
        """Number of samples that the candidate got right."""
        return self.both + self.only_candidate

    @property
    def baseline(self) -> int:
        """Number of samples that the baseline got right."""
        return self.both + self.only_baseline

    def exchanged(self) -> PairedTable:
        """Return the table with the two models exchanged."""
        return PairedTable(self.both, self.only_baseline, self.only_candidate, self.neither)


@dataclass(frozen=True)
class Interval:
    """Interval with two ends, which may be infinite."""

    low: float
    high: float


def z_quantile(confidence: float) -> float:
    """Return the upper quantile of the normal distribution for a two-sided interval."""
    return float(ndtri(0.5 + confidence / 2))


def ratio_score(table: PairedTable, ratio: float) -> float:
    """Return the score statistic of the hypothesis accuracy(candidate) = ratio * accuracy(baseline).

    Nam and Blackwelder (2002), "Analysis of the ratio of marginal probabilities in a matched-pair setting". The
    share of ``neither`` is unconstrained; with m the other samples, the constrained estimate of
    ``only_baseline / m`` is the larger root u of

        (1 + ratio) m u^2 - [oc + ob - (ratio^2 - 1) (both + ob)] u - ob (ratio - 1) = 0

    and the variance of ``candidate - ratio * baseline`` is m [(1 + ratio) u + ratio - 1]. At ratio 1 it is McNemar's.

    Args:
        table: the counts.
        ratio: tested value, greater than 0.

    Returns:
        A statistic that decreases in ``ratio``; 0 at the observed ratio.
    """
    if ratio < 1:
        # Exchanging the models keeps every term below non-negative, so nothing cancels.
        return -ratio_score(table.exchanged(), 1 / ratio)
    m = table.n - table.neither
    a = (1 + ratio) * m
    b = table.only_candidate + table.only_baseline - (ratio**2 - 1) * table.baseline
    c = table.only_baseline * (ratio - 1)
    u = _larger_root(a, b, c)
    difference = table.candidate - ratio * table.baseline
    return _standardised(difference, m * ((1 + ratio) * u + ratio - 1))


def ratio_interval(table: PairedTable, confidence: float) -> Interval:
    """Return the score interval for accuracy(candidate) / accuracy(baseline).

    Returns:
        The interval, which starts at 0 if the candidate got nothing right, and has no upper bound if the baseline got
        nothing right.
    """
    z = z_quantile(confidence)
    # The lower end is the upper end of the exchanged models, so one search serves both and they agree exactly.
    low = 1 / _ratio_end(table.exchanged(), z) if table.candidate > 0 else 0.0
    return Interval(low, _ratio_end(table, z) if table.baseline > 0 else math.inf)


def _ratio_end(table: PairedTable, z: float) -> float:
    """Return the upper end, for a baseline that got something right."""
    # The score falls from 0 at the observed ratio, so the crossing lies above it; logs make all scales alike.
    observed = math.log(table.candidate / table.baseline) if table.candidate > 0 else -_LONGEST_LOG
    return math.exp(_crossing(lambda x: ratio_score(table, math.exp(x)), z, observed, _LONGEST_LOG))


def difference_score(table: PairedTable, difference: float) -> float:
    """Return the score statistic of the hypothesis accuracy(candidate) - accuracy(baseline) = difference.

    Tango (1998), "Equivalence test and confidence interval for the difference in proportions for the paired-sample
    design": q, the constrained estimate of the share of ``only_baseline``, is the larger root of

        2 n q^2 - [oc + ob - difference (2 n - oc + ob)] q - ob difference (1 - difference) = 0

    and the variance of ``oc - ob`` is n (2 q + difference - difference^2).
    """
    n, oc, ob = table.n, table.only_candidate, table.only_baseline
    q = _larger_root(2 * n, oc + ob - difference * (2 * n - oc + ob), ob * difference * (1 - difference))
    return _standardised(oc - ob - n * difference, n * (2 * q + difference * (1 - difference)))


def difference_interval(table: PairedTable, confidence: float) -> Interval:
    """Return Tango's score interval for accuracy(candidate) - accuracy(baseline), within -1 to 1."""
    z = z_quantile(confidence)
    return Interval(-_difference_end(table.exchanged(), z), _difference_end(table, z))


def _difference_end(table: PairedTable, z: float) -> float:
    observed = (table.only_candidate - table.only_baseline) / table.n
    return _crossing(lambda x: difference_score(table, x), z, observed, 1.0)


def wilson_interval(successes: float, n: float, confidence: float) -> Interval:
    """Return Wilson's (1927) score interval for a single proportion."""
    z2 = z_quantile(confidence) ** 2
    centre = (successes + z2 / 2) / (n + z2)
    half = math.sqrt(z2 * (successes * (n - successes) / n + z2 / 4)) / (n + z2)
    # Rounding can move an end by one ulp beyond 0 or 1, which would print as -0 % or fail a range check.
    return Interval(max(0.0, centre - half), min(1.0, centre + half))


def clopper_pearson(successes: int, n: int, confidence: float) -> Interval:
    """Return Clopper and Pearson's (1934) exact interval for a single proportion, from quantiles of the beta
    distribution.

    Its level holds at any n and however rare the successes are, which Wilson's does not.

    Args:
        successes: 0 to n.
        n: trials, at least 1.
        confidence: confidence of the two-sided interval.

    Example:
        >>> ends = clopper_pearson(0, 100, 0.95)
        >>> ends.low, round(ends.high, 4)
        (0.0, 0.0362)
    """
    tail = (1 - confidence) / 2
    low = 0.0 if successes == 0 else float(betaincinv(successes, n - successes + 1, tail))
    high = 1.0 if successes == n else float(betaincinv(successes + 1, n - successes, 1 - tail))
    return Interval(low, high)


def mcnemar_p(table: PairedTable) -> float:
    """Return the two-sided exact p-value of McNemar's test of equal accuracy."""
    discordant = table.only_candidate + table.only_baseline
    smaller = min(table.only_candidate, table.only_baseline)
    # Doubling the smaller tail counts the middle twice if both counts are equal, hence the 1.
    return min(1.0, 2 * float(bdtr(smaller, int(discordant), 0.5)))


def mcnemar_mid_p(table: PairedTable) -> float:
    """Return the two-sided mid-p value of McNemar's test: the exact value minus the probability of the observed counts.

    The exact test is conservative, since counts are discrete; mid-p comes closest to the nominal level and hardly ever
    exceeds it (Fagerland, Lydersen and Laake 2013, "The McNemar test for binary matched-pairs data: mid-p and
    asymptotic are better than exact conditional").
    """
    discordant = int(table.only_candidate + table.only_baseline)
    smaller = min(table.only_candidate, table.only_baseline)
    seen = float(bdtr(smaller, discordant, 0.5)) - (float(bdtr(smaller - 1, discordant, 0.5)) if smaller else 0.0)
    return 1.0 if table.only_candidate == table.only_baseline else mcnemar_p(table) - seen


def samples_needed(table: PairedTable, loss_percent: float, confidence: float) -> int | None:
    """Return roughly how many samples with the table's proportions would show a relative loss below a margin.

    Args:
        table: observed counts; the baseline got something right.
        loss_percent: the margin in percent, greater than 0.
        confidence: confidence of the two-sided interval.

    Returns:
        The least n whose interval ends at or below the margin; None if the observed loss reaches the margin, so that no
        number suffices.
    """
    lowest_ratio = 1 - loss_percent / 100
    if table.candidate <= lowest_ratio * table.baseline:
        return None
    z = z_quantile(confidence)
    # With fixed proportions the score grows with the square root of n; the margin is shown once it reaches z.
    score = ratio_score(table, lowest_ratio)
    return math.ceil(table.n * (z / score) ** 2 * (1 - RELATIVE_PRECISION))


def difference_samples_needed(table: PairedTable, margin: float, confidence: float) -> int | None:
    """Return roughly how many samples with the table's proportions would show that at most a margin is lost.

    Args:
        table: observed counts of at least one sample.
        margin: largest loss, a fraction greater than 0 (0.02 for 2 points).
        confidence: confidence of the two-sided interval.

    Returns:
        The least n whose interval of candidate minus baseline begins at ``-margin`` or above; None if the observed loss
        reaches the margin, so that no number suffices.

    Example:
        >>> difference_samples_needed(PairedTable(19, 0, 0, 0), 0.02, 1 - 0.05 / 14)
        417
    """
    if table.only_baseline - table.only_candidate >= margin * table.n:
        return None
    z = z_quantile(confidence)
    score = difference_score(table, -margin)
    return math.ceil(table.n * (z / score) ** 2 * (1 - RELATIVE_PRECISION))


def _larger_root(a: float, b: float, c: float) -> float:
    """Return the larger root of a x^2 - b x - c = 0 for a > 0, without cancellation; at least 0."""
    if a <= 0:
        return 0.0
    # The discriminant is a sum of squares in exact arithmetic; only rounding makes it negative.
    root = math.sqrt(max(0.0, b * b + 4 * a * c))
    if b >= 0:
        return (b + root) / (2 * a)
    # For b < 0, b + root cancels; the other form of the quadratic formula does not.
    return max(0.0, 2 * c / (root - b))


def _standardised(difference: float, variance: float) -> float:
    if variance > 0:
        return difference / math.sqrt(variance)
    # Without variance, any difference is infinitely many deviations, which keeps the bisection monotonic.
    return 0.0 if difference == 0 else math.copysign(math.inf, difference)


def _crossing(score: Callable[[float], float], z: float, start: float, end: float) -> float:
    """Return where a decreasing score equals -z, between ``start`` (above) and ``end`` (below), by bisection."""
    low, high = start, end
    # The middle must differ from both ends: near 0 the relative tolerance alone would never be met.
    while high - low > RELATIVE_PRECISION * abs(high) and low < (middle := (low + high) / 2) < high:
        if score(middle) > -z:
            low = middle
        else:
            high = middle
    # The outer end, so that the interval errs on the wide side.
    return high
