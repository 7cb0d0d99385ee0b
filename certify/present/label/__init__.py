"""The energy label that a person reads in two seconds, and the badge for a README, drawn from claims alone."""

from __future__ import annotations

from certify.present.label.badge import badge
from certify.present.label.layout import draw
from certify.present.label.png import render, renderer

__all__ = ["badge", "draw", "render", "renderer"]
