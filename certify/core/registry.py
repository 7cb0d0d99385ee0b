"""Parts by name: built-in ones, entry points of installed packages, and anything that Python can import.

Parts are imported on demand; errors in a third-party part are reported only when that part is used or listed.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from certify.core.callables import FORM, import_callable
from certify.core.errors import LeanmarkError, UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

T = TypeVar("T")

NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
"""Valid names of parts, which appear in files, evidence and tables."""

HELP: dict[str, tuple[str, ...]] = {
    "sidecar_checks": ("certify.present.label.sidecars:check_label", "certify.workflows.mark_check:check_marks"),
    "drawings": ("certify.present.label.sidecars:label_of",),
    "renderers": ("certify.present.label.png:renderer",),
}
"""Services of upper packages for lower ones, by kind, so that no import points upwards: ``sidecar_checks`` take a
certificate, folders and further statements, and return findings; ``drawings`` take a certificate and return SVG or
None; ``renderers`` return name and version of the renderer."""


class Registry:
    """Registry of the parts of one kind. A part is named by its key in a table or as ``package.module:Name``.

    Args:
        kind: kind of part, for errors.
        group: entry point group for installed packages; an entry point cannot take the name of a built-in part.
        own: built-in parts, name -> ``package.module:Name``.
        hint: closing sentence of the error for an unknown name.
        protocol: protocol that :meth:`make` requires of a third-party part.

    Example:
        >>> decoders = Registry("decoder", "example.decoders", {"json": "json:JSONDecoder"})
        >>> decoders.names()
        ('json',)
        >>> decoders.load("json").__name__, decoders.load("json:JSONEncoder").__name__
        ('JSONDecoder', 'JSONEncoder')
    """

    def __init__(
        self, kind: str, group: str, own: Mapping[str, str], hint: str = "", protocol: type | None = None
    ) -> None:
        self.own = own
        self._kind, self._group, self._hint, self._protocol = kind, group, hint, protocol

    @functools.cached_property
    def _installed(self) -> Mapping[str, Mapping[str, EntryPoint]]:
        """Return entry points by name and place; in a valid installation each name has one place."""
        found: dict[str, dict[str, EntryPoint]] = {}
        for point in _entry_points(self._group):
            found.setdefault(point.name, {}).setdefault(point.value, point)
        return found

    def names(self) -> tuple[str, ...]:
        """Return every unambiguous name, built-in parts first."""
        return (*self.own, *(name for name in self._installed if self._fault(name) is None))

    def place(self, name: str) -> str:
        """Return how evidence names a part: a built-in one by its name, any other as ``package.module:Name``."""
        return name if name in self.own else next(iter(self._installed.get(name, [name])))

    def load(self, name: str) -> Callable[..., Any]:
        """Import a part.

        Args:
            name: one of :meth:`names`, or ``package.module:Name``.

        Raises:
            UsageError: the part is unknown (the nearest is suggested), or is a broken third-party part.
            ImportError: the module of a built-in part cannot be imported.
        """
        return _load(self.own[name]) if name in self.own else self._foreign(name, lambda: self._imported(name))

    def make(self, name: str) -> Any:
        """Import a part and call it without arguments; a third-party part must satisfy the protocol.

        Raises:
            UsageError: as for :meth:`load`, or the call fails, or a member of the protocol is missing.
        """
        part = self.load(name)
        return part() if name in self.own else self._foreign(name, lambda: self._instance(part))

    def check_name(self, name: str, own_name: str) -> None:
        """Check that a third-party part has a name of its own.

        Args:
            name: name by which it was requested.
            own_name: name that it gives itself.

        Raises:
            UsageError: the name is invalid, belongs to another part, or differs from the registered one.
        """
        if name in self.own:
            return
        place = self.place(name)
        if name in self._installed and own_name != name:
            raise UsageError(
                f"{place} is registered as the {self._kind} '{name}', but calls itself '{own_name}'; use one name for "
                "both."
            )
        if not NAME.fullmatch(own_name):
            raise UsageError(
                f"The {self._kind} {place} calls itself '{own_name}'; a name may only have lower-case letters, "
                "digits, '-' and '_'."
            )
        taken = [self.own[own_name]] if own_name in self.own else self._installed.get(own_name, [place])
        if place not in taken:
            raise UsageError(f"{place} has the name '{own_name}' of {' and '.join(taken)}; give it a different one.")

    def survey(self, use: Callable[[str], T]) -> tuple[dict[str, T], dict[str, str]]:
        """Use every part.

        Returns:
            Results of ``use``, by name; and the reasons for installed parts that cannot be used, by name or place.
        """
        results = {name: use(name) for name in self.own}
        unusable = {value: why for name, at in self._installed.items() if (why := self._fault(name)) for value in at}
        for name in self.names()[len(self.own) :]:
            try:
                results[name] = self._foreign(name, functools.partial(use, name))
            except LeanmarkError as error:
                unusable[name] = str(error)
        return results, unusable

    def _imported(self, name: str) -> Callable[..., Any]:
        if name not in self._installed:
            return import_callable(name, self._kind, self.names(), self._hint)
        if (fault := self._fault(name)) is not None:
            raise UsageError(fault)
        found: Callable[..., Any] = self._installed[name][self.place(name)].load()
        if not callable(found):
            raise TypeError("it is not callable")
        return found

    def _instance(self, part: Callable[..., Any]) -> Any:
        instance = part()
        # A protocol lists its attributes as annotations and its methods in its namespace.
        members = {**getattr(self._protocol, "__annotations__", {}), **vars(self._protocol or object)}
        lacking = [member for member in members if not member.startswith("_") and not hasattr(instance, member)]
        if lacking:
            raise TypeError(f"it lacks {', '.join(lacking)}")
        return instance

    def _foreign(self, name: str, use: Callable[[], T]) -> T:
        """Run third-party code."""
        try:
            return use()
        except LeanmarkError:
            raise
        except Exception as error:  # the message names any error, and --debug shows where it occurred
            whose = "".join(f" of {_distribution(point)}" for point in self._installed.get(name, {}).values())
            raise UsageError(
                f"The {self._kind} '{name}'{whose} cannot be used ({type(error).__name__}: {str(error).rstrip('.')}); "
                "fix or uninstall it."
            ) from error

    def _fault(self, name: str) -> str | None:
        """Return why an entry point's name is not usable, or None if it is."""
        claims = " and ".join(f"{place} of {_distribution(point)}" for place, point in self._installed[name].items())
        if name in self.own:
            return f"The {self._kind} '{name}' is built in, and {claims} cannot replace it; rename that one."
        if len(self._installed[name]) > 1:
            return (
                f"The {self._kind} '{name}' is registered twice, as {claims}; uninstall one of them, or use "
                "package.module:Name."
            )
        if not NAME.fullmatch(name):
            return (
                f"The {self._kind} {claims} is registered as '{name}'; a name may only have lower-case letters, "
                "digits, '-' and '_'."
            )
        if not FORM.fullmatch(self.place(name)):
            return f"The {self._kind} '{name}' is registered as {claims}, which must have the form package.module:Name."
        return None


@functools.cache
def provided(kind: str) -> tuple[Callable[..., Any], ...]:
    """Return everything registered in :data:`HELP` and by entry points ``leanmark.<kind>``, built-in ones first.

    Example:
        >>> [check.__name__ for check in provided("sidecar_checks")]
        ['check_label', 'check_marks']
    """
    own = [_load(place) for place in HELP.get(kind, ())]
    return (*own, *(point.load() for point in _entry_points(f"leanmark.{kind}")))


def _load(place: str) -> Callable[..., Any]:
    module, _, name = place.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return found


def _entry_points(group: str) -> tuple[EntryPoint, ...]:
    from importlib.metadata import entry_points  # slow to import, and not needed by a worker with a built-in runtime

    return tuple(entry_points(group=group))


def _distribution(point: EntryPoint) -> str:
    return "an installed package" if point.dist is None else f"{point.dist.name} {point.dist.version}"
