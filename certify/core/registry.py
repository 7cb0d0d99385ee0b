"""What upper floors do for lower ones, by name, so that no import points upwards.

A lower floor asks for a kind of help; this table, and the entry points ``leanmark.<kind>`` of other distributions, name
who gives it. Nothing is imported before it is asked for.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any

BUILT_IN: dict[str, tuple[str, ...]] = {
    "assessments": ("certify.assessments.efficiency.assessment:Efficiency",),
    "sidecar_checks": ("certify.present.label.sidecars:check_label",),
    "drawings": ("certify.present.label.sidecars:drawing_of",),
    "renderers": ("certify.present.label.png:renderer",),
}
"""By kind: ``assessments`` are classes or other callables that give an assessment; ``sidecar_checks`` take a
certificate, folders and further statements, and give findings; ``drawings`` take a certificate and give SVG or None;
``renderers`` name what draws it, with its version."""


@functools.cache
def provided(kind: str) -> tuple[Callable[..., Any], ...]:
    """All that is registered for a kind, the built-in ones first.

    Example:
        >>> [check.__name__ for check in provided("sidecar_checks")]
        ['check_label']
    """
    own = [_load(place) for place in BUILT_IN.get(kind, ())]
    return (*own, *(point.load() for point in entry_points(group=f"leanmark.{kind}")))


def _load(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found
