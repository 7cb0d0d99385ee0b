"""Horizontal bars from 0, each with its interval if it has one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from certify.present.charts.draw import WIDTH, chart, rectangle, whisker, words
from certify.present.charts.scale import Scale

PITCH, BAR = 26, 16
LEFT, RIGHT, FIGURES = 176, WIDTH - 128, WIDTH - 120


@dataclass(frozen=True)
class Bar:
    """Value of at least 0, with its name, text and interval."""

    name: str
    value: float
    figure: str
    ends: tuple[float, float] | None = None


def bars_chart(name: str, title: str, bars: Sequence[Bar], *, is_baseline: bool = False) -> Markup | None:
    """Draw bars from top to bottom; return None if none is above 0."""
    longest = max((max(bar.value, *(bar.ends or (0.0,))) for bar in bars), default=0.0)
    # Written as "not greater" so that a NaN draws no chart either.
    if not longest > 0:
        return None
    axis = Scale(0.0, longest, LEFT, RIGHT)
    parts: list[Markup] = []
    for place, bar in enumerate(bars):
        # The figure column at the right is outside the axis, so that a long bar never runs into its number.
        top = 4 + PITCH * place
        ink = "before" if is_baseline else "after"
        parts += [words(bar.name, 4, top + 13, room=LEFT - 16, keep_end=True)]
        parts += [rectangle(axis.start, top, axis.place(bar.value), top + BAR, ink=ink)]
        if bar.ends is not None:
            parts.append(whisker(axis, *bar.ends, top + BAR / 2, ink="ink", end=4.0))
        parts.append(words(bar.figure, FIGURES, top + 13, bold=True, room=WIDTH - FIGURES))
    spoken = ", ".join(f"{bar.name}: {bar.figure}" for bar in bars)
    return chart(name, title, f"{spoken}.", PITCH * len(bars) + 8, *parts)
