"""Pareto plot: energy against accuracy loss, each model with both intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from certify.core.estimate import Estimate, EvidenceLevel
from certify.present.charts.draw import (
    SIZE,
    bottom_axis,
    chart,
    left_axis,
    line,
    marks,
    number,
    standalone,
    unit,
    whisker,
    words,
)
from certify.present.charts.scale import Scale, scale
from certify.present.svg import joined, tag
from certify.present.text import width

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 720, 66, 700, 44, 404
PITCH = SIZE + 3


@dataclass(frozen=True)
class Point:
    """Model in the plot.

    Attributes:
        name: name for screen readers.
        grade: text before the name.
        energy: energy in the unit of the axis, lower is better.
        loss: accuracy loss in percent, lower is better.
        on_front: whether no other model dominates it.
    """

    name: str
    grade: str
    energy: Estimate
    loss: Estimate
    on_front: bool


def pareto_plot(points: Sequence[Point], *, is_ratio: bool, quantity: str = "energy") -> str:
    """Plot models by energy and loss as a self-contained SVG document; equal input gives equal text.

    Args:
        points: at least one model.
        is_ratio: whether the figures are changes relative to a baseline.
        quantity: quantity on the energy axis, if it is not energy.
    """
    return standalone(pareto_chart(points, is_ratio=is_ratio, quantity=quantity))


def pareto_chart(points: Sequence[Point], *, is_ratio: bool, quantity: str = "energy", name: str = "pareto") -> Markup:
    """Return the plot for a page, under a name unique in the page."""
    # Energies differ by orders of magnitude; losses may be negative, so their axis is linear.
    x = scale([end for point in points for end in _ends(point.energy)], LEFT, RIGHT, logarithmic=True, margin=0.08)
    y = scale([end for point in points for end in _ends(point.loss)], BOTTOM, TOP, margin=0.08)
    energy_title = f"{quantity}, candidate / baseline" if is_ratio else f"{quantity} per inference"
    loss_title = "accuracy loss, % of the baseline's" if is_ratio else "shortfall from 100 % accuracy, points"
    modelled = any(point.energy.evidence is EvidenceLevel.MODELLED for point in points)
    spoken = "; ".join(f"{point.name}: {quantity} {point.energy}, loss {point.loss}" for point in points)
    return chart(
        name, f"Models by {quantity} and accuracy loss", f"{spoken}. Lower left is better.", BOTTOM + 64,
        left_axis(y, LEFT, RIGHT, number), bottom_axis(x, TOP, BOTTOM, number if is_ratio else unit("J")),
        _front([point for point in points if point.on_front], x, y), *_points(points, x, y),
        words(f"{energy_title}{' (modelled, not metered)' if modelled else ''}; 95 % intervals", (LEFT + RIGHT) / 2,
              BOTTOM + 42, anchor="middle"),
        words(loss_title, 8, 22),
        words("lower left is better; filled: not dominated", RIGHT, 22, ink="quiet", anchor="end"),
        width=WIDTH,
    )  # fmt: skip


def _ends(estimate: Estimate) -> tuple[float, ...]:
    return estimate.low, estimate.value, estimate.high


def _points(points: Sequence[Point], x: Scale, y: Scale) -> Iterator[Markup]:
    """Draw the models, each with its name unless an earlier name is in the way."""
    taken: list[tuple[float, float, float]] = []
    for point in points:
        # Names are placed in the order of the points, each at the nearest free row.
        across, down = x.place(point.energy.value), y.place(point.loss.value)
        long = width(f"{point.grade}  {point.name}", SIZE, bold=point.on_front)
        left = across + 10 if across + 12 + long <= RIGHT else across - 10 - long
        rows = (down - 8 + PITCH * step for step in sorted(range(-len(points), len(points) + 1), key=abs))
        free = (row for row in rows if TOP <= row <= BOTTOM and not any(
            abs(row - other) < PITCH and left < end and start < left + long for start, end, other in taken
        ))  # fmt: skip
        # With no free row the name overlaps another one, which is better than a point without a name.
        row = next(free, down - 8)
        taken.append((left, left + long, row))
        yield _point(point, x, y, row)


def _point(point: Point, x: Scale, y: Scale, row: float) -> Markup:
    across, down = x.place(point.energy.value), y.place(point.loss.value)
    ink, label = "after" if point.on_front else "before", f"{point.grade}  {point.name}"
    inside = across + 12 + width(label, SIZE, bold=point.on_front) <= RIGHT
    return joined(
        # Drawn hollow, so that dominated models differ from the front without colour.
        whisker(x, point.energy.low, point.energy.high, down, ink=ink),
        line(across, y.place(point.loss.low), across, y.place(point.loss.high), ink=ink, stroke=2.0),
        marks([(across, down)], ink=ink, square=point.on_front, size=10),
        None if point.on_front else marks([(across, down)], ink="paper", size=5),
        words(label, across + (10 if inside else -10), row, bold=point.on_front,
              anchor=None if inside else "end", room=RIGHT - LEFT),
    )  # fmt: skip


def _front(points: Sequence[Point], x: Scale, y: Scale) -> Markup | None:
    """Draw the steps of the front: models right of and above them are dominated."""
    if len(points) < 2:
        return None
    path = ""
    # Steps, not slopes: no model exists between two models on the front.
    for point in sorted(points, key=lambda point: point.energy.value):
        across, down = x.place(point.energy.value), y.place(point.loss.value)
        path += f"H{across:.1f}V{down:.1f}" if path else f"M{across:.1f} {down:.1f}"
    return tag("path", d=path, class_="s-quiet", stroke_width=1, stroke_dasharray="4 4")
