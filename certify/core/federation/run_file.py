"""File of an active run: locked against other writers, and flushed to disk after every step of the server."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from certify.core.errors import CertificateError, UsageError


class RunFile:
    """An open, locked file of lines.

    Args:
        path: path of the file, for errors.
        stream: stream that reads and writes it.

    Raises:
        UsageError: another process writes it.
    """

    def __init__(self, path: Path, stream: BinaryIO) -> None:
        self._stream = stream
        with contextlib.suppress(ImportError):  # without file locks, concurrent writers visibly break the chain
            import fcntl

            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                stream.close()
                raise UsageError(f"Another process writes {path}; stop it, or wait until it has ended.") from None

    @classmethod
    def create(cls, path: Path) -> RunFile:
        """Create an empty file and its folder.

        Raises:
            UsageError: the file already exists.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            return cls(path, path.open("x+b"))
        except FileExistsError:
            raise UsageError(f"{path} exists. Resume the run in it, or give the new one another folder.") from None

    @classmethod
    def open(cls, path: Path) -> RunFile:
        """Open an existing file.

        Raises:
            CertificateError: it cannot be read.
        """
        try:
            return cls(path, path.open("r+b"))
        except OSError as error:
            raise CertificateError(f"The log {path} cannot be read: {error.strerror}.") from error

    def whole_lines(self) -> list[bytes]:
        """Return the lines up to the last complete step of the server; anything after it is incomplete."""
        self._stream.seek(0)
        lines = self._stream.read().split(b"\n")[:-1]
        # Lines of clients count only if the close of their round follows. Canonical JSON has no spaces to match.
        while lines and (b'"kind":"client"' in lines[-1] or b'"kind":"entry"' in lines[-1]):
            lines.pop()
        return lines

    def keep(self, lines: Sequence[bytes]) -> None:
        """Remove everything after the first lines of the file."""
        os.ftruncate(self._stream.fileno(), sum(len(line) + 1 for line in lines))

    def append(self, lines: Sequence[bytes]) -> None:
        """Append lines at once, and wait until they are on disk."""
        self._stream.seek(0, os.SEEK_END)
        self._stream.write(b"".join(line + b"\n" for line in lines))
        self._stream.flush()
        os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Close the file, which releases its lock."""
        self._stream.close()
