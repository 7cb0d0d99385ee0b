"""Colours of charts and of the report, light and dark.

Series differ in shape as well as in colour, to be distinguishable in black and white.
"""

from __future__ import annotations

from collections.abc import Mapping

LIGHT = {
    "ink": "#111111", "quiet": "#4a4a4a", "grid": "#d9d9d9", "before": "#50607a", "after": "#0b7a3e",
    "worse": "#b3261e", "band": "#e4f1e8", "paper": "#ffffff",
}  # fmt: skip
DARK = {
    "ink": "#f1f1f1", "quiet": "#b9b9b9", "grid": "#3d3d3d", "before": "#a3b4d0", "after": "#5fd193",
    "worse": "#ff8a80", "band": "#1d3527", "paper": "#161616",
}  # fmt: skip
"""All colours of text or marks have a contrast of at least 4.5 : 1 to ``paper``."""


def rules(colours: Mapping[str, str]) -> str:
    """Return CSS rules of the chart classes: ``f-NAME`` fills, ``s-NAME`` strokes."""
    fills = [f".f-{name}{{fill:{colour}}}" for name, colour in colours.items()]
    strokes = [f".s-{name}{{stroke:{colour};fill:none}}" for name, colour in colours.items()]
    return "".join(fills + strokes)
