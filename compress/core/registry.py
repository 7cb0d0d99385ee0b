"""Parts by name: those that leanmark brings, those that installed packages add, and any that Python can import."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any

from certify.core.callables import import_callable
from certify.core.errors import UsageError


class Registry:
    """The parts of one kind. A part is named by its entry in a table or as ``package.module:Name``.

    Args:
        kind: what the parts are, for errors.
        group: entry points by which installed packages add theirs.
        own: name -> ``package.module:Name``.
        hint: closing sentence of the error for an unknown name.

    Example:
        >>> decoders = Registry("decoder", "example.decoders", {"json": "json:JSONDecoder"})
        >>> decoders.names()
        ('json',)
        >>> decoders.load("json").__name__, decoders.load("json:JSONEncoder").__name__
        ('JSONDecoder', 'JSONEncoder')
    """

    def __init__(self, kind: str, group: str, own: Mapping[str, str], hint: str = "") -> None:
        self._kind, self._group, self._own, self._hint = kind, group, own, hint

    @cached_property
    def places(self) -> Mapping[str, str]:
        """Where each part is defined, by name.

        Raises:
            UsageError: two parts have one name.
        """
        places = dict(self._own)
        for point in entry_points(group=self._group):
            if places.setdefault(point.name, point.value) != point.value:
                raise UsageError(
                    f"Two installed parts of the kind {self._kind} are named '{point.name}': {places[point.name]} and "
                    f"{point.value}; uninstall one of them."
                )
        return places

    def names(self) -> tuple[str, ...]:
        """Every name, leanmark's own first."""
        return tuple(self.places)

    def load(self, name: str) -> Callable[..., Any]:
        """Import a part.

        Args:
            name: one of :meth:`names`, or ``package.module:Name``.

        Raises:
            UsageError: there is no such part; the nearest is named.
            ImportError: the module of a part in the table can't be imported.
        """
        if name not in self.places:
            return import_callable(name, self._kind, self.places, self._hint)
        module, _, attribute = self.places[name].partition(":")
        found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
        return found
