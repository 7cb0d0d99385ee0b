"""Import of ``package.module:name``, the notation for users' own data sets and models."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from certify.core.errors import UsageError
from certify.core.suggest import unknown_name

FORM = re.compile(r"(?P<module>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)")


def import_callable(text: str, kind: str, known: Iterable[str], hint: str = "") -> Callable[..., Any]:
    """Import a callable; modules in the working folder are found after all installed packages.

    Args:
        text: ``package.module:name``.
        kind: kind of object (``data``, ``model``), for error messages.
        known: other names of that kind, to suggest the nearest if ``text`` is not a module.
        hint: closing sentence of that error message.

    Raises:
        UsageError: the module or the name in it does not exist; the nearest is suggested.
    """
    match = FORM.fullmatch(text)
    with importing_from_here():
        if match is None or importlib.util.find_spec(match["module"].split(".")[0]) is None:
            raise unknown_name(kind, text, known, hint)
        try:
            module = importlib.import_module(match["module"])
        except ModuleNotFoundError as error:
            raise UsageError(
                f"{kind.capitalize()} '{text}': module '{error.name}' is neither installed nor in this folder."
            ) from error
    found = getattr(module, match["name"], None)
    if not callable(found):
        names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise unknown_name(f"function in {match['module']}:", match["name"], names)
    return found  # type: ignore[no-any-return]


@contextlib.contextmanager
def importing_from_here() -> Iterator[None]:
    """Find a user's modules in the working folder, after all installed packages."""
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)
