"""An open attempt at a round: its start, and the outcome for each client so far."""

from __future__ import annotations

import hashlib
from collections.abc import Set
from dataclasses import dataclass, field

from certify.core.errors import LeanmarkError, UsageError
from certify.core.federation.fields import Drop, DropReason, Payload, RefusalReason, Update
from certify.core.federation.messages import Begin, Enrolment, Entry
from certify.core.federation.signing import Signed, peers_digest


class MessageRefused(LeanmarkError):
    """A message that the server rejects; the reason is logged.

    Attributes:
        reason: reason in the log.
    """

    def __init__(self, reason: RefusalReason, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


@dataclass
class Attempt:
    """An attempt that the server began and has not closed.

    Attributes:
        begun: its start.
        entries: accepted entries by client id.
        dropped: dropped clients by id.
    """

    begun: Signed[Begin]
    entries: dict[str, Signed[Entry]] = field(default_factory=dict)
    dropped: dict[str, Drop] = field(default_factory=dict)

    def __post_init__(self) -> None:
        begin = self.begun.message
        self._selected = frozenset(begin.selected)
        self._peers = {client: peers_digest(group) for group in begin.groups for client in group}

    def require_expected(self, entry: Entry, nonces: Set[str]) -> None:
        """Reject an entry of another attempt, of a client that was not selected, or of one that has an outcome.

        Args:
            entry: entry of an enrolled client.
            nonces: nonces of all attempts of the run.

        Raises:
            MessageRefused: the entry is rejected.
        """
        begin = self.begun.message
        if (entry.number, entry.nonce) != (begin.number, begin.nonce):
            # A client with the nonce of an abandoned attempt is late; with an unknown nonce, in the wrong round.
            reason: RefusalReason = "late" if entry.nonce in nonces else "wrong-round"
            raise MessageRefused(reason, f"The entry is not of round {begin.number} as it is open.")
        if entry.client not in self._selected:
            raise MessageRefused("not-selected", "The client was not selected for this round.")
        if entry.client in self.entries or entry.client in self.dropped:
            raise MessageRefused("duplicate", "The client has answered, or was dropped.")

    def require_consistent(self, entry: Entry, answer: bytes, update: Update, enrolment: Enrolment) -> None:
        """Reject an entry that does not match its answer, the round or its client's enrolment.

        Args:
            entry: entry of a selected client.
            answer: bytes of the answer.
            update: form and size of answers.
            enrolment: enrolment of the client.

        Raises:
            MessageRefused: the entry is rejected.
        """
        if len(answer) > update.most_bytes:
            raise MessageRefused("oversized", f"The answer has {len(answer)} bytes.")
        wrong = (
            entry.received != self.begun.message.payload
            or entry.sent != Payload(hashlib.sha256(answer).hexdigest(), len(answer))
            or len(answer) < update.least_bytes
            or entry.policy != enrolment.policy
            or (None if entry.mask is None else entry.mask.peers) != self._peers.get(entry.client)
        )
        if wrong:
            raise MessageRefused("malformed", "The entry does not fit its answer, its round or its policy.")

    def drop(self, client: str, reason: DropReason) -> None:
        """Note that the answer of a selected client will not be in the sum.

        Raises:
            UsageError: the client has a receipt, which would contradict the drop.
        """
        if client in self.entries:
            raise UsageError(f"Client {client[:16]} has a receipt for this round, so its answer is in the sum.")
        self.dropped[client] = Drop(client, reason)

    def outcomes(self) -> tuple[list[Signed[Entry]], tuple[Drop, ...]]:
        """Return entries and dropped clients by id; clients without an outcome are dropped as stragglers."""
        missing = {client: Drop(client, "straggler") for client in self._selected - self.entries.keys()}
        dropped = {**missing, **self.dropped}
        return [self.entries[client] for client in sorted(self.entries)], tuple(
            dropped[client] for client in sorted(dropped)
        )
