"""Which shared libraries a worker has loaded, and their digests.

A worker tells which files are mapped into it to be run once its model is loaded (certify.measure.own_process). The
parent digests each file once, and again only where the file system says that it is another one.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from certify.core.errors import MeasureError
from certify.core.files import sha256_file
from certify.core.surroundings import WorkerSurroundings
from certify.measure.surroundings import is_system, search_path

DELETED = " (deleted)"


def digests(paths: Iterable[str]) -> dict[str, str]:
    """Hex SHA-256 of files by a name that holds no folder of the user's; see ``WorkerSurroundings``.

    Raises:
        MeasureError: a file was replaced after it had been loaded.
    """
    homes = sorted((os.path.realpath(folder) for folder in search_path()), key=len, reverse=True)
    found: dict[str, str] = {}
    for path in paths:
        name = _name(path, homes)
        try:
            state = Path(path).stat()
        except OSError as error:
            raise MeasureError(
                f"The library {path.removesuffix(DELETED)} was replaced while a worker ran with it; leave the "
                "installation alone while measuring."
            ) from error
        key = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        while name in found:
            name += "+"  # another file of the same name
        found[name] = _digest(path, key)
    return found


def joined(known: WorkerSurroundings, found: WorkerSurroundings, arm: str) -> WorkerSurroundings:
    """The surroundings of two workers of one arm, with the libraries of both.

    Raises:
        MeasureError: they differ.
    """
    both = {**known.libraries, **found.libraries}
    if replace(known, libraries=both) != replace(found, libraries={**found.libraries, **known.libraries}):
        raise MeasureError(
            f"Two workers of the {arm} ran with other libraries, or in other surroundings; leave the installation and "
            "the environment alone while measuring."
        )
    return replace(known, libraries=both)


@functools.lru_cache(maxsize=4096)
def _digest(path: str, state: tuple[int, ...]) -> str:
    return sha256_file(Path(path))


def _name(path: str, homes: Iterable[str]) -> str:
    real = os.path.realpath(path)
    for home in homes:
        if real.startswith(f"{home}/"):
            return real[len(home) + 1 :]
    inside = real.startswith(f"{os.path.realpath(sys.base_prefix)}/")
    kind = "system" if is_system(real) else "python" if inside else "other"
    return f"{kind}/{Path(real).name}"
