"""The file that a worker's interpreter runs first: ``python -I -S start_worker.py PACKAGE FOLDER...``.

Started so, Python reads no variable, runs no ``sitecustomize`` or ``.pth`` file, and finds nothing but its own modules.
The packages are then looked for in the folders given, and ``certify`` in the folder ``PACKAGE`` alone, of which nothing
else is imported: it may be a source tree.
"""

from __future__ import annotations

import importlib
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec


def main() -> None:
    """Import ``certify`` from where the parent has it, and serve."""
    package, *folders = sys.argv[1:]
    sys.path.extend(folders)
    spec = PathFinder.find_spec("certify", [package])
    if spec is None or spec.loader is None:
        sys.exit(f"certify is not in {package}; install leanmark again.")
    sys.modules["certify"] = module = module_from_spec(spec)
    spec.loader.exec_module(module)
    importlib.import_module("certify.measure.worker").main()


if __name__ == "__main__":
    main()
