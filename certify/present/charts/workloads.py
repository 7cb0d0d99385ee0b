"""Profile of several workloads: joules per sample by batch size, and the windows over time."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from certify.core.estimate import Estimate, EvidenceLevel
from certify.present.charts.draw import WIDTH, bottom_axis, chart, left_axis, line, marks, number, unit, words
from certify.present.charts.scale import Scale, scale
from certify.present.svg import joined

INKS = ("after", "before", "worse", "ink", "quiet")
"""Colours of the series in turn; every second series has squares, to be distinguishable in black and white."""
LEFT, RIGHT = 64.0, WIDTH - 14.0
TITLE, LEGEND, PLOT = 20.0, 42.0, 190.0
SPREAD = 9.0
"""Horizontal distance in units between points of two series at the same batch size."""
NARROWEST_PERCENT = 2.0
NARROWEST_BAND = 24.0


@dataclass(frozen=True)
class Series:
    """One model in one runtime.

    Attributes:
        name: name in the legend.
        costs: joules (or seconds) per sample, by batch size.
        windows: time in s and cost in percent of the workload's mean, by window.
    """

    name: str
    costs: tuple[tuple[int, Estimate], ...]
    windows: tuple[tuple[float, float], ...]


def workloads(name: str, title: str, series: Sequence[Series], starts: Sequence[tuple[float, str]] = ()) -> Markup:
    """Draw both charts, one above the other.

    Args:
        name: name unique in the page, of letters and hyphens.
        title: title above both, such as the model's name.
        series: at least one, with at least one cost each.
        starts: start of each workload in seconds, and its name.
    """
    top = LEGEND + 20.0 * len(series) + 26
    costs, bottom = _costs(series, top)
    time, end = _windows(series, starts, bottom + 88)
    described = "; ".join(_described(curve) for curve in series)
    legend = [_legend(curve, number, LEGEND + 20.0 * number) for number, curve in enumerate(series)]
    heading = words(title, 14, TITLE, bold=True, room=WIDTH - 28)
    return chart(name, title, f"Cost per sample by batch: {described}.", end + 44, heading, *legend, costs, time)


def _described(series: Series) -> str:
    return f"{series.name}: " + ", ".join(f"{cost} at batch {batch}" for batch, cost in series.costs)


def _legend(series: Series, place: int, y: float) -> Markup:
    mark = _marks([(20.0, y - 4)], place)
    return joined(mark, words(series.name, 32, y, room=WIDTH - 46))


def _marks(points: Sequence[tuple[float, float]], place: int, size: float = 8.0) -> Markup:
    return marks(points, ink=INKS[place % len(INKS)], square=place % 2 == 1, size=size)


def _costs(series: Sequence[Series], top: float) -> tuple[Markup, float]:
    """Draw cost per sample by batch size, from 0, with intervals; return the bottom of the plot too."""
    bottom = top + PLOT
    batches = sorted({batch for curve in series for batch, _ in curve.costs})
    step = (RIGHT - LEFT) / len(batches)
    centres = {batch: LEFT + step * (place + 0.5) for place, batch in enumerate(batches)}
    estimates = [cost for curve in series for _, cost in curve.costs]
    # A very wide interval is cut at twice its value, because it would flatten all others.
    highest = max(min(cost.high, 2 * cost.value) for cost in estimates)
    axis = Scale(0.0, 1.08 * highest, bottom, top)
    what = "Energy" if estimates[0].unit == "J" else "Time"
    modelled = " (modelled)" if estimates[0].evidence is EvidenceLevel.MODELLED else ""
    parts = [
        words(f"{what} per sample{modelled}, with its 95 % interval", 14, top - 12),
        left_axis(axis, LEFT, RIGHT, unit(estimates[0].unit)),
        *(words(str(batch), x, bottom + 16, ink="quiet", anchor="middle") for batch, x in centres.items()),
        words("batch (samples per inference)", (LEFT + RIGHT) / 2, bottom + 34, ink="quiet", anchor="middle"),
    ]
    for place, curve in enumerate(series):
        # Shifted sideways, so that intervals at one batch size do not cover each other.
        ink, shift = INKS[place % len(INKS)], SPREAD * (place - (len(series) - 1) / 2)
        points = [(centres[batch] + shift, cost) for batch, cost in curve.costs]
        parts += [_interval(axis, x, cost, ink) for x, cost in points]
        drawn = [(x, axis.place(cost.value)) for x, cost in points]
        parts += [line(*here, *there, ink=ink, dash="2 3") for here, there in itertools.pairwise(drawn)]
        parts.append(_marks(drawn, place))
    return joined(*parts), bottom


def _interval(axis: Scale, x: float, cost: Estimate, ink: str) -> Markup:
    """Draw an interval as a vertical line with bars at its ends."""
    low, high = axis.place(cost.low), axis.place(cost.high)
    bars = [line(x - 5, y, x + 5, y, ink=ink, stroke=1.5) for y in (low, high)]
    return joined(line(x, low, x, high, ink=ink, stroke=2.0), *bars)


def _windows(series: Sequence[Series], starts: Sequence[tuple[float, str]], top: float) -> tuple[Markup, float]:
    """Draw the cost of each window over time, in percent of its workload's mean; return the bottom of the plot too."""
    bottom = top + PLOT
    points = [point for curve in series for point in curve.windows]
    seconds = scale([0.0, *(at for at, _ in points)], LEFT, RIGHT)
    # The axis spans at least 98 to 102 %; otherwise noise would fill the plot and look like drift.
    around = (100 - NARROWEST_PERCENT, 100 + NARROWEST_PERCENT)
    percent = scale([*around, *(value for _, value in points)], bottom, top)
    parts = [
        words("Windows over time, in percent of the mean of their workload", 14, top - 28),
        left_axis(percent, LEFT, RIGHT, lambda value: f"{number(value)} %"),
        bottom_axis(seconds, bottom, bottom, number),
        words("time of the windows in seconds", (LEFT + RIGHT) / 2, bottom + 34, ink="quiet", anchor="middle"),
        *_bands(seconds, starts, top, bottom),
        line(LEFT, percent.place(100.0), RIGHT, percent.place(100.0), ink="quiet"),
    ]
    for place, curve in enumerate(series):
        drawn = [(seconds.place(at), percent.place(value)) for at, value in curve.windows]
        parts.append(_marks(drawn, place, size=4.0))
    return joined(*parts), bottom


def _bands(seconds: Scale, starts: Sequence[tuple[float, str]], top: float, bottom: float) -> Iterator[Markup]:
    """Draw a dashed line where each workload begins, with its name if there is room."""
    edges = [*(seconds.place(at) for at, _ in starts), RIGHT]
    for (_, name), (x, end) in zip(starts, itertools.pairwise(edges), strict=True):
        yield line(x, top - 14, x, bottom, ink="quiet", dash="2 4")
        if end - x > NARROWEST_BAND:
            yield words(name, x + 4, top - 5, ink="quiet", room=end - x - 6)
