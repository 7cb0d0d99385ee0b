"""Shared libraries that a worker has loaded, and their digests.

Once its model is loaded, a worker reports which executable files are mapped into it (certify.measure.own_process). The
parent digests each file once, and again only if the file system shows that it was replaced.
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
    """Return the hex SHA-256 of files, by a name without the user's folders; see ``WorkerSurroundings``.

    Raises:
        MeasureError: a file was replaced after it had been loaded.
    """
    # Longest first, because one folder of the path may be inside another.
    # Resolved, because the kernel lists loaded libraries by their real paths.
    homes = sorted((os.path.realpath(folder) for folder in search_path()), key=len, reverse=True)
    found: dict[str, str] = {}
    for path in paths:
        name = _name(path, homes)
        try:
            state = Path(path).stat()
        except OSError as error:
            raise MeasureError(
                f"The library {path.removesuffix(DELETED)} was replaced while a worker was using it; do not change the "
                "installation during a measurement."
            ) from error
        # A swapped file can have the same size and modification time, but not the same inode and change time.
        key = (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
        while name in found:
            name += "+"  # a different file with the same name
        found[name] = _digest(path, key)
    return found


def joined(known: WorkerSurroundings, found: WorkerSurroundings, arm: str) -> WorkerSurroundings:
    """Merge the surroundings of two workers of one arm, with the libraries of both.

    Raises:
        MeasureError: they differ.
    """
    both = {**known.libraries, **found.libraries}
    # Each side is filled up with the other's libraries, so that only a name with two digests differs.
    if replace(known, libraries=both) != replace(found, libraries={**found.libraries, **known.libraries}):
        raise MeasureError(
            f"Two workers of the {arm} ran with different libraries or in different surroundings; do not change the "
            "installation or the environment during a measurement."
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
