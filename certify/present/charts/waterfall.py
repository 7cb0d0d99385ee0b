"""Waterfall chart: steps of a quantity from its first value to its last."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from certify.present.charts.draw import WIDTH, chart, line, rectangle, words
from certify.present.charts.scale import Scale
from certify.present.svg import joined

PITCH, BAR = 30, 18
LEFT, RIGHT, FIGURES = 128, WIDTH - 158, WIDTH - 148


@dataclass(frozen=True)
class Step:
    """Value, and the name of the step that reached it."""

    name: str
    value: float


def waterfall_chart(
    name: str,
    title: str,
    steps: Sequence[Step],
    form: Callable[[float], str],
    form_step: Callable[[float, float], str],
    *,
    more_is_better: bool = False,
) -> Markup | None:
    """Draw the first value as a bar, each later one as a step from the previous one, and the last as a bar again.

    Args:
        name: name unique in the page.
        title: title of the chart.
        steps: at least two values, none below 0.
        form: formatter of a value.
        form_step: formatter of a nonzero step, from its size and the first value.
        more_is_better: whether an upward step is drawn as good.

    Returns:
        The chart; None with fewer than two values, or only zeros.
    """
    if len(steps) < 2 or not max(step.value for step in steps) > 0:
        return None
    axis = Scale(0.0, max(step.value for step in steps), LEFT, RIGHT)
    first, last = steps[0], steps[-1]
    parts = [_bar(0, first.name, axis, (0.0, first.value), "before", form(first.value))]
    for place, (before, after) in enumerate(zip(steps, steps[1:], strict=False), start=1):
        change = after.value - before.value
        # Fewer MACs are good, but less accuracy is bad; colours follow this.
        ink = "quiet" if not change else "after" if (change > 0) == more_is_better else "worse"
        sign = "−" if change < 0 else "+"
        figure = f"{sign}{form_step(abs(change), first.value)}" if change else "no change"
        parts.append(_connector(place, axis, before.value))
        parts.append(_bar(place, after.name, axis, (before.value, after.value), ink, figure))
    parts.append(_connector(len(steps), axis, last.value))
    parts.append(_bar(len(steps), "result", axis, (0.0, last.value), "after", form(last.value)))
    spoken = ", then ".join(f"{step.name}: {form(step.value)}" for step in steps)
    return chart(name, title, f"{spoken}.", PITCH * (len(steps) + 1) + 8, *parts)


def _bar(place: int, name: str, axis: Scale, ends: tuple[float, float], ink: str, figure: str) -> Markup:
    top = 4 + PITCH * place
    return joined(
        words(name, 4, top + 14, room=LEFT - 10),
        rectangle(axis.place(ends[0]), top, axis.place(ends[1]), top + BAR, ink=ink),
        words(figure, FIGURES, top + 14, bold=True, room=WIDTH - FIGURES),
    )


def _connector(place: int, axis: Scale, value: float) -> Markup:
    x, top = axis.place(value), 4 + PITCH * place
    return line(x, top - PITCH + BAR, x, top, ink="quiet")
