"""Building models by name, reading their weights, and wrapping them to common input and output shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.core.lazy import door

if TYPE_CHECKING:
    from compress.models.adaptation import adapt_input as adapt_input
    from compress.models.catalog import build as build


__getattr__, __dir__ = door(
    __name__,
    {
        "adaptation": ("adapt_input",),
        "catalog": ("build",),
    },
)
