"""The Pareto plot: energy against loss of accuracy, each model with both of its intervals."""

from __future__ import annotations

from typing import TYPE_CHECKING

from certify.charts.draw import (
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
from certify.charts.markup import Markup, joined, tag
from certify.charts.scale import Scale, scale
from certify.errors import UsageError
from certify.estimate import Estimate
from certify.present.text import width

if TYPE_CHECKING:
    from certify.comparison.compare import Comparison

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 720, 66, 700, 44, 404


def plot(comparison: Comparison) -> str:
    """SVG of a comparison; equal input gives equal text.

    Raises:
        UsageError: no entry has both figures and a letter.
    """
    placed = [(entry, place) for entry in comparison.entries if (place := comparison.place(entry)) is not None]
    if not placed:
        raise UsageError("None of these models has a letter with energy and accuracy, so there is nothing to plot.")
    is_ratio = comparison.axes.is_ratio
    x = scale([end for _, (energy, _) in placed for end in _ends(energy)], LEFT, RIGHT, logarithmic=True, margin=0.08)
    y = scale([end for _, (_, loss) in placed for end in _ends(loss)], BOTTOM, TOP, margin=0.08)
    best = {entry.name for entry in comparison.best()}
    front = sorted((place for entry, place in placed if entry.name in best), key=lambda place: place[0].value)
    points = [
        _point(f"{entry.certificate.grade_text}  {entry.name}", place, x, y, entry.name in best)
        for entry, place in placed
    ]
    energy_title = "energy, candidate over baseline" if is_ratio else "energy of one inference"
    loss_title = "loss of accuracy, % of the baseline's" if is_ratio else "accuracy missing to 100 %, points"
    modelled = any(energy.evidence.value == "modelled" for _, (energy, _) in placed)
    spoken = "; ".join(f"{entry.name}: energy {energy}, loss {loss}" for entry, (energy, loss) in placed)
    return standalone(chart(
        "pareto", "Models by energy and loss of accuracy", f"{spoken}. Lower left is better.", BOTTOM + 64,
        left_axis(y, LEFT, RIGHT, number), bottom_axis(x, TOP, BOTTOM, number if is_ratio else unit("J")),
        _front(front, x, y), *points,
        words(f"{energy_title}{' (modelled, not metered)' if modelled else ''}; 95 % intervals", (LEFT + RIGHT) / 2,
              BOTTOM + 42, anchor="middle"),
        words(loss_title, 8, 22),
        words("lower left is better; filled: beaten by none", RIGHT, 22, ink="quiet", anchor="end"),
        width=WIDTH,
    ))  # fmt: skip


def _ends(estimate: Estimate) -> tuple[float, ...]:
    return estimate.low, estimate.value, estimate.high


def _point(name: str, place: tuple[Estimate, Estimate], x: Scale, y: Scale, is_best: bool) -> Markup:
    energy, loss = place
    across, down = x.place(energy.value), y.place(loss.value)
    ink = "after" if is_best else "before"
    inside = across + 12 + width(name, SIZE, bold=is_best) <= RIGHT
    return joined(
        whisker(x, energy.low, energy.high, down, ink=ink),
        line(across, y.place(loss.low), across, y.place(loss.high), ink=ink, stroke=2.0),
        marks([(across, down)], ink=ink, square=is_best, size=10),
        None if is_best else marks([(across, down)], ink="paper", size=5),
        words(name, across + (10 if inside else -10), down - 8, bold=is_best, anchor=None if inside else "end",
              room=RIGHT - LEFT),
    )  # fmt: skip


def _front(places: list[tuple[Estimate, Estimate]], x: Scale, y: Scale) -> Markup | None:
    """The steps of the front: what lies right of and above them is beaten."""
    if len(places) < 2:
        return None
    path = ""
    for energy, loss in places:
        across, down = x.place(energy.value), y.place(loss.value)
        path += f"H{across:.1f}V{down:.1f}" if path else f"M{across:.1f} {down:.1f}"
    return tag("path", d=path, class_="s-quiet", stroke_width=1, stroke_dasharray="4 4")
