"""An energy label that a person reads in two seconds, drawn from the certificate's predicate alone."""

from __future__ import annotations

from certify.label.draw import draw
from certify.label.png import render, renderer

__all__ = ["draw", "render", "renderer"]
