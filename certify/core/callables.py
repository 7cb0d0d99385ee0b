"""``package.module:name``, as users write it for data sets and models of their own."""

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
    """Import a callable; modules of the working folder are found too, after everything that is installed.

    Args:
        text: ``package.module:name``.
        kind: what it stands for (``data``, ``model``), for error sentences.
        known: other names of that kind, of which the nearest is named where ``text`` names no module.
        hint: closing sentence of that error.

    Raises:
        UsageError: the module or the name in it does not exist; the nearest is named.
    """
    match = FORM.fullmatch(text)
    with importing_from_here():
        if match is None or importlib.util.find_spec(match["module"].split(".")[0]) is None:
            raise unknown_name(kind, text, known, hint)
        try:
            module = importlib.import_module(match["module"])
        except ModuleNotFoundError as error:
            raise UsageError(
                f"{kind.capitalize()} '{text}': module '{error.name}' is not installed and not in this folder."
            ) from error
    found = getattr(module, match["name"], None)
    if not callable(found):
        names = [name for name, value in vars(module).items() if callable(value) and not name.startswith("_")]
        raise unknown_name(f"function in {match['module']}:", match["name"], names)
    return found  # type: ignore[no-any-return]


@contextlib.contextmanager
def importing_from_here() -> Iterator[None]:
    """Let a user's modules be found in the working folder, after everything that is installed."""
    here = str(Path.cwd())
    sys.path.append(here)
    try:
        yield
    finally:
        sys.path.remove(here)
