"""Import of ``package.module:name``, the notation for users' own data sets and models."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import re
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from certify.core.errors import UsageError
from certify.core.suggest import unknown_name

FORM = re.compile(r"(?P<module>[A-Za-z_]\w*(\.[A-Za-z_]\w*)*):(?P<name>[A-Za-z_]\w*)")

FOREIGN_FAILURES = (Exception, SystemExit)
"""Errors that a user's code may raise: any, also of its own types."""


def import_callable(text: str, kind: str, known: Iterable[str], hint: str = "") -> Callable[..., Any]:
    """Import a callable; modules in the working folder are found after all installed packages.

    Args:
        text: ``package.module:name``.
        kind: kind of object (``data``, ``model``), for error messages.
        known: other names of that kind, to suggest the nearest if ``text`` is not a module.
        hint: closing sentence of that error message.

    Raises:
        UsageError: the module or the name in it does not exist (the nearest is suggested), or the module fails.
    """
    match = FORM.fullmatch(text)
    with importing_from_here():
        # If the module does not exist, the name is misspelt; if it exists and fails, its own error is reported.
        if match is None or importlib.util.find_spec(match["module"].split(".")[0]) is None:
            raise unknown_name(kind, text, known, hint)
        try:
            module = importlib.import_module(match["module"])
        except ModuleNotFoundError as error:
            raise UsageError(
                f"{kind.capitalize()} '{text}': module '{error.name}' is neither installed nor in this folder."
            ) from error
        except FOREIGN_FAILURES as error:
            where = f"{kind.capitalize()} '{text}'"
            raise UsageError(f"{where}: importing {match['module']} fails ({_why(error)}).") from error
    found = getattr(module, match["name"], None)
    if not callable(found):
        names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise unknown_name(f"function in {match['module']}:", match["name"], names)
    return found  # type: ignore[no-any-return]


def _why(error: BaseException) -> str:
    """Return type and message of an import error, and the line that raised it; a syntax error names its own."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = "" if isinstance(error, SyntaxError) else f", {Path(frame.filename).name}:{frame.lineno}"
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300] + place


@contextlib.contextmanager
def importing_from_here() -> Iterator[None]:
    """Find a user's modules in the working folder, after all installed packages."""
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)
