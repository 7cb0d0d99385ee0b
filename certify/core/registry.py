"""Parts by name: leanmark's own, those that installed packages add by entry points, and any that Python can import.

Nothing is imported before it is asked for, and what is wrong with somebody else's part is said when that part is used
or listed, and at no other time.
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
"""What a part may be called: files, evidence and rows of tables bear its name."""

HELP: dict[str, tuple[str, ...]] = {
    "sidecar_checks": ("certify.present.label.sidecars:check_label", "certify.marking:check_marks"),
    "drawings": ("certify.present.label.sidecars:label_of",),
    "renderers": ("certify.present.label.png:renderer",),
}
"""What upper floors do for lower ones, by kind, so that no import points upwards: ``sidecar_checks`` take a
certificate, folders and further statements, and give findings; ``drawings`` take a certificate and give SVG or None;
``renderers`` name what draws it, with its version."""


class Registry:
    """The parts of one kind. A part is named by its entry in a table or as ``package.module:Name``.

    Args:
        kind: what the parts are, for errors.
        group: entry points by which installed packages add theirs; none of them can take the name of an own part.
        own: name -> ``package.module:Name`` of leanmark's own.
        hint: closing sentence of the error for an unknown name.
        protocol: what :meth:`make` requires a part of somebody else's to have.

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
        """Entry points by name and place; in a sound installation each name has one place."""
        found: dict[str, dict[str, EntryPoint]] = {}
        for point in _entry_points(self._group):
            found.setdefault(point.name, {}).setdefault(point.value, point)
        return found

    def names(self) -> tuple[str, ...]:
        """Every name that stands for one part, leanmark's own first."""
        return (*self.own, *(name for name in self._installed if self._fault(name) is None))

    def place(self, name: str) -> str:
        """How evidence names a part: an own one by its name, any other as ``package.module:Name``."""
        return name if name in self.own else next(iter(self._installed.get(name, [name])))

    def load(self, name: str) -> Callable[..., Any]:
        """Import a part.

        Args:
            name: one of :meth:`names`, or ``package.module:Name``.

        Raises:
            UsageError: there is no such part, the nearest is named; or it is somebody else's and broken.
            ImportError: the module of an own part can't be imported.
        """
        return _load(self.own[name]) if name in self.own else self._foreign(name, lambda: self._imported(name))

    def make(self, name: str) -> Any:
        """Import a part and call it without arguments; one of somebody else's must have what the protocol names.

        Raises:
            UsageError: as :meth:`load`, or calling it fails, or something is missing.
        """
        part = self.load(name)
        return part() if name in self.own else self._foreign(name, lambda: self._made(part))

    def check_name(self, name: str, own_name: str) -> None:
        """Make sure that a part of somebody else's bears a name of its own.

        Args:
            name: by which it was asked for.
            own_name: what it calls itself.

        Raises:
            UsageError: that is not a name, another part's, or another one than it is registered by.
        """
        if name in self.own:
            return
        place = self.place(name)
        if name in self._installed and own_name != name:
            raise UsageError(
                f"{place} is registered as the {self._kind} '{name}' and calls itself '{own_name}'; give it one name."
            )
        if not NAME.fullmatch(own_name):
            raise UsageError(
                f"The {self._kind} {place} calls itself '{own_name}'; a name is small letters, digits, '-' and '_'."
            )
        taken = [self.own[own_name]] if own_name in self.own else self._installed.get(own_name, [place])
        if place not in taken:
            raise UsageError(f"{place} bears the name '{own_name}' of {' and '.join(taken)}; give it one of its own.")

    def survey(self, use: Callable[[str], T]) -> tuple[dict[str, T], dict[str, str]]:
        """Use every part.

        Returns:
            What ``use`` gives, by name; and why each installed part that can't be used can't, by name or place.
        """
        given = {name: use(name) for name in self.own}
        unusable = {value: why for name, at in self._installed.items() if (why := self._fault(name)) for value in at}
        for name in self.names()[len(self.own) :]:
            try:
                given[name] = self._foreign(name, functools.partial(use, name))
            except LeanmarkError as error:
                unusable[name] = str(error)
        return given, unusable

    def _imported(self, name: str) -> Callable[..., Any]:
        if name not in self._installed:
            return import_callable(name, self._kind, self.names(), self._hint)
        if (fault := self._fault(name)) is not None:
            raise UsageError(fault)
        found: Callable[..., Any] = self._installed[name][self.place(name)].load()
        if not callable(found):
            raise TypeError("it can't be called")
        return found

    def _made(self, part: Callable[..., Any]) -> Any:
        made = part()
        members = {**getattr(self._protocol, "__annotations__", {}), **vars(self._protocol or object)}
        lacking = [member for member in members if not member.startswith("_") and not hasattr(made, member)]
        if lacking:
            raise TypeError(f"it lacks {', '.join(lacking)}")
        return made

    def _foreign(self, name: str, use: Callable[[], T]) -> T:
        """Run somebody else's code."""
        try:
            return use()
        except LeanmarkError:
            raise
        except Exception as error:  # whatever it raises, the sentence names it, and --debug shows where
            whose = "".join(f" of {_distribution(point)}" for point in self._installed.get(name, {}).values())
            raise UsageError(
                f"The {self._kind} '{name}'{whose} can't be used ({type(error).__name__}: {str(error).rstrip('.')}); "
                "mend or uninstall it."
            ) from error

    def _fault(self, name: str) -> str | None:
        """Why an entry point's name does not stand for a part, None where it does."""
        claims = " and ".join(f"{place} of {_distribution(point)}" for place, point in self._installed[name].items())
        if name in self.own:
            return f"The {self._kind} '{name}' is leanmark's own, and {claims} can't replace it; rename that one."
        if len(self._installed[name]) > 1:
            return (
                f"The {self._kind} '{name}' is registered twice, as {claims}; uninstall one, or name the one that you "
                "mean as package.module:Name."
            )
        if not NAME.fullmatch(name):
            return f"The {self._kind} {claims} is registered as '{name}'; a name is small letters, digits, '-' and '_'."
        if not FORM.fullmatch(self.place(name)):
            return f"The {self._kind} '{name}' is registered as {claims}, which should read package.module:Name."
        return None


@functools.cache
def provided(kind: str) -> tuple[Callable[..., Any], ...]:
    """All that is registered in :data:`HELP` and by entry points ``leanmark.<kind>``, the built-in ones first.

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
    from importlib.metadata import entry_points  # slow to import, and a worker with a built-in runtime asks for none

    return tuple(entry_points(group=group))


def _distribution(point: EntryPoint) -> str:
    return "an installed package" if point.dist is None else f"{point.dist.name} {point.dist.version}"
