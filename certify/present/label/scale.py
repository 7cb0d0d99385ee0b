"""The scale of the label: energy saved in decibels, with the interval of the measurement."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from certify.core.estimate import Estimate
from certify.present.svg import BOLD, INK, PAPER, QUIET, REGULAR, element, rule, text

STEP_DB = 2
WIDEST_DB = 12
"""Default end of the scale from 0; it extends with the interval, up to :data:`ENDS_DB`."""
ENDS_DB = (-20, 40)
TICK, END, DOT = 8, 13, 7
TICK_SIZE = 15


@dataclass(frozen=True)
class Scale:
    """Axis of decibels between two positions.

    Attributes:
        left: start in SVG user units.
        right: end in SVG user units.
        lowest: decibels at the start.
        highest: decibels at the end.
    """

    left: float
    right: float
    lowest: int
    highest: int

    @classmethod
    def around(cls, ratio: Estimate, left: float, right: float) -> Scale:
        """Return an axis that shows an energy ratio with its interval, within :data:`ENDS_DB`."""
        # The ends swap, because a higher energy ratio is a smaller saving.
        ends = [min(max(decibels(end), ENDS_DB[0]), ENDS_DB[1]) for end in (ratio.high, ratio.low)]
        lowest = min(0, STEP_DB * math.floor(ends[0] / STEP_DB))
        highest = max(WIDEST_DB, STEP_DB * math.ceil(ends[1] / STEP_DB))
        return cls(left, right, lowest, highest)

    def place(self, value_db: float) -> float:
        """Return the position of a value; the nearer end if it is outside."""
        inside = min(max(value_db, self.lowest), self.highest)
        return self.left + (self.right - self.left) * (inside - self.lowest) / (self.highest - self.lowest)


def decibels(ratio: float) -> float:
    """Return energy saved in decibels: ``-10 log10(ratio)``; infinite if the ratio is unbounded.

    Example:
        >>> round(decibels(0.5), 2), decibels(1.0)
        (3.01, 0.0)
    """
    if ratio <= 0:
        return math.inf
    # Adding 0.0 turns the negative zero of a ratio of 1 into 0.
    return -math.inf if math.isinf(ratio) else -10 * math.log10(ratio) + 0.0


def draw_scale(ratio: Estimate, top: float, left: float, right: float, modelled: bool) -> Iterator[str]:
    """Draw the axis, its ticks as decibels and as factors, and above it the interval with its point.

    Args:
        ratio: candidate / baseline.
        top: y of the interval's middle; the drawing ends 66 units below.
        left: start of the axis.
        right: end of the axis.
        modelled: whether energy is modelled, which makes the interval dashed.
    """
    scale = Scale.around(ratio, left, right)
    axis = top + 24
    yield rule(left, right, axis, 2)
    # At most 9 ticks, because the labels of more would overlap.
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
    # The interval is drawn first and the point on it, so that a narrow interval does not hide the point.
    yield element("circle", cx=x, cy=top, r=DOT, fill=INK, stroke=PAPER, stroke_width=2)
    for end in (low, high):
        yield element("line", x1=end, y1=top - END, x2=end, y2=top + END, stroke=INK, stroke_width=3)


def _factor(value_db: float) -> str:
    """Format a tick as a factor: ``2.5× less``, the same, or ``1.6× more``."""
    if value_db == 0:
        return "same"
    return f"{10 ** (abs(value_db) / 10):.2g}× {'less' if value_db > 0 else 'more'}"
