"""Hash-chained log: canonical JSON lines, each with the digest of the previous line.

Altering, removing, inserting or moving a line breaks the chain. Truncation at the end, or a complete rewrite, is only
detected with a digest of the last line that is kept elsewhere, such as in a signed statement.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfc8785

from certify.core.canonical_json import parse_canonical
from certify.core.errors import CertificateError

START = "0" * 64
"""Value in the first line in place of a digest."""
MAX_LOG_BYTES = 1 << 30


@dataclass(frozen=True)
class Chain:
    """A log with a valid chain.

    Attributes:
        entries: entries without their number and the digest of the previous line.
        heads: digest of each line.
    """

    entries: tuple[Mapping[str, Any], ...] = ()
    heads: tuple[str, ...] = ()

    @property
    def head(self) -> str:
        """Digest of the last line, which identifies the whole log."""
        return self.heads[-1] if self.heads else START

    def line(self, entry: Mapping[str, Any]) -> bytes:
        """Return the line that appends an entry, with its line end."""
        return _line(entry, len(self.entries), self.head)

    def appended(self, entry: Mapping[str, Any]) -> Chain:
        """Return the log with one more entry."""
        digest = hashlib.sha256(self.line(entry)[:-1]).hexdigest()
        return Chain((*self.entries, entry), (*self.heads, digest))

    def content(self) -> bytes:
        """Return the bytes of the whole log."""
        before = (START, *self.heads)
        return b"".join(_line(entry, number, before[number]) for number, entry in enumerate(self.entries))


def _line(entry: Mapping[str, Any], number: int, previous: str) -> bytes:
    return rfc8785.dumps({**entry, "number": number, "previous": previous}) + b"\n"


def chained(entries: Sequence[Mapping[str, Any]]) -> Chain:
    """Make a log of entries."""
    heads: list[str] = []
    for number, entry in enumerate(entries):
        line = _line(entry, number, heads[-1] if heads else START)
        heads.append(hashlib.sha256(line[:-1]).hexdigest())
    return Chain(tuple(entries), tuple(heads))


def parse_chain(content: bytes, name: str) -> Chain:
    """Read a log.

    Raises:
        CertificateError: a line is malformed, or does not follow the previous one.

    Example:
        >>> log = chained([{"kind": "a"}, {"kind": "b"}])
        >>> parse_chain(log.content(), "log.jsonl").head == log.head
        True
    """
    if content and not content.endswith(b"\n"):
        raise CertificateError(f"{name} does not end with a newline, so it is truncated; restore the log.")
    entries: list[Mapping[str, Any]] = []
    heads = [START]
    for number, line in enumerate(content[:-1].split(b"\n") if content else []):
        values = parse_canonical(line, f"{name}, line {number + 1}")
        if not isinstance(values, dict) or values.pop("number", None) != number:
            raise CertificateError(
                f"{name}, line {number + 1}: a line was removed, inserted or moved; restore the log."
            )
        if values.pop("previous", None) != heads[-1]:
            raise CertificateError(
                f"{name}, line {number + 1}: does not follow the previous line, so one of them was altered; restore "
                "the log."
            )
        entries.append(values)
        heads.append(hashlib.sha256(line).hexdigest())
    return Chain(tuple(entries), tuple(heads[1:]))


def read_chain(path: Path) -> Chain:
    """Read the log in a file; an empty one if there is none.

    Raises:
        CertificateError: the file cannot be read or is malformed, or its chain is broken.
    """
    try:
        if not path.exists():
            return Chain()
        if path.stat().st_size > MAX_LOG_BYTES:
            raise CertificateError(f"{path} is larger than {MAX_LOG_BYTES} bytes, the limit for logs.")
        return parse_chain(path.read_bytes(), str(path))
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}.") from error


def append(path: Path, *entries: Mapping[str, Any], check: Callable[[Chain], None] | None = None) -> Chain:
    """Append entries to the log in a file, after checking it.

    Args:
        path: the file.
        entries: entries to append.
        check: further check of the log, made while no other process can append; it raises to refuse the entries.

    Raises:
        CertificateError: the existing log is broken; nothing is written.
    """
    with _locked(path):
        chain, lines = read_chain(path), []
        if check is not None:
            check(chain)
        for entry in entries:
            lines.append(chain.line(entry))
            chain = chain.appended(entry)
        with path.open("ab") as stream:
            stream.write(b"".join(lines))
            stream.flush()
            # Flushed to disk before records are yielded, because a crash must not lose the entry of a use.
            os.fsync(stream.fileno())
    return chain


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes from appending; without file locks, concurrent appends visibly break the chain."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with path.with_name(f".{path.name}.lock").open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
