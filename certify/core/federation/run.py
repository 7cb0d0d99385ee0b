"""A federated run as it was read: its lines in their order, before anybody asks whether they fit together."""

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
"""What may stand behind each kind of line."""


@dataclass(frozen=True)
class ClosedRound:
    """A round from its first attempt to its close.

    Attributes:
        attempts: what began it; the last one is the attempt that was closed, those before were abandoned.
        joined: enrolments since the round before.
        entries: of clients whose answers are in the sum.
        close: by which the server closed it.
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
        """In their order."""
        signed: tuple[Signed[Message], ...] = (*self.attempts, *self.joined, *self.entries, self.close)
        yield from (one.line for one in signed)


@dataclass(frozen=True)
class FederatedRun:
    """All lines of a run.

    Attributes:
        opening: what was fixed before the first round.
        rounds: that were closed.
        open: attempts behind the last closed round.
        end: None where the run has not ended.
    """

    opening: Signed[Run]
    rounds: tuple[ClosedRound, ...]
    open: tuple[Signed[Begin], ...]
    end: Signed[End] | None

    @cached_property
    def clients(self) -> dict[str, Enrolment]:
        """Enrolments by the client's id."""
        return {client_id(one.message.key): one.message for each in self.rounds for one in each.joined}

    @property
    def entries(self) -> Iterator[Signed[Entry]]:
        """Of all rounds."""
        return (one for each in self.rounds for one in each.entries)

    @property
    def attempts(self) -> Iterator[Signed[Begin]]:
        """All attempts at rounds, abandoned ones among them."""
        yield from (one for each in self.rounds for one in each.attempts)
        yield from self.open

    def lines(self) -> Iterator[bytes]:
        """In their order, without line ends."""
        yield self.opening.line
        for each in self.rounds:
            yield from each.lines()
        yield from (one.line for one in self.open)
        if self.end is not None:
            yield self.end.line

    def content(self) -> bytes:
        """The whole file, the inverse of :func:`parse_run`."""
        return b"".join(line + b"\n" for line in self.lines())


def parse_run(content: bytes, name: str) -> FederatedRun:
    """Read the file of a run; whether its lines fit together is the question of :mod:`.checking`.

    Args:
        content: the whole file.
        name: of the file, for errors.

    Raises:
        CertificateError: the file is cut short or too long, a line is malformed, or stands where it cannot.
    """
    lines = content.split(b"\n")
    if lines.pop() or not lines:
        raise CertificateError(f"{name}: does not end with a line end, so it is cut short.")
    return run_of(lines, name)


def run_of(lines: Sequence[bytes], name: str) -> FederatedRun:
    """A run from its lines, without line ends; see :func:`parse_run`."""
    if len(lines) > MAX_LINES:
        raise CertificateError(f"{name}: has more than {MAX_LINES} lines.")
    opening: Signed[Run] | None = None
    end: Signed[End] | None = None
    rounds: list[ClosedRound] = []
    pending: dict[str, list[Signed[Any]]] = {"begin": [], "client": [], "entry": []}
    last = ""
    for number, line in enumerate(lines, start=1):
        place = f"{name}, line {number}"
        if not AFTER[last]:
            raise CertificateError(f"{place}: stands behind the end of the run.")
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
        raise CertificateError(f"{name}: ends within a round, so it is cut short.")
    return FederatedRun(opening, tuple(rounds), tuple(pending["begin"]), end)
