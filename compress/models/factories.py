"""Factories of models: torchvision's and timm's by name, and any that Python can import."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from typing import Any

from certify.core.callables import import_callable
from compress.models import timm, torchvision

LIST_HINT = "List them with: leanmark models"


def names(pattern: str | None = None) -> list[str]:
    """Every torchvision classification model; those of timm where the pattern begins with ``timm:``.

    Args:
        pattern: a part of the name, or a shell pattern (``*``, ``?``, ``[...]``); None for all.
    """
    of_timm = pattern is not None and pattern.startswith(timm.PREFIX)
    known = timm.names() if of_timm else torchvision.names()
    if pattern is None:
        return known
    if not any(sign in pattern for sign in "*?["):
        pattern = f"*{pattern}*"
    return [name for name in known if fnmatch.fnmatch(name, pattern.lower())]


def import_factory(factory: str) -> Callable[..., Any]:
    """Import ``package.module:callable``; see :func:`certify.core.callables.import_callable`."""
    return import_callable(factory, "model", names(), LIST_HINT)
