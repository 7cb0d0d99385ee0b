"""Estimates with their intervals on a common axis."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from certify.core.estimate import Estimate
from certify.present.charts.draw import WIDTH, bottom_axis, chart, line, marks, number, whisker, words
from certify.present.charts.scale import Scale, scale
from certify.present.svg import tag

PITCH = 34
LEFT, RIGHT, FIGURES = 128, WIDTH - 118, WIDTH - 108


@dataclass(frozen=True)
class IntervalRow:
    """One estimate.

    Attributes:
        name: text to its left.
        estimate: estimate in the unit of the axis.
        figure: text to its right.
        is_baseline: whether it is drawn in the colour of the baseline.
    """

    name: str
    estimate: Estimate
    figure: str
    is_baseline: bool = False


def intervals_chart(
    name: str, title: str, rows: Sequence[IntervalRow], *, reference: float | None = None, logarithmic: bool = False,
    form: Callable[[float], str] = number, least: float = -math.inf,
) -> Markup | None:  # fmt: skip
    """Draw intervals of several estimates.

    Args:
        name: name unique in the page.
        title: title of the chart.
        rows: rows from top to bottom.
        reference: position of a dashed line (1 for an unchanged ratio).
        logarithmic: whether the axis is logarithmic.
        form: formatter of the ticks.
        least: lower limit of the axis.

    Returns:
        The chart; None without rows.
    """
    if not rows:
        return None
    # `least` limits only the axis, because an unbounded low end would flatten all other intervals.
    ends = [max(end, least) for row in rows for end in (row.estimate.low, row.estimate.value, row.estimate.high)]
    axis = scale([*ends, *([] if reference is None else [reference])], LEFT, RIGHT, logarithmic=logarithmic)
    top, bottom = 8, 8 + PITCH * len(rows)
    parts = [bottom_axis(axis, top, bottom, form, most=4)]
    if reference is not None:
        place = axis.place(reference)
        parts.append(line(place, top, place, bottom, dash="6 4"))
    for place, row in enumerate(rows):
        y = top + PITCH * (place + 0.5)
        ink = "before" if row.is_baseline else "after"
        parts += [
            words(row.name, 4, y + 4, room=LEFT - 10),
            whisker(axis, row.estimate.low, row.estimate.high, y, ink=ink),
            # Squares and discs, distinguishable in black and white.
            marks([(axis.place(row.estimate.value), y)], ink=ink, square=not row.is_baseline, size=7),
            words(row.figure, FIGURES, y + 4, bold=True, room=WIDTH - FIGURES),
        ]
    spoken = "; ".join(f"{row.name}: {row.estimate}" for row in rows)
    return chart(name, title, f"{spoken}.", bottom + 26, *parts)


def interval_cell(estimate: Estimate, reach: float) -> Markup:
    """Draw a small interval for a table cell, on an axis from -reach to +reach with a line at 0."""
    wide, tall = 120, 16
    axis = Scale(-reach, reach, 4, wide - 4)
    return tag(
        "svg", line(wide / 2, 0, wide / 2, tall, ink="quiet", dash="2 2"),
        whisker(axis, estimate.low, estimate.high, tall / 2, ink="after", end=3.0),
        marks([(axis.place(estimate.value), tall / 2)], ink="after", square=True),
        viewBox=f"0 0 {wide} {tall}", width=wide, height=tall, aria_hidden="true",
    )  # fmt: skip
