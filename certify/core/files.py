"""Atomic writing of files, and digests of files."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from certify.core.errors import UsageError

CHUNK_BYTES = 1 << 20
DEVICES = Path("/dev")


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path next to ``path``; rename it to ``path`` on success, remove it on failure.

    A device or pipe, such as ``/dev/stdout``, is written into, not replaced.

    Raises:
        OSError: an error of the file system (disk full, no permission), with a file name; ``path`` is then unchanged.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if _is_stream(path):
        with _copied_into(path) as elsewhere:
            yield elsewhere
        return
    beside, prefix = path, f".{path.name}."
    try:
        handle, name = tempfile.mkstemp(prefix=prefix, suffix=path.suffix, dir=path.parent)
        os.close(handle)
        beside = Path(name)
        yield beside
        with beside.open("r+b") as written:  # Windows cannot flush a file that is open for reading only
            os.fsync(written.fileno())
        # mkstemp makes files that only their owner can read. The usual mask can only be read by setting it.
        umask = os.umask(0)
        os.umask(umask)
        beside.chmod(0o666 & ~umask)
        beside.replace(path)
    except OSError as error:
        if error.filename is None or Path(str(error.filename)).name.startswith(prefix):
            error.filename = str(path)  # a failed write has only a descriptor, and the temporary name means nothing
        raise
    finally:
        if beside != path:
            beside.unlink(missing_ok=True)


def _is_stream(path: Path) -> bool:
    # /dev/stdout is a link, which may lead to an ordinary file.
    return path.exists() and (not path.is_file() or path.is_relative_to(DEVICES))


@contextlib.contextmanager
def _copied_into(path: Path) -> Iterator[Path]:
    """Yield a temporary path, whose content is written into ``path`` on success."""
    with tempfile.TemporaryDirectory(prefix="leanmark-") as folder:
        elsewhere = Path(folder, path.name)
        elsewhere.touch()
        yield elsewhere
        with elsewhere.open("rb") as content, path.open("ab") as stream:
            shutil.copyfileobj(content, stream)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file atomically."""
    with replacing(path) as beside:
        beside.write_bytes(content)


def write_text(path: Path, content: str) -> None:
    """Write a UTF-8 text file atomically; names of files that are not UTF-8 are escaped."""
    write_bytes(path, content.encode(errors="backslashreplace"))


def write_secret(path: Path, content: bytes) -> None:
    """Write a new file that only its owner can read.

    Raises:
        FileExistsError: the path already exists.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as stream:
        stream.write(content)


def link_new(source: Path, target: Path) -> None:
    """Give a secret file a second name; copy it on a file system without links, such as exFAT or a network drive.

    Raises:
        FileExistsError: the target already exists.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        write_secret(target, source.read_bytes())


def copy(source: Path, target: Path) -> None:
    """Copy a file atomically: ``target`` is either complete or unchanged."""
    with replacing(target) as beside:
        shutil.copyfile(source, beside)


def require_kept(given: Path, *written: Path) -> None:
    """Refuse to write results over a file that the user gave.

    Raises:
        UsageError: one of the paths to write is that file.
    """
    if any(path.exists() and given.exists() and path.samefile(given) for path in written):
        raise UsageError(f"The result would replace the given file {given}; choose another output folder.")


def sha256_file(path: Path, *further: Path) -> str:
    """Return the hex SHA-256 of a file, or of several files concatenated, read in chunks."""
    digest = hashlib.sha256()
    for file in (path, *further):
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()
