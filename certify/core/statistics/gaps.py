"""Gaps between groups: differences and ratios of rates, and their changes, with intervals.

Different groups have different people, so their rates are independent; before and after concern the same people, so
they are paired within a group. Intervals of combinations follow from those of the parts by MOVER, the method of
variance estimates recovery (Zou and Donner 2008, "Construction of confidence limits about effect measures: a general
approach"; for the difference of two proportions it is Newcombe's 1998 method 10), which keeps the asymmetry of the
parts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from certify.core.statistics.proportions import (
    Interval,
    PairedTable,
    difference_interval,
    wilson_interval,
)

WIDER_ERROR = 3.7
"""By how much :func:`absolute_gap_change` raises the error of its parts where both gaps are near 0."""


@dataclass(frozen=True)
class Bounded:
    """A value with the ends of its interval."""

    value: float
    low: float
    high: float

    @classmethod
    def within(cls, value: float, ends: Interval) -> Bounded:
        """Make a value with its interval; an end on the wrong side of the value, due to rounding, is moved to it."""
        return cls(value, min(ends.low, value), max(ends.high, value))

    def negative(self) -> Bounded:
        """Return the quantity with the opposite sign."""
        # 0.0 - x instead of -x, so that no end becomes -0.0 and is printed as -0.
        return Bounded(0.0 - self.value, 0.0 - self.high, 0.0 - self.low)


def rate(successes: int, n: int, confidence: float) -> Bounded:
    """Return a single proportion with Wilson's interval.

    Example:
        >>> rate(5, 10, 0.95).value
        0.5
    """
    return Bounded.within(successes / n, wilson_interval(successes, n, confidence))


def change(table: PairedTable, confidence: float) -> Bounded:
    """Return the candidate's rate minus the baseline's, with Tango's interval."""
    value = (table.only_candidate - table.only_baseline) / table.n
    return Bounded.within(value, difference_interval(table, confidence))


def mover_difference(first: Bounded, second: Bounded) -> Bounded:
    """Return ``first`` minus ``second``, two independent quantities, with an interval from those of both.

    Zou and Donner (2008): low = d - sqrt((d1 - l1)^2 + (u2 - d2)^2), high = d + sqrt((u1 - d1)^2 + (d2 - l2)^2).

    Example:
        >>> found = mover_difference(Bounded(0.5, 0.2, 0.9), Bounded(0.1, 0.0, 0.5))
        >>> round(found.low, 12), round(found.high, 12)
        (-0.1, 0.812310562562)
    """
    d = first.value - second.value
    low = d - math.hypot(first.value - first.low, second.high - second.value)
    high = d + math.hypot(first.high - first.value, second.value - second.low)
    return Bounded(d, low, high)


def mover_ratio(first: Bounded, second: Bounded) -> Bounded:
    """Return ``first`` over ``second``, two independent proportions, with an interval from those of both.

    Donner and Zou (2012), "Closed-form confidence intervals for functions of the normal mean and standard deviation";
    Newcombe (2016), "MOVER-R confidence intervals for ratios and products of two independently estimated quantities".

    Returns:
        The ratio, without an upper bound if the denominator may be 0; 1 if both rates are 0.

    Example:
        >>> round(mover_ratio(rate(30, 100, 0.95), rate(60, 100, 0.95)).value, 3)
        0.5
    """
    if second.value <= 0:
        return Bounded(1.0 if first.value <= 0 else math.inf, 0.0, math.inf)
    product = first.value * second.value
    low = product - _root(product**2 - _twice(first.value, first.low) * _twice(second.value, second.high))
    low /= _twice(second.value, second.high)
    # A denominator whose interval reaches 0 leaves the ratio without an upper bound.
    if (below := _twice(second.value, second.low)) <= 0:
        high = math.inf
    else:
        high = (product + _root(product**2 - _twice(first.value, first.high) * below)) / below
    return Bounded.within(first.value / second.value, Interval(max(0.0, low), high))


def _twice(value: float, end: float) -> float:
    return end * (2 * value - end)


def _root(value: float) -> float:
    # The radicand is 0 in exact arithmetic where the interval degenerates; rounding may make it negative.
    return math.sqrt(max(0.0, value))


