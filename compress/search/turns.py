"""Turns on one machine: many processes may work side by side, but a process that measures runs alone.

Two advisory locks on files in the user's own state folder, which the kernel releases when a process dies. A process
that waits to measure holds the door, so that no further work starts and the measurement is not delayed indefinitely
(the fair form of readers and writers: Courtois, Heymans and Parnas 1971, "Concurrent control with 'readers' and
'writers'").
"""

from __future__ import annotations

import contextlib
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from certify.core.folders import state_folder

try:
    from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
except ImportError:  # Windows, where nothing is measured
    flock = None  # type: ignore[assignment]


class Turns:
    """The turns of one machine.

    Args:
        folder: folder of the locks; the user's state folder by default, so that several searches share them.

    Example:
        >>> import tempfile
        >>> turns = Turns(Path(tempfile.mkdtemp()))
        >>> with turns.measuring():
        ...     print("nobody else works")
        nobody else works
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder or state_folder()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._machine = platform.node() or "machine"  # a home folder may be shared by several

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Work, side by side with others."""
        with self._open("floor") as floor:
            with self._open("door") as door:
                _lock(door, alone=True)
                _lock(floor, alone=False)
            yield

    @contextlib.contextmanager
    def measuring(self) -> Iterator[None]:
        """Measure, once all working processes have finished their current step."""
        with self._open("door") as door, self._open("floor") as floor:
            _lock(door, alone=True)
            _lock(floor, alone=True)
            yield

    def _open(self, name: str) -> IO[bytes]:
        # A network file system locks for sharing only what is open for reading, too.
        return (self._folder / f"search-{name}.{self._machine}.lock").open("a+b")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        _lock(file, alone=True)
        yield


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Hold an exclusive lock on a file without waiting for it; gives whether this process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        try:
            if flock is not None:
                flock(file, LOCK_EX | LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def _lock(file: IO[bytes], alone: bool) -> None:
    """Wait for the lock of an open file; closing the file releases it."""
    if flock is not None:
        flock(file, LOCK_EX if alone else LOCK_SH)
