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
import secrets
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from certify.core.data_use.times import now
from certify.core.errors import CertificateError, UsageError
from certify.core.federation.attempt import Attempt, MessageRefused
from certify.core.federation.consistency import require_unaltered
from certify.core.federation.fields import DropReason, Payload, Refusal, RefusalReason, Spent
from certify.core.federation.messages import Begin, End, Enrolment, Entry, Message, Receipt, Round, Run
from certify.core.federation.run import FederatedRun, run_of
from certify.core.federation.run_file import RunFile
from certify.core.federation.signing import SMALL_BYTES, Signed, client_id, parse, sign
from certify.core.federation.sums import bytes_down, bytes_up
from certify.core.signing_keys import PublicKey, SigningKey


class RoundLog:
    """The log of an active run, which only one process may write at a time.

    Attributes:
        run: settings fixed before the first round.
        opening: line of those settings.
        closed: number of the last closed round; 0 before the first.
        model: digest of the global model after that round.
        clients: enrolments by the client's id.
    """

    def __init__(self, file: RunFile, server: SigningKey, found: FederatedRun, clock: Callable[[], str]) -> None:
        self._file, self._server, self._clock = file, server, clock
        self.run: Run = found.opening.message
        self.opening = found.opening.line
        self.closed = len(found.rounds)
        self.model = found.rounds[-1].close.message.model if found.rounds else self.run.model
        self.clients: dict[str, Enrolment] = dict(found.clients)
        steps: tuple[Signed[Message], ...] = (found.opening, *(each.close for each in found.rounds), *found.open)
        self._head = steps[-1].digest
        self._attempts = len(found.open)
        self._nonces = {attempt.message.nonce for attempt in found.attempts}
        self._ended = found.end is not None
        self._attempt: Attempt | None = None
        self._joined: list[Signed[Enrolment]] = []
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
        file = RunFile.create(path)
        file.append([opening.line])
        return cls(file, server, FederatedRun(opening, (), (), None), clock)

    @classmethod
    def resume(cls, path: Path, server: SigningKey, clock: Callable[[], str] = now) -> RoundLog:
        """Resume after the last closed round; lines after it are removed.

        Raises:
            CertificateError: the file cannot be read, was altered, or is of another server.
            UsageError: another process writes it.
        """
        file = RunFile.open(path)
        with contextlib.ExitStack() as closing:
            closing.callback(file.close)
            lines = file.whole_lines()
            found = run_of(lines, str(path))
            if found.opening.message.server != server.public.hex:
                raise CertificateError(f"{path} is a run of another server ({found.opening.message.server[:16]}).")
            # Checked before incomplete lines are removed, so that an altered log stays as it was found.
            require_unaltered(found, str(path))
            file.keep(lines)
            # The new object keeps the file open and locked; only an error above closes it.
            closing.pop_all()
        return cls(file, server, found, clock)

    def enrol(self, line: bytes) -> str:
        """Enrol a client and return its id; an enrolled client is unchanged.

        Raises:
            MessageRefused: the enrolment is malformed, of another run, not signed by the key that it names, states
                another policy than before, or there is no place left.
        """
        signed: Signed[Enrolment] = self._parsed(line, "client")
        enrolment = signed.message
        client = client_id(enrolment.key)
        known = self.clients.get(client)
        with self._logging_refusals(line, client):
            if not signed.signed_by(PublicKey(bytes.fromhex(enrolment.key))):
                raise MessageRefused("signature", "The enrolment is not signed by the key that it names.")
            if known == enrolment:
                return client
            if known is not None:
                raise MessageRefused("duplicate", "The client enrolled before, with another policy.")
            if len(self.clients) >= self.run.population:
                raise MessageRefused(
                    "foreign", f"The run was announced for {self.run.population} clients, which it has."
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
            raise UsageError("The run has ended; start another one.")
        if strangers := [client for client in selected if client not in self.clients]:
            raise UsageError(f"Client {strangers[0][:16]} is selected and has not enrolled.")
        self._attempts += 1
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
        self._attempt = Attempt(begun)
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
        entry, attempt = signed.message, self._open()
        with self._logging_refusals(line, entry.client):
            if entry.client not in self.clients:
                raise MessageRefused("foreign", f"Client {entry.client[:16]} has not enrolled.")
            enrolment = self.clients[entry.client]
            if not signed.signed_by(PublicKey(bytes.fromhex(enrolment.key))):
                raise MessageRefused("signature", "The entry is not signed by its client's key.")
            attempt.require_expected(entry, self._nonces)
            attempt.require_consistent(entry, answer, self.run.update, enrolment)
        return signed

    def accept(self, entry: Signed[Entry]) -> Signed[Receipt]:
        """Add a checked entry to the round, and return the receipt for the client."""
        message = entry.message
        self._open().entries[message.client] = entry
        return sign(Receipt(message.run, message.number, message.nonce, message.client, entry.digest), self._server)

    def refuse(self, reason: RefusalReason, content: bytes | None = None, client: str | None = None) -> None:
        """Log a rejected message, such as one that was too long to read."""
        digest = None if content is None else hashlib.sha256(content).hexdigest()
        # Only enrolled clients are named, because anybody can claim another id.
        self._refused.append(Refusal(reason, digest, client if client in self.clients else None))

    def drop(self, client: str, reason: DropReason) -> None:
        """Log that the answer of a selected client will not be in the sum.

        Raises:
            UsageError: no round is open, or the client has a receipt, which would contradict the drop.
        """
        self._open().drop(client, reason)

    def close(self, aggregate: str, model: str, spent: Spent, recovered: Sequence[str] = ()) -> Signed[Round]:
        """Close the round; selected clients that neither answered nor were dropped are stragglers.

        Args:
            aggregate: digest of the aggregated answers.
            model: digest of the resulting global model.
            spent: costs of the server.
            recovered: dropped clients whose masks were removed from the sum.
        """
        attempt = self._open()
        begun, (entries, dropped) = attempt.begun, attempt.outcomes()
        closed = sign(
            Round(
                run=self.run.run, number=begun.message.number, nonce=begun.message.nonce, previous=begun.digest,
                closed=self._clock(), joined=tuple(signed.digest for signed in self._joined),
                entries=tuple(entry.digest for entry in entries), dropped=dropped, refused=tuple(self._refused),
                recovered=tuple(sorted(recovered)), aggregate=aggregate, model=model,
                bytes_up=bytes_up(entry.message for entry in entries),
                bytes_down=bytes_down(begun.message, (entry.message for entry in entries), dropped), spent=spent,
            ),
            self._server,
        )  # fmt: skip
        # Written together with the close, so that after a kill the file holds a whole round or none of its entries.
        self._append(
            [*(signed.line for signed in self._joined), *(signed.line for signed in entries), closed.line], closed
        )
        self.closed, self.model = begun.message.number, model
        self._attempt, self._attempts, self._joined, self._refused = None, 0, [], []
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
        self._file.close()
        return ended

    def abandon(self) -> None:
        """Abandon the open attempt; its start stays in the log."""
        self._attempt = None

    def stop(self) -> None:
        """Release the file, so that another process can resume the run."""
        self._file.close()

    def _parsed(self, line: bytes, kind: str) -> Signed[Any]:
        with self._logging_refusals(line):
            # Checked before parsing, because anybody can send a message.
            if len(line) > SMALL_BYTES:
                raise MessageRefused("oversized", f"The message has {len(line)} bytes.")
            try:
                signed = parse(line, "The message", kind)
            except CertificateError as error:
                raise MessageRefused("malformed", str(error)) from error
            if signed.message.run != self.run.run:
                raise MessageRefused("foreign", "The message is of another run.")
        return signed

    @contextlib.contextmanager
    def _logging_refusals(self, line: bytes, client: str | None = None) -> Iterator[None]:
        try:
            yield
        except MessageRefused as error:
            self.refuse(error.reason, line, client)
            raise

    def _open(self) -> Attempt:
        if self._attempt is None:
            raise UsageError("No round is open; begin one first.")
        return self._attempt

    def _append(self, lines: Sequence[bytes], last: Signed[Message]) -> None:
        self._file.append(lines)
        self._head = last.digest
