"""Positions of values on a linear or logarithmic axis, with round ticks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_STEPS = (1.0, 2.0, 5.0, 10.0)
_LARGEST = 1e300  # margins would overflow beyond it or below its inverse
_NARROWEST = 1e-9  # relative to the values; narrower ranges are widened


@dataclass(frozen=True)
class Scale:
    """Axis.

    Attributes:
        low: value at ``start``.
        high: value at ``end``.
        start: coordinate of ``low``; may exceed ``end``, because y grows downward in SVG.
        end: coordinate of ``high``.
        logarithmic: whether the axis is logarithmic.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """Return the coordinate of a value; values beyond an end, including infinity, are drawn at that end."""
        inside = min(max(value, self.low), self.high)
        bottom, top, at = (self._form(x) for x in (self.low, self.high, inside))
        return self.start + (self.end - self.start) * (at - bottom) / (top - bottom)

    def ticks(self, most: int) -> list[float]:
        """Return round tick values within the axis, at most ``most`` (one more on a linear axis)."""
        return _log_ticks(self.low, self.high, most) if self.logarithmic else _ticks(self.low, self.high, most)

    def _form(self, value: float) -> float:
        return math.log(value) if self.logarithmic else value


def scale(
    values: Iterable[float], start: float, end: float, *, logarithmic: bool = False, margin: float = 0.06
) -> Scale:
    """Return an axis that contains all values, with a margin at both ends.

    Values that no axis can contain (infinity, or not above 0 on a logarithmic axis) are drawn at its ends.
    """
    # Infinite ends must not determine the axis; they are drawn at its edge.
    usable = [value for value in values if abs(value) < _LARGEST and (value > 1 / _LARGEST or not logarithmic)]
    forms = [math.log(value) if logarithmic else value for value in usable] or [0.0, 1.0]
    low, high = min(forms), max(forms)
    least = math.log(1.05) if logarithmic else max(abs(low), abs(high), 1.0) * _NARROWEST
    # A range of one value would divide by zero in `place`.
    if high - low < least:
        half = least / 2 if logarithmic else (abs(low) or 1.0) / 2
        low, high = low - half, high + half
    room = (high - low) * margin
    low, high = low - room, high + room
    if logarithmic:
        low, high = math.exp(low), math.exp(high)
    return Scale(low, high, start, end, logarithmic)


def _ticks(low: float, high: float, most: int) -> list[float]:
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    # Tolerances, because a step that fits exactly may come out one bit too small.
    step = next(power * factor for factor in _STEPS if power * factor >= raw * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    # Rounded because 3 times 0.1 would otherwise be labelled 0.30000000000000004.
    return [round(number * step, 12) for number in range(first, last + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    """Return powers of ten, alone, times 3, or times 2 and 5, as fits; linear ticks on less than a decade."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1.0, 2.0, 5.0), (1.0, 3.0), (1.0,)):
        found = [factor * 10.0**decade for decade in decades for factor in factors]
        found = [value for value in found if low <= value <= high]
        if 3 <= len(found) <= most:
            return found
    if len(found) > most:
        # Only very wide ranges get here; every k-th power of ten remains.
        return found[:: math.ceil(len(found) / most)]
    return found if high >= 10 * low and len(found) > 1 else _ticks(low, high, most)
