"""A parsed federated run: its lines in order, before their consistency is checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from certify.core.errors import CertificateError
from certify.core.federation.messages import Begin, End, Enrolment, Entry, Message, Round, Run
from certify.core.federation.signing import Signed, client_id, parse

MAX_LINES = 4_000_000
AFTER: dict[str, tuple[str, ...]] = {
    "": ("run",),
    "run": ("begin", "end"),
    "begin": ("begin", "client", "entry", "round", "end"),
    "client": ("client", "entry", "round"),
    "entry": ("entry", "round"),
    "round": ("begin", "end"),
    "end": (),
}
"""Kinds of lines that may follow each kind."""


@dataclass(frozen=True)
class ClosedRound:
    """A round from its first attempt to its close.

    Attributes:
        attempts: starts of its attempts; the last one was closed, earlier ones were abandoned.
        joined: enrolments since the previous round.
        entries: entries of clients whose answers are in the sum.
        close: the server's close of the round.
    """

    attempts: tuple[Signed[Begin], ...]
    joined: tuple[Signed[Enrolment], ...]
    entries: tuple[Signed[Entry], ...]
    close: Signed[Round]

    @property
    def begin(self) -> Begin:
        """The attempt that was closed."""
        return self.attempts[-1].message

    def lines(self) -> Iterator[bytes]:
        """Yield the lines in order."""
        signed: tuple[Signed[Message], ...] = (*self.attempts, *self.joined, *self.entries, self.close)
        yield from (message.line for message in signed)


@dataclass(frozen=True)
class FederatedRun:
    """All lines of a run.

    Attributes:
        opening: settings fixed before the first round.
        rounds: closed rounds.
        open: attempts after the last closed round.
        end: end of the run; None if it has not ended.
    """

    opening: Signed[Run]
    rounds: tuple[ClosedRound, ...]
    open: tuple[Signed[Begin], ...]
    end: Signed[End] | None

    @cached_property
    def clients(self) -> dict[str, Enrolment]:
        """Enrolments by client id."""
        return {client_id(member.message.key): member.message for each in self.rounds for member in each.joined}

    @property
    def entries(self) -> Iterator[Signed[Entry]]:
        """Entries of all rounds."""
        return (entry for each in self.rounds for entry in each.entries)

    @property
    def attempts(self) -> Iterator[Signed[Begin]]:
        """All attempts at rounds, including abandoned ones."""
        yield from (attempt for each in self.rounds for attempt in each.attempts)
        yield from self.open

    def lines(self) -> Iterator[bytes]:
        """Yield the lines in order, without line ends."""
        yield self.opening.line
        for each in self.rounds:
            yield from each.lines()
        yield from (message.line for message in self.open)
        if self.end is not None:
            yield self.end.line

    def content(self) -> bytes:
        """Return the bytes of the whole file, the inverse of :func:`parse_run`."""
        return b"".join(line + b"\n" for line in self.lines())


def parse_run(content: bytes, name: str) -> FederatedRun:
    """Parse the file of a run; :mod:`.checking` checks the consistency of its lines.

    Args:
        content: the whole file.
        name: name of the file, for errors.

    Raises:
        CertificateError: the file is truncated or too long, or a line is malformed or misplaced.
    """
    lines = content.split(b"\n")
    # The last element is what follows the final newline, and must be empty.
    if lines.pop() or not lines:
        raise CertificateError(f"{name} does not end with a newline, so it is truncated.")
    return run_of(lines, name)


def run_of(lines: Sequence[bytes], name: str) -> FederatedRun:
    """Make a run from its lines, without line ends; see :func:`parse_run`."""
    if len(lines) > MAX_LINES:
        raise CertificateError(f"{name} has more than {MAX_LINES} lines.")
    opening: Signed[Run] | None = None
    end: Signed[End] | None = None
    rounds: list[ClosedRound] = []
    pending: dict[str, list[Signed[Any]]] = {"begin": [], "client": [], "entry": []}
    last = ""
    for number, line in enumerate(lines, start=1):
        place = f"{name}, line {number}"
        if not AFTER[last]:
            raise CertificateError(f"{place}: comes after the end of the run.")
        found = parse(line, place, *AFTER[last])
        last = found.kind
        if last == "run":
            opening = found
        elif last == "end":
            end = found
        elif last == "round":
            rounds.append(
                ClosedRound(tuple(pending["begin"]), tuple(pending["client"]), tuple(pending["entry"]), found)
            )
            pending = {kind: [] for kind in pending}
        else:
            pending[last].append(found)
    if opening is None or pending["client"] or pending["entry"]:
        raise CertificateError(f"{name} ends within a round, so it is truncated.")
    return FederatedRun(opening, tuple(rounds), tuple(pending["begin"]), end)
