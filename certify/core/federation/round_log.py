"""Writing of a run: the server signs and appends lines so that a kill at any time leaves complete rounds.

Example, a round of one client:

    log = RoundLog.create(path, opening, server)
    client = log.enrol(sign(Enrolment(log.run.run, key.public.hex), key).line)
    begin = log.begin([client], payload, model_in)
    entry = log.examine(line, answer)          # raises MessageRefused, which the log keeps
    receipt = log.accept(entry)                # to the client
    log.close(aggregate, model_out, spent)
    log.end(model_out, spent)
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from certify.core.data_use.times import now
from certify.core.errors import CertificateError, LeanmarkError, UsageError
from certify.core.federation.checking import require_unaltered
from certify.core.federation.fields import Drop, DropReason, Payload, Refusal, RefusalReason, Spent
from certify.core.federation.messages import (
    Begin,
    End,
    Enrolment,
    Entry,
    Message,
    Receipt,
    Round,
    Run,
)
from certify.core.federation.run import FederatedRun, run_of
from certify.core.federation.signing import SMALL_BYTES, Signed, client_id, parse, peers_digest, sign
from certify.core.federation.sums import bytes_down, bytes_up
from certify.core.signing_keys import PublicKey, SigningKey


class MessageRefused(LeanmarkError):
    """A message that the server rejects; the reason is logged.

    Attributes:
        reason: reason in the log.
    """

    def __init__(self, reason: RefusalReason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class RoundLog:
    """The log of an active run, which only one process may write at a time.

    Attributes:
        run: settings fixed before the first round.
        closed: number of the last closed round; 0 before the first.
        model: digest of the global model after that round.
        clients: enrolments by the client's id.
    """

    def __init__(self, path: Path, server: SigningKey, found: FederatedRun, clock: Callable[[], str]) -> None:
        self._stream, self._server, self._clock = _opened(path), server, clock
        self.run: Run = found.opening.message
        self.closed = len(found.rounds)
        self.model = found.rounds[-1].close.message.model if found.rounds else self.run.model
        self.clients: dict[str, Enrolment] = dict(found.clients)
        steps: tuple[Signed[Message], ...] = (found.opening, *(each.close for each in found.rounds), *found.open)
        self._head = steps[-1].digest
        self._attempts = len(found.open)
        self._nonces = {one.message.nonce for one in found.attempts}
        self._ended = found.end is not None
        self._begun: Signed[Begin] | None = None
        self._selected: frozenset[str] = frozenset()
        self._peers: dict[str, str] = {}
        self._joined: list[Signed[Enrolment]] = []
        self._entries: dict[str, Signed[Entry]] = {}
        self._dropped: dict[str, Drop] = {}
        self._refused: list[Refusal] = []

    @classmethod
    def create(cls, path: Path, run: Run, server: SigningKey, clock: Callable[[], str] = now) -> RoundLog:
        """Start a run in a new file.

        Args:
            path: path of the new file.
            run: settings of the run; its ``server`` is the public key.
            server: signing key of the server.
            clock: function that returns UTC times, replaceable in tests.

        Raises:
            UsageError: the file already exists, or the opening names another server.
        """
        if run.server != server.public.hex:
            raise UsageError(f"The run names the server {run.server[:16]}, and the key is {server.public.hex[:16]}.")
        opening = sign(run, server)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with path.open("xb") as stream:
                _write(stream, [opening.line])
        except FileExistsError:
            raise UsageError(f"{path} exists. Resume the run in it, or give the new one another folder.") from None
        return cls(path, server, FederatedRun(opening, (), (), None), clock)

    @classmethod
    def resume(cls, path: Path, server: SigningKey, clock: Callable[[], str] = now) -> RoundLog:
        """Resume after the last closed round; lines after it are removed.

        Raises:
            CertificateError: the file cannot be read, was altered, or is of another server.
            UsageError: another process writes it.
        """
        stream = _opened(path)
        try:
            stream.seek(0)
            kept = _whole_lines(stream.read())
            found = run_of(kept, str(path))
            if found.opening.message.server != server.public.hex:
                raise CertificateError(f"{path} is a run of another server ({found.opening.message.server[:16]}).")
            require_unaltered(found, str(path))
            os.ftruncate(stream.fileno(), sum(len(line) + 1 for line in kept))
        finally:
            stream.close()
        return cls(path, server, found, clock)

    def enrol(self, line: bytes) -> str:
        """Enrol a client and return its id; an enrolled client is unchanged.

        Raises:
            MessageRefused: the enrolment is malformed, of another run, not signed by the key that it names, states
                another policy than before, or there is no place left.
        """
        signed: Signed[Enrolment] = self._parsed(line, "client")
        enrolment = signed.message
        client = client_id(enrolment.key)
        if not signed.signed_by(PublicKey(bytes.fromhex(enrolment.key))):
            raise self._refusal("signature", line, "The enrolment is not signed by the key that it names.", client)
        known = self.clients.get(client)
        if known == enrolment:
            return client
        if known is not None:
            raise self._refusal("duplicate", line, "The client enrolled before, with another policy.", client)
        if len(self.clients) >= self.run.population:
            raise self._refusal(
                "foreign", line, f"The run was announced for {self.run.population} clients, which it has.", client
            )
        self.clients[client] = enrolment
        self._joined.append(signed)
        return client

    def begin(
        self,
        selected: Sequence[str],
        payload: Payload,
        groups: Sequence[Sequence[str]] = (),
        nonce: str | None = None,
    ) -> Signed[Begin]:
        """Start the next round, or another attempt at it if the last one was not closed.

        Args:
            selected: ids of enrolled clients.
            payload: payload sent to each of them.
            groups: groups of clients whose masks cancel.
            nonce: 64 hexadecimal digits that were never used before; from the system's entropy by default.

        Raises:
            UsageError: the run has ended, or a selected client has not enrolled.
        """
        if self._ended:
            raise UsageError("The run has ended; begin another one.")
        if strangers := [one for one in selected if one not in self.clients]:
            raise UsageError(f"Client {strangers[0][:16]} is selected and has not enrolled.")
        self._attempts += 1
        self._entries, self._dropped = {}, {}
        begun = sign(
            Begin(
                run=self.run.run, number=self.closed + 1, attempt=self._attempts,
                nonce=nonce or secrets.token_hex(32), previous=self._head, started=self._clock(), model=self.model,
                payload=payload, selected=tuple(sorted(set(selected))),
                groups=tuple(tuple(sorted(group)) for group in groups),
            ),
            self._server,
        )  # fmt: skip
        self._append([begun.line], begun)
        self._begun, self._selected = begun, frozenset(begun.message.selected)
        self._peers = {one: peers_digest(group) for group in begun.message.groups for one in group}
        self._nonces.add(begun.message.nonce)
        return begun

    def examine(self, line: bytes, answer: bytes) -> Signed[Entry]:
        """Check an entry and its answer before the answer is used.

        Args:
            line: line as received.
            answer: bytes of the update or of the logits.

        Raises:
            MessageRefused: the message is invalid; the reason is logged.
        """
        signed: Signed[Entry] = self._parsed(line, "entry")
        entry = signed.message
        begin = self._open().message
        if entry.client not in self.clients:
            raise self._refusal("foreign", line, f"Client {entry.client[:16]} has not enrolled.", entry.client)
        if not signed.signed_by(PublicKey(bytes.fromhex(self.clients[entry.client].key))):
            raise self._refusal("signature", line, "The entry is not signed by its client's key.", entry.client)
        if (entry.number, entry.nonce) != (begin.number, begin.nonce):
            reason: RefusalReason = "late" if entry.nonce in self._nonces else "wrong-round"
            raise self._refusal(reason, line, f"The entry is not of round {begin.number} as it is open.", entry.client)
        if entry.client not in self._selected:
            raise self._refusal("not-selected", line, "The client was not selected for this round.", entry.client)
        if entry.client in self._entries or entry.client in self._dropped:
            raise self._refusal("duplicate", line, "The client has answered, or was dropped.", entry.client)
        self._check_answer(signed, answer)
        return signed

    def accept(self, entry: Signed[Entry]) -> Signed[Receipt]:
        """Add a checked entry to the round, and return the receipt for the client."""
        one = entry.message
        self._entries[one.client] = entry
        return sign(Receipt(one.run, one.number, one.nonce, one.client, entry.digest), self._server)

    def refuse(self, reason: RefusalReason, content: bytes | None = None, client: str | None = None) -> None:
        """Log a rejected message, such as one that was too long to read."""
        digest = None if content is None else hashlib.sha256(content).hexdigest()
        self._refused.append(Refusal(reason, digest, client if client in self.clients else None))

    def drop(self, client: str, reason: DropReason) -> None:
        """Log that the answer of a selected client will not be in the sum.

        Raises:
            UsageError: no round is open, or the client has a receipt, which would contradict the drop.
        """
        self._open()
        if client in self._entries:
            raise UsageError(f"Client {client[:16]} has a receipt for this round, so its answer is in the sum.")
        self._dropped[client] = Drop(client, reason)

    def close(self, aggregate: str, model: str, spent: Spent, recovered: Sequence[str] = ()) -> Signed[Round]:
        """Close the round; selected clients that neither answered nor were dropped are stragglers.

        Args:
            aggregate: digest of the aggregated answers.
            model: digest of the resulting global model.
            spent: costs of the server.
            recovered: dropped clients whose masks were removed from the sum.
        """
        begun = self._open()
        for client in begun.message.selected:
            if client not in self._entries and client not in self._dropped:
                self._dropped[client] = Drop(client, "straggler")
        entries = [self._entries[client] for client in sorted(self._entries)]
        dropped = tuple(self._dropped[client] for client in sorted(self._dropped))
        closed = sign(
            Round(
                run=self.run.run, number=begun.message.number, nonce=begun.message.nonce, previous=begun.digest,
                closed=self._clock(), joined=tuple(one.digest for one in self._joined),
                entries=tuple(one.digest for one in entries), dropped=dropped, refused=tuple(self._refused),
                recovered=tuple(sorted(recovered)), aggregate=aggregate, model=model,
                bytes_up=bytes_up(one.message for one in entries),
                bytes_down=bytes_down(begun.message, (one.message for one in entries), dropped), spent=spent,
            ),
            self._server,
        )  # fmt: skip
        self._append([*(one.line for one in self._joined), *(one.line for one in entries), closed.line], closed)
        self.closed, self.model = begun.message.number, model
        self._begun, self._attempts, self._joined, self._refused = None, 0, [], []
        return closed

    def end(self, model: str, spent: Spent) -> Signed[End]:
        """End the run.

        Args:
            model: digest of the resulting model, as in the lineage.
            spent: costs of the server outside rounds.
        """
        self.abandon()
        ended = sign(End(self.run.run, self._head, self._clock(), self.closed, model, spent), self._server)
        self._append([ended.line], ended)
        self._ended = True
        self._stream.close()
        return ended

    def abandon(self) -> None:
        """Abandon the open attempt; its start stays in the log."""
        self._begun = None

    def stop(self) -> None:
        """Release the file, so that another process can resume the run."""
        self._stream.close()

    def _check_answer(self, signed: Signed[Entry], answer: bytes) -> None:
        entry, begin, update = signed.message, self._open().message, self.run.update
        if len(answer) > update.most_bytes:
            raise self._refusal("oversized", signed.line, f"The answer has {len(answer)} bytes.", entry.client)
        wrong = (
            entry.received != begin.payload
            or entry.sent != Payload(hashlib.sha256(answer).hexdigest(), len(answer))
            or len(answer) < update.least_bytes
            or entry.policy != self.clients[entry.client].policy
            or (None if entry.mask is None else entry.mask.peers) != self._peers.get(entry.client)
        )
        if wrong:
            raise self._refusal(
                "malformed", signed.line, "The entry does not fit its answer, its round or its policy.", entry.client
            )

    def _parsed(self, line: bytes, kind: str) -> Signed[Any]:
        if len(line) > SMALL_BYTES:
            raise self._refusal("oversized", line, f"The message has {len(line)} bytes.")
        try:
            signed = parse(line, "The message", kind)
        except CertificateError as error:
            raise self._refusal("malformed", line, str(error)) from error
        if signed.message.run != self.run.run:
            raise self._refusal("foreign", line, "The message is of another run.")
        return signed

    def _refusal(self, reason: RefusalReason, line: bytes, sentence: str, client: str | None = None) -> MessageRefused:
        self.refuse(reason, line, client)
        return MessageRefused(reason, sentence)

    def _open(self) -> Signed[Begin]:
        if self._begun is None:
            raise UsageError("No round is open; begin one first.")
        return self._begun

    def _append(self, lines: Sequence[bytes], last: Signed[Message]) -> None:
        _write(self._stream, lines)
        self._head = last.digest


def _whole_lines(content: bytes) -> list[bytes]:
    """Return the lines up to the last complete step of the server; anything after it is incomplete."""
    lines = content.split(b"\n")[:-1]
    while lines and b'"kind":"client"' in lines[-1] or lines and b'"kind":"entry"' in lines[-1]:
        lines.pop()
    return lines


def _write(stream: BinaryIO, lines: Sequence[bytes]) -> None:
    stream.write(b"".join(line + b"\n" for line in lines))
    stream.flush()
    os.fsync(stream.fileno())


def _opened(path: Path) -> BinaryIO:
    """Open the log for appending, and lock it."""
    try:
        stream = path.open("r+b")
    except OSError as error:
        raise CertificateError(f"The log {path} cannot be read: {error.strerror}.") from error
    stream.seek(0, os.SEEK_END)
    with contextlib.suppress(ImportError):  # without file locks, concurrent writers visibly break the chain
        import fcntl

        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            stream.close()
            raise UsageError(f"Another process writes {path}; stop it, or wait until it has ended.") from None
    return stream
