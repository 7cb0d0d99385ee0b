"""The scale of the label: how much less energy, in decibels, with the interval of the measurement."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from certify.core.estimate import Estimate
from certify.present.svg import BOLD, INK, PAPER, QUIET, REGULAR, element, rule, text

STEP_DB = 2
WIDEST_DB = 12
"""The scale goes from 0 to here, and on where the interval does, up to :data:`ENDS_DB`."""
ENDS_DB = (-20, 40)
TICK, END, DOT = 8, 13, 7
TICK_SIZE = 15


@dataclass(frozen=True)
class Scale:
    """An axis of decibels between two places.

    Attributes:
        left: where it begins, in SVG user units.
        right: where it ends.
        lowest: decibels at its beginning.
        highest: decibels at its end.
    """

    left: float
    right: float
    lowest: int
    highest: int

    @classmethod
    def around(cls, ratio: Estimate, left: float, right: float) -> Scale:
        """An axis that shows an energy ratio with its interval, as far as :data:`ENDS_DB` goes."""
        ends = [min(max(decibels(end), ENDS_DB[0]), ENDS_DB[1]) for end in (ratio.high, ratio.low)]
        lowest = min(0, STEP_DB * math.floor(ends[0] / STEP_DB))
        highest = max(WIDEST_DB, STEP_DB * math.ceil(ends[1] / STEP_DB))
        return cls(left, right, lowest, highest)

    def place(self, value_db: float) -> float:
        """Where a value stands; at the nearer end where it lies outside."""
        inside = min(max(value_db, self.lowest), self.highest)
        return self.left + (self.right - self.left) * (inside - self.lowest) / (self.highest - self.lowest)


def decibels(ratio: float) -> float:
    """Energy saved in decibels: ``-10 log10(ratio)``; infinite where nothing bounds the ratio.

    Example:
        >>> round(decibels(0.5), 2), decibels(1.0)
        (3.01, 0.0)
    """
    if ratio <= 0:
        return math.inf
    return -math.inf if math.isinf(ratio) else -10 * math.log10(ratio) + 0.0


def draw_scale(ratio: Estimate, top: float, left: float, right: float, modelled: bool) -> Iterator[str]:
    """Draw the axis, its ticks as decibels and as factors, and the interval with its point above it.

    Args:
        ratio: candidate / baseline.
        top: y of the interval's middle; the drawing ends 66 units below.
        left: where the axis begins.
        right: where it ends.
        modelled: whether energy is modelled; the interval is then dashed.
    """
    scale = Scale.around(ratio, left, right)
    axis = top + 24
    yield rule(left, right, axis, 2)
    step = STEP_DB * math.ceil((scale.highest - scale.lowest) / (8 * STEP_DB))
    for value in range(scale.lowest, scale.highest + 1, step):
        x = scale.place(value)
        yield element("line", x1=x, y1=axis - TICK, x2=x, y2=axis + TICK, stroke=INK, stroke_width=2)
        yield text(f"{value} dB".replace("-", "−"), x, axis + 26, TICK_SIZE, REGULAR, QUIET, anchor="middle")
        yield text(_factor(value), x, axis + 45, TICK_SIZE, BOLD, INK, anchor="middle")
    low, high = scale.place(decibels(ratio.high)), scale.place(decibels(ratio.low))
    dashes = "5 3" if modelled else None
    yield element("line", x1=low, y1=top, x2=high, y2=top, stroke=INK, stroke_width=4, stroke_dasharray=dashes)
    x = scale.place(decibels(ratio.value))
    yield element("circle", cx=x, cy=top, r=DOT, fill=INK, stroke=PAPER, stroke_width=2)
    for end in (low, high):
        yield element("line", x1=end, y1=top - END, x2=end, y2=top + END, stroke=INK, stroke_width=3)


def _factor(value_db: float) -> str:
    """A tick as a factor: ``2.5× less``, the same, or ``1.6× more``."""
    if value_db == 0:
        return "same"
    return f"{10 ** (abs(value_db) / 10):.2g}× {'less' if value_db > 0 else 'more'}"
