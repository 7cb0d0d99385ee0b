"""The energy label, which takes two seconds to read, and the badge for a README, drawn only from claims."""

from __future__ import annotations

from certify.present.label.badge import badge
from certify.present.label.layout import draw
from certify.present.label.png import render, renderer

__all__ = ["badge", "draw", "render", "renderer"]