def absolute(gap: Bounded) -> Bounded:
    """Return the absolute value of a gap, from the interval of the signed gap."""
    if gap.low >= 0:
        return gap
    if gap.high <= 0:
        return gap.negative()
    return Bounded(abs(gap.value), 0.0, max(-gap.low, gap.high))


def gap(first: PairedTable, second: PairedTable, arm: str, confidence: float) -> Bounded:
    """Return the rate of one group minus that of another, before (``baseline``) or after (``candidate``)."""
    rates = (rate(getattr(table, arm), table.n, confidence) for table in (first, second))
    return mover_difference(*rates)


def gap_change(first: PairedTable, second: PairedTable, confidence: float) -> Bounded:
    """Return the change of the signed gap between two groups, as fractions: after minus before."""
    return mover_difference(change(first, confidence), change(second, confidence))


def absolute_gap_change(first: PairedTable, second: PairedTable, confidence: float) -> Bounded:
    """Return the change of the absolute gap between two groups, whichever group is ahead.

    With a and b the signed gap before and after, D = b - a and S = b + a,

        |b| - |a| = min(max(D, -S), max(S, -D)),

    which rises with D and falls with -S in its first part, and vice versa in its second. Each end uses the ends of the
    intervals of D and S that make the result widest: far from 0 those of :func:`gap_change` or their negatives. D has
    the interval of :func:`gap_change`; S is the sum of both gaps, whose ends are sums of those of Wilson's intervals
    (before and after concern the same people, so they vary together).

    Where both gaps are near 0, an error would need D and S to err at once, and such intervals cover more than 99 %. So
    both are taken at a lower confidence where neither excludes 0 at the given one and both do at the lower one. This
    follows tests of a product of two means (Miles and Chambaz 2021, "Optimal tests of the composite null hypothesis
    arising in mediation analysis", arXiv 2107.07575; van Garderen and van Giersbergen 2020, "A nearly similar powerful
    test for mediation", arXiv 2012.11342); such pairs are rare where one of the two is 0 and the other is not.
    ``tests/benchmarks/social_coverage.py`` shows the coverage.

    Example:
        >>> equal = PairedTable(40, 0, 0, 60)
        >>> absolute_gap_change(equal, equal, 0.95).value
        0.0
    """
    before, after = (_signed(first, second, arm) for arm in ("baseline", "candidate"))
    d, s = _change_and_sum(first, second, confidence)
    if _may_be_zero(d) and _may_be_zero(s) and (error := WIDER_ERROR * (1 - confidence)) < 1:
        shorter = _change_and_sum(first, second, 1 - error)
        if not any(map(_may_be_zero, shorter)):
            d, s = shorter
    low = min(max(d.low, -s.high), max(s.low, -d.high))
    high = min(max(d.high, -s.low), max(s.high, -d.low))
    return Bounded.within(abs(after) - abs(before), Interval(low, high))


def _change_and_sum(first: PairedTable, second: PairedTable, confidence: float) -> tuple[Bounded, Bounded]:
    """Return the signed gap after minus before, and after plus before."""
    total = mover_difference(_doubled(first, confidence), _doubled(second, confidence))
    return gap_change(first, second, confidence), total


def _may_be_zero(found: Bounded) -> bool:
    return found.low <= 0 <= found.high


def _signed(first: PairedTable, second: PairedTable, arm: str) -> float:
    return float(getattr(first, arm) / first.n - getattr(second, arm) / second.n)


def _doubled(table: PairedTable, confidence: float) -> Bounded:
    """Return the rate before plus the rate after of one group."""
    before, after = (rate(count, table.n, confidence) for count in (table.baseline, table.candidate))
    return Bounded(before.value + after.value, before.low + after.low, before.high + after.high)


def extremes_difference(rates: Sequence[Bounded]) -> Bounded:
    """Return the largest minus the smallest of several rates, from simultaneous intervals.

    Example:
        >>> extremes_difference([Bounded(0.2, 0.1, 0.3), Bounded(0.6, 0.5, 0.7)]).value
        0.39999999999999997
    """
    # The group with the largest rate need not be known: some group is at least this high, and some at most that low.
    low = max(group.low for group in rates) - min(group.high for group in rates)
    high = max(group.high for group in rates) - min(group.low for group in rates)
    return Bounded(max(r.value for r in rates) - min(r.value for r in rates), max(0.0, low), high)
