"""Packages whose names are imported on first use.

Reading recipes and listing passes needs neither torch, ONNX Runtime nor any engine: a pass reaches its engine through
the lazy names of the engine's package.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def door(
    package: str, modules: Mapping[str, Sequence[str]], *, eager: Sequence[str] = ()
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the functions ``__getattr__`` and ``__dir__`` of a lazy package.

    Args:
        package: name of the package.
        modules: public names that each of its modules defines.
        eager: further public names, which the package already has.

    Example:
        >>> get, names = door("json", {"decoder": ("JSONDecoder", "JSONDecodeError")})
        >>> names()
        ['JSONDecodeError', 'JSONDecoder']
        >>> get("JSONDecoder").__name__
        'JSONDecoder'
    """
    places = {name: module for module, names in modules.items() for name in names}

    def get(name: str) -> Any:
        if name not in places:
            raise AttributeError(f"module '{package}' has no attribute '{name}'")
        return getattr(importlib.import_module(f"{package}.{places[name]}"), name)

    return get, lambda: sorted([*places, *eager])
