"""A log of canonical JSON lines, each of which holds the digest of the one before it.

A line that is altered, taken out, put in or moved breaks the chain. That lines were cut off at the end, or that the
whole was written again, is told only by a digest of the last line that lies elsewhere, such as in a signed statement.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfc8785

from certify.core.canonical_json import parse_canonical
from certify.core.errors import CertificateError

START = "0" * 64
"""What the first line holds in the place of a digest."""
MAX_LOG_BYTES = 1 << 30


@dataclass(frozen=True)
class Chain:
    """A log that was read and whose chain holds.

    Attributes:
        entries: without number and digest of the line before.
        heads: digest of each line.
    """

    entries: tuple[Mapping[str, Any], ...] = ()
    heads: tuple[str, ...] = ()

    @property
    def head(self) -> str:
        """Digest of the last line, which stands for the whole log."""
        return self.heads[-1] if self.heads else START

    def line(self, entry: Mapping[str, Any]) -> bytes:
        """The line that appends an entry, with its line end."""
        return _line(entry, len(self.entries), self.head)

    def appended(self, entry: Mapping[str, Any]) -> Chain:
        """The log with one more entry."""
        digest = hashlib.sha256(self.line(entry)[:-1]).hexdigest()
        return Chain((*self.entries, entry), (*self.heads, digest))

    def content(self) -> bytes:
        """The whole log."""
        before = (START, *self.heads)
        return b"".join(_line(entry, number, before[number]) for number, entry in enumerate(self.entries))


def _line(entry: Mapping[str, Any], number: int, previous: str) -> bytes:
    return rfc8785.dumps({**entry, "number": number, "previous": previous}) + b"\n"


def chained(entries: Sequence[Mapping[str, Any]]) -> Chain:
    """A log of entries."""
    heads: list[str] = []
    for number, entry in enumerate(entries):
        line = _line(entry, number, heads[-1] if heads else START)
        heads.append(hashlib.sha256(line[:-1]).hexdigest())
    return Chain(tuple(entries), tuple(heads))


def parse_chain(content: bytes, name: str) -> Chain:
    """Read a log.

    Raises:
        CertificateError: a line is malformed, or does not follow the one before it.

    Example:
        >>> log = chained([{"kind": "a"}, {"kind": "b"}])
        >>> parse_chain(log.content(), "log.jsonl").head == log.head
        True
    """
    if content and not content.endswith(b"\n"):
        raise CertificateError(f"{name}: does not end with a line end, so it is cut short.")
    entries: list[Mapping[str, Any]] = []
    heads = [START]
    for number, line in enumerate(content[:-1].split(b"\n") if content else []):
        values = parse_canonical(line, f"{name}, line {number + 1}")
        if not isinstance(values, dict) or values.pop("number", None) != number:
            raise CertificateError(f"{name}, line {number + 1}: a line is missing, or was put in or moved.")
        if values.pop("previous", None) != heads[-1]:
            raise CertificateError(f"{name}, line {number + 1}: does not follow the line before, so one was altered.")
        entries.append(values)
        heads.append(hashlib.sha256(line).hexdigest())
    return Chain(tuple(entries), tuple(heads[1:]))


def read_chain(path: Path) -> Chain:
    """Read the log in a file; an empty one where there is none.

    Raises:
        CertificateError: it cannot be read, is malformed, or its chain is broken.
    """
    try:
        if not path.exists():
            return Chain()
        if path.stat().st_size > MAX_LOG_BYTES:
            raise CertificateError(f"{path} has over {MAX_LOG_BYTES} bytes, which no log is read to.")
        return parse_chain(path.read_bytes(), str(path))
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}.") from error


def append(path: Path, *entries: Mapping[str, Any]) -> Chain:
    """Append entries to the log in a file, which is checked first.

    Raises:
        CertificateError: the log that is there is broken; nothing is written.
    """
    with _locked(path):
        chain, lines = read_chain(path), []
        for entry in entries:
            lines.append(chain.line(entry))
            chain = chain.appended(entry)
        with path.open("ab") as stream:
            stream.write(b"".join(lines))
            stream.flush()
            os.fsync(stream.fileno())
    return chain


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keep other processes from appending; where the system has no such lock, two at once break the chain visibly."""
    try:
        import fcntl
    except ImportError:
        yield
        return
    with path.with_name(f".{path.name}.lock").open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
