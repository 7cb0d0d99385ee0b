"""Parts shared by all charts: text, lines, marks, axes, and the frame announced by screen readers."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup

from certify.present.charts.palette import LIGHT, rules
from certify.present.charts.scale import Scale
from certify.present.numbers import MINUS, quantity
from certify.present.svg import FONTS, joined, tag
from certify.present.text import shorten

WIDTH = 460
SIZE = 13
"""Width of a chart and its text size in units: text is still 10 pixels high on a phone that is 360 pixels wide."""

Ink = str
"""Name of a palette colour: ink, quiet, before, after or worse."""


def words(
    content: str, x: float, y: float, *, ink: Ink = "ink", anchor: str | None = None, bold: bool = False,
    room: float = math.inf, keep_end: bool = False,
) -> Markup:  # fmt: skip
    """Draw a line of text with its baseline at y, cut if it is wider than ``room``."""
    return tag(
        "text", shorten(content, SIZE, room, bold, keep_end), x=x, y=y, class_=f"f-{ink}", text_anchor=anchor,
        font_weight=700 if bold else None,
    )  # fmt: skip


def line(x1: float, y1: float, x2: float, y2: float, *, ink: Ink = "ink", stroke: float = 1.0, dash: str | None = None
         ) -> Markup:  # fmt: skip
    """Draw a straight line."""
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, class_=f"s-{ink}", stroke_width=stroke, stroke_dasharray=dash)


def rectangle(x1: float, y1: float, x2: float, y2: float, *, ink: Ink) -> Markup:
    """Draw a filled rectangle between two corners, at least one unit wide."""
    left, top = min(x1, x2), min(y1, y2)
    return tag(
        # At least one unit, so that a value close to 0 remains visible.
        "rect", x=left, y=top, width=max(abs(x2 - x1), 1.0), height=max(abs(y2 - y1), 1.0), class_=f"f-{ink}"
    )  # fmt: skip


def marks(points: Sequence[tuple[float, float]], *, ink: Ink, square: bool = False, size: float = 5.0) -> Markup:
    """Draw many points as one path, as discs or squares."""
    # A dot is a very short line with caps, so that one path can hold thousands of windows.
    path = "".join(f"M{x:.1f} {y:.1f}h.01" for x, y in points)
    cap = "square" if square else "round"
    return tag("path", d=path, class_=f"s-{ink}", stroke_width=size, stroke_linecap=cap)


def whisker(axis: Scale, low: float, high: float, y: float, *, ink: Ink, end: float = 5.0) -> Markup:
    """Draw an interval as a horizontal line; an end beyond the axis has no bar."""
    left, right = axis.place(low), axis.place(high)
    # A bar at the edge of the plot would claim that the interval ends there.
    ends = [place for place, value in ((left, low), (right, high)) if axis.low <= value <= axis.high]
    bars = [line(place, y - end, place, y + end, ink=ink, stroke=1.5) for place in ends]
    return joined(line(left, y, right, y, ink=ink, stroke=2.0), *bars)


def bottom_axis(axis: Scale, top: float, bottom: float, form: Callable[[float], str], most: int = 5) -> Markup:
    """Draw ticks below the plot, each with a thin line up."""
    parts = []
    for value in axis.ticks(most):
        x = axis.place(value)
        parts += [line(x, top, x, bottom, ink="grid"), words(form(value), x, bottom + 16, ink="quiet", anchor="middle")]
    return joined(*parts)


def left_axis(axis: Scale, left: float, right: float, form: Callable[[float], str], most: int = 5) -> Markup:
    """Draw ticks to the left of the plot, each with a thin line across."""
    parts = []
    for value in axis.ticks(most):
        y = axis.place(value)
        parts += [line(left, y, right, y, ink="grid"), words(form(value), left - 6, y + 4, ink="quiet", anchor="end")]
    return joined(*parts)


def number(value: float) -> str:
    """Format a tick without trailing zeros.

    Example:
        >>> number(2.0), number(1500000)
        ('2', '1.50 M')
    """
    # From 1e6 on, `:g` would print six significant digits with an exponent.
    return f"{value:.6g}".replace("-", MINUS) if abs(value) < 1e6 else quantity(value, "")


def unit(name: str, digits: int = 2) -> Callable[[float], str]:
    """Return a formatter of ticks as quantities: ``unit("J")(0.002)`` is ``2 mJ``.

    Example:
        >>> unit("J")(0.002)
        '2 mJ'
    """

    def form(value: float) -> str:
        # Converted back to a float, so that `:g` drops trailing zeros.
        figure, _, suffix = quantity(value, name, digits + 1).partition(" ")
        return f"{float(figure.replace(MINUS, '-')):g} {suffix}".rstrip().replace("-", MINUS)

    return form


def chart(name: str, title: str, description: str, height: float, *body: str | None, width: int = WIDTH) -> Markup:
    """Return the frame: an ``svg`` element without colours, which come from the surrounding page.

    Args:
        name: name unique in the page, of letters and hyphens.
        title: title announced by screen readers.
        description: likewise, a description of the chart.
        height: height in units.
        body: content.
        width: width in units.
    """
    tall = math.ceil(height)
    return tag(
        "svg", tag("title", title, id=f"{name}-title"), tag("desc", description, id=f"{name}-desc"), *body,
        xmlns="http://www.w3.org/2000/svg", viewBox=f"0 0 {width} {tall}", width=width, height=tall, role="img",
        aria_labelledby=f"{name}-title {name}-desc", font_family=FONTS, font_size=SIZE,
    )  # fmt: skip


def standalone(drawing: Markup) -> str:
    """Return a chart as a separate file, dark on white."""
    # A separate file has no page from which to inherit colours.
    head, _, rest = drawing.partition(">")
    style = tag("style", Markup(rules(LIGHT)))
    ground = tag("rect", width="100%", height="100%", class_="f-paper")
    return f"{head}>{style}{ground}{rest}\n"
