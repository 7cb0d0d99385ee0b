"""Gaps between groups: differences and ratios of rates, and what became of them, each with its interval.

Groups are of different people, so their rates are independent; before and after are of the same people, so they are
paired within a group. Intervals of combinations come from those of the parts by MOVER, the method of variance estimates
recovery (Zou and Donner 2008, "Construction of confidence limits about effect measures: a general approach"; for the
difference of two proportions it is Newcombe's 1998 method 10), which keeps the asymmetry of the parts.
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


@dataclass(frozen=True)
class Bounded:
    """A value with the ends of its interval."""

    value: float
    low: float
    high: float

    @classmethod
    def within(cls, value: float, ends: Interval) -> Bounded:
        """A value and its interval; an end that rounding left on the wrong side of the value is moved to it."""
        return cls(value, min(ends.low, value), max(ends.high, value))

    def negative(self) -> Bounded:
        """The same quantity with its sign turned."""
        return Bounded(0.0 - self.value, 0.0 - self.high, 0.0 - self.low)


def rate(successes: int, n: int, confidence: float) -> Bounded:
    """A single proportion with Wilson's interval.

    Example:
        >>> rate(5, 10, 0.95).value
        0.5
    """
    return Bounded.within(successes / n, wilson_interval(successes, n, confidence))


def change(table: PairedTable, confidence: float) -> Bounded:
    """Share of the candidate minus that of the baseline, with Tango's interval."""
    value = (table.only_candidate - table.only_baseline) / table.n
    return Bounded.within(value, difference_interval(table, confidence))


def mover_difference(one: Bounded, other: Bounded) -> Bounded:
    """``one`` minus ``other``, two independent quantities, from the intervals of both.

    Zou and Donner (2008): low = d - sqrt((d1 - l1)^2 + (u2 - d2)^2), high = d + sqrt((u1 - d1)^2 + (d2 - l2)^2).

    Example:
        >>> found = mover_difference(Bounded(0.5, 0.2, 0.9), Bounded(0.1, 0.0, 0.5))
        >>> round(found.low, 12), round(found.high, 12)
        (-0.1, 0.812310562562)
    """
    d = one.value - other.value
    low = d - math.hypot(one.value - one.low, other.high - other.value)
    high = d + math.hypot(one.high - one.value, other.value - other.low)
    return Bounded(d, low, high)


def mover_ratio(one: Bounded, other: Bounded) -> Bounded:
    """``one`` over ``other``, two independent proportions, from the intervals of both.

    Donner and Zou (2012), "Closed-form confidence intervals for functions of the normal mean and standard deviation";
    Newcombe (2016), "MOVER-R confidence intervals for ratios and products of two independently estimated quantities".

    Returns:
        Without upper bound where the denominator may be 0; 1 where both rates are 0.

    Example:
        >>> round(mover_ratio(rate(30, 100, 0.95), rate(60, 100, 0.95)).value, 3)
        0.5
    """
    if other.value <= 0:
        return Bounded(1.0 if one.value <= 0 else math.inf, 0.0, math.inf)
    product = one.value * other.value
    low = product - _root(product**2 - _twice(one.value, one.low) * _twice(other.value, other.high))
    low /= _twice(other.value, other.high)
    if (below := _twice(other.value, other.low)) <= 0:
        high = math.inf
    else:
        high = (product + _root(product**2 - _twice(one.value, one.high) * below)) / below
    return Bounded.within(one.value / other.value, Interval(max(0.0, low), high))


def _twice(value: float, end: float) -> float:
    return end * (2 * value - end)


def _root(value: float) -> float:
    return math.sqrt(max(0.0, value))


def absolute(gap: Bounded) -> Bounded:
    """Size of a gap of either sign, from the interval of the signed gap."""
    if gap.low >= 0:
        return gap
    if gap.high <= 0:
        return gap.negative()
    return Bounded(abs(gap.value), 0.0, max(-gap.low, gap.high))


def gap(one: PairedTable, other: PairedTable, arm: str, confidence: float) -> Bounded:
    """Rate of one group minus that of another, before (``baseline``) or after (``candidate``)."""
    rates = (rate(getattr(table, arm), table.n, confidence) for table in (one, other))
    return mover_difference(*rates)


def gap_change(one: PairedTable, other: PairedTable, confidence: float) -> Bounded:
    """By how much the signed gap between two groups changed, in shares: (after) minus (before)."""
    return mover_difference(change(one, confidence), change(other, confidence))


def absolute_gap_change(one: PairedTable, other: PairedTable, confidence: float) -> Bounded:
    """By how much the size of the gap between two groups changed, whichever group is ahead.

    With a and b the signed gap before and after, D = b - a and S = b + a,

        |b| - |a| = min(max(D, -S), max(S, -D)),

    which rises with D and falls with -S in its first part, and the other way round in its second. Each end takes those
    ends of the intervals of D and S that make it widest, so that the truth is left out only where the interval of the
    one that decides leaves it out: far from 0 that is D alone, and the ends are those of :func:`gap_change` or their
    negatives. Where both gaps may have either sign, no change is never excluded, since a gap that moved by D may have
    widened or narrowed by as much; the interval is then conservative. D has the interval of :func:`gap_change`; S is
    the sum of both gaps, whose ends add up those of Wilson's intervals (before and after are of the same people, so
    they vary together). ``tests/benchmarks/social_coverage.py`` shows how often the truth is held.

    Example:
        >>> equal = PairedTable(40, 0, 0, 60)
        >>> absolute_gap_change(equal, equal, 0.95).value
        0.0
    """
    before, after = (_signed(one, other, arm) for arm in ("baseline", "candidate"))
    d = gap_change(one, other, confidence)
    s = mover_difference(_doubled(one, confidence), _doubled(other, confidence))
    low = min(max(d.low, -s.high), max(s.low, -d.high))
    high = min(max(d.high, -s.low), max(s.high, -d.low))
    return Bounded.within(abs(after) - abs(before), Interval(low, high))


def _signed(one: PairedTable, other: PairedTable, arm: str) -> float:
    return float(getattr(one, arm) / one.n - getattr(other, arm) / other.n)


def _doubled(table: PairedTable, confidence: float) -> Bounded:
    """Rate before plus rate after of one group."""
    before, after = (rate(count, table.n, confidence) for count in (table.baseline, table.candidate))
    return Bounded(before.value + after.value, before.low + after.low, before.high + after.high)


def extremes_difference(rates: Sequence[Bounded]) -> Bounded:
    """Largest minus smallest of several rates, from intervals that hold all at once.

    Example:
        >>> extremes_difference([Bounded(0.2, 0.1, 0.3), Bounded(0.6, 0.5, 0.7)]).value
        0.39999999999999997
    """
    low = max(one.low for one in rates) - min(one.high for one in rates)
    high = max(one.high for one in rates) - min(one.low for one in rates)
    return Bounded(max(r.value for r in rates) - min(r.value for r in rates), max(0.0, low), high)
