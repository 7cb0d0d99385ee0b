"""Windows over time: cost per inference in each window, and the ratio of each block."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from markupsafe import Markup

from certify.core.estimate import Estimate
from certify.core.evidence import Evidence
from certify.core.statistics.ratio import Quantity, duration_per_inference, energy_log_ratios, energy_per_inference
from certify.present.charts.draw import (
    WIDTH,
    bottom_axis,
    chart,
    left_axis,
    line,
    marks,
    number,
    rectangle,
    unit,
    words,
)
from certify.present.charts.scale import Scale, scale
from certify.present.svg import joined

LEFT, RIGHT, TOP = 62, WIDTH - 8, 66
_LARGEST_LOG = 700.0  # exp of a larger value overflows; no measurement reaches it

RUNS = {"settings": "settings", "null": "null run", "main": "main run", "yardstick": "yardstick"}
ARMS = {
    "baseline": ("before", False, 5.0), "candidate": ("after", True, 5.0), "baseline_again": ("ink", False, 3.0),
    "yardstick": ("quiet", True, 3.0),
}  # fmt: skip
"""Colour, shape (whether square) and size of the marks of each arm."""


def windows_chart(evidence: Evidence) -> Markup | None:
    """Draw energy per inference (time, without a meter) in every window; None without windows."""
    if not evidence.windows:
        return None
    # Energy is drawn only if all windows have it, because joules and seconds cannot share an axis.
    has_energy = all(window.energy_j is not None and window.energy_j > 0 for window in evidence.windows)
    quantity: Quantity = energy_per_inference if has_energy else duration_per_inference
    # Values of 0 have no place on a logarithmic axis.
    points = [(window, value) for window in evidence.windows if (value := quantity(window)) is not None and value > 0]
    what, symbol = ("energy", "J") if has_energy else ("time", "s")
    bottom = TOP + 230
    x = scale([0.0, max(w.start_s + w.duration_s for w in evidence.windows)], LEFT, RIGHT, margin=0.01)
    y = scale([value for _, value in points], bottom, TOP, logarithmic=True)
    shapes = [
        marks([(x.place(w.start_s + w.duration_s / 2), y.place(v)) for w, v in points if w.arm == arm],
              ink=ink, square=square, size=size)
        for arm, (ink, square, size) in ARMS.items()
    ]  # fmt: skip
    return chart(
        "windows", f"{what.capitalize()} per inference in every window",
        f"{len(points)} windows over {x.high:.0f} seconds, on a logarithmic axis. Each mark is one window; all "
        "measured "
        "windows are shown.", bottom + 58,
        _legend([arm for arm in ARMS if any(w.arm == arm for w, _ in points)]),
        left_axis(y, LEFT, RIGHT, unit(symbol)), bottom_axis(x, bottom, bottom, number), *_bands(evidence, x, bottom),
        *shapes, words("seconds since start", (LEFT + RIGHT) / 2, bottom + 36, ink="quiet", anchor="middle"),
    )  # fmt: skip


def _legend(arms: Sequence[str]) -> Markup:
    parts, x = [], 6.0
    for arm in arms:
        ink, square, size = ARMS[arm]
        name = arm.replace("_", " ")
        parts += [marks([(x, 12)], ink=ink, square=square, size=size + 2), words(name, x + 9, 16, ink="quiet")]
        x += 34 + 6.6 * len(name)
    return joined(*parts)


def _bands(evidence: Evidence, x: Scale, bottom: float) -> Iterator[Markup]:
    """Draw a dashed line where each run begins; the names alternate between two rows to save room."""
    for place, (run, name) in enumerate(RUNS.items()):
        starts = [window.start_s for window in evidence.windows if window.run == run]
        # A run may be missing, such as that of the yardstick.
        if not starts:
            continue
        at, top = x.place(min(starts)), TOP - 28 + 14 * (place % 2)
        # Near the right edge the name goes to the left of the line, where it is not cut off.
        turned = at > RIGHT - 80
        yield line(at, top - 10, at, bottom, ink="quiet", dash="2 4")
        yield words(name, at - 4 if turned else at + 4, top, ink="quiet", anchor="end" if turned else None)


def blocks_chart(evidence: Evidence, ratio: Estimate | None, null: Estimate | None) -> Markup | None:
    """Draw the ratio of each block of the null run and the main run, with the overall interval; None without any."""
    found = [
        (name, _block_ratios(evidence, name), whole)
        for name, whole in (("null", null), ("main", ratio))
        if whole is not None
    ]
    if not found:
        return None
    bottom = TOP + 190
    wide = (WIDTH - 8) / len(found)
    parts = []
    for place, (name, ratios, whole) in enumerate(found):
        room = (wide * place + 56, wide * (place + 1))
        y = scale([*ratios, whole.low, whole.high], bottom, TOP - 24)
        parts.append(left_axis(y, *room, number))
        parts.append(_run_of_blocks(name == "main", ratios, whole, room, y))
        parts.append(
            words(f"{RUNS[name]}, {len(ratios)} blocks", sum(room) / 2, bottom + 20, ink="quiet", anchor="middle")
        )
    return chart(
        "blocks",
        "Energy ratio of every block",
        "; ".join(f"{RUNS[name]}: {whole}" for name, _, whole in found) + ". The shaded band is the overall interval.",
        bottom + 32,
        words("mark: one block; band: overall interval", 6, 14, ink="quiet"),
        *parts,
    )


def _block_ratios(evidence: Evidence, run: str) -> list[float]:
    """Return the ratio of each complete block, from which the run's interval is computed."""
    logs = energy_log_ratios(evidence, run)
    return [] if logs is None else [math.exp(value) for value in logs.tolist() if abs(value) < _LARGEST_LOG]


def _run_of_blocks(
    is_main: bool, ratios: Sequence[float], whole: Estimate, room: tuple[float, float], y: Scale
) -> Markup:
    left, right = room
    step = (right - left) / (len(ratios) + 1)
    points = [(left + step * place, y.place(value)) for place, value in enumerate(ratios, start=1)]
    ink = "after" if is_main else "before"
    middle = y.place(whole.value)
    return joined(
        rectangle(left, y.place(whole.high), right, y.place(whole.low), ink="band"),
        line(left, middle, right, middle, ink=ink, stroke=1.5),
        # The line at 1 is drawn only if the axis contains 1; otherwise the edge of the axis would be read as 1.
        line(left, y.place(1.0), right, y.place(1.0), dash="6 4") if y.low <= 1 <= y.high else None,
        marks(points, ink=ink, square=is_main),
    )
