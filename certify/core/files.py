"""Writing that never leaves half a file, and digests of what was written."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

CHUNK_BYTES = 1 << 20


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; on success it is renamed over it, on any failure removed.

    Raises:
        OSError: as the file system says (a full disk, no permission), naming a file; ``path`` is then as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        with beside.open("r+b") as written:  # Windows flushes no file that is open for reading alone
            os.fsync(written.fileno())
        umask = os.umask(0)
        os.umask(umask)
        beside.chmod(0o666 & ~umask)
        beside.replace(path)
    except OSError as error:
        if error.filename is None:  # a write that failed knows only its descriptor
            error.filename = str(path)
        raise
    finally:
        beside.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file beside ``path``, then rename it over."""
    with replacing(path) as beside:
        beside.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write a UTF-8 text file beside ``path``, then rename it over."""
    write_bytes(path, content.encode())


def write_secret(path: Path, content: bytes) -> None:
    """Write a new file that its owner alone can read.

    Raises:
        FileExistsError: something lies there already.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(content)


def copy(source: Path, target: Path) -> None:
    """Copy a file so that ``target`` is either whole or as it was."""
    with replacing(target) as beside:
        shutil.copyfile(source, beside)


def sha256_file(path: Path, *further: Path) -> str:
    """Hex SHA-256 of a file, or of several one after the other, read in chunks."""
    digest = hashlib.sha256()
    for file in (path, *further):
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()
