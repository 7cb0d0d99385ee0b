"""Entry point of a worker's interpreter: ``python -I -S start_worker.py PACKAGE FOLDER...``.

With these options Python ignores environment variables, runs no ``sitecustomize`` or ``.pth`` files, and finds only the
standard library. Packages are then imported from the given folders, and ``certify`` from the folder ``PACKAGE`` alone;
nothing else is imported from it, since it may be a source tree.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from types import ModuleType


def worker(package: str, folders: Sequence[str]) -> ModuleType:
    """Import ``certify`` from one folder, and everything else from others.

    Returns:
        The module :mod:`certify.measure.worker`.
    """
    sys.path.extend(folders)
    spec = PathFinder.find_spec("certify", [package])
    if spec is None or spec.loader is None:
        sys.exit(f"The package certify is not in {package}; reinstall leanmark.")
    sys.modules["certify"] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return importlib.import_module("certify.measure.worker")


def main() -> None:
    """Import ``certify`` from the parent's location, and serve."""
    package, *folders = sys.argv[1:]
    worker(package, folders).main()


if __name__ == "__main__":
    main()
