"""Collection of clients' answers: each is parsed strictly, and a rejected one is logged with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from certify.core.errors import DataError
from certify.core.federation import MessageRefused, RoundLog
from certify.core.federation.fields import MAX_BAND, DropReason
from compress.federated.messages import Message
from compress.federated.transport import Transport

ANSWER_HEADER_BYTES = 64 * 1024
"""An entry has about 800 bytes."""
SIGNED = ("train", "logits")
"""Kinds of messages whose answers are entries of the log."""
DECLINED = ("busy", "budget", "policy", "failed")


@dataclass
class Clients:
    """Clients of a run, by the names that the transport gives them.

    Attributes:
        transport: transport to the clients.
        log: log of the run.
        ids: ids of enrolled clients by name.
        bands: bands of their numbers of samples by name.
        dropped: ids of clients dropped from the open round.
    """

    transport: Transport
    log: RoundLog
    ids: dict[str, str] = field(default_factory=dict)
    bands: dict[str, int] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)

    def enrol(self, names: list[str], deadline_s: float | None) -> list[str]:
        """Enrol clients that have not enrolled yet.

        Args:
            names: names of the clients.
            deadline_s: seconds to wait for answers; None waits for all.

        Returns:
            Names of the enrolled clients among them.
        """
        message = Message("enrol", {"opening": self.log.opening.decode()}).content()
        missing = {name: message for name in names if name not in self.ids}
        for name, answer in self.collect("enrol", missing, 0, deadline_s) if missing else ():
            try:
                values = answer.expect("enrol", line=str, band=int)
                client = self.log.enrol(values["line"].encode())
            except DataError:
                self.log.refuse("malformed", answer.content())
                continue
            except MessageRefused:
                continue  # the log has the reason
            # One key under two names would count twice.
            if client in self.ids.values() or not 0 <= values["band"] <= MAX_BAND:
                self.log.refuse("duplicate", answer.content(), client)
                continue
            self.ids[name], self.bands[name] = client, values["band"]
        return [name for name in names if name in self.ids]

    def collect(
        self, kind: str, messages: Mapping[str, bytes], most_bytes: int, deadline_s: float | None
    ) -> Iterator[tuple[str, Message]]:
        """Send messages, and yield the names and answers that can be parsed.

        At most one answer per client is yielded, and only from clients that were asked, except for entries (``train``,
        ``logits``): the log checks their signatures, and a forged answer under a client's name must not exclude the
        client.

        Args:
            kind: kind of the messages and of their answers.
            messages: messages by the transport's name.
            most_bytes: maximum size of an answer's payload.
            deadline_s: seconds to wait for answers; None waits for all.
        """
        answered: set[str] = set()
        for name, content in self.transport.ask(messages, deadline_s):
            # Check before parsing, so that a large answer costs the server nothing.
            if len(content) > most_bytes + ANSWER_HEADER_BYTES:
                self.log.refuse("oversized", None, self.ids.get(name))
                continue
            try:
                answer = Message.parse(content, most_bytes)
            except DataError:
                self.log.refuse("malformed", content, self.ids.get(name))
                continue
            if answer.kind == "declined":
                self._declined(name, answer)
            elif answer.kind != kind:
                self.log.refuse("late" if answer.kind in SIGNED else "malformed", content, self.ids.get(name))
            elif name not in messages and kind not in SIGNED:
                self.log.refuse("foreign", content, self.ids.get(name))
            elif name in answered and kind not in SIGNED:
                self.log.refuse("duplicate", content, self.ids.get(name))
            else:
                answered.add(name)
                yield name, answer

    def _declined(self, name: str, answer: Message) -> None:
        reason = answer.values.get("reason")
        if name in self.ids and reason in DECLINED:
            self.drop(self.ids[name], reason)

    def drop(self, client: str, reason: DropReason) -> None:
        """Log that a selected client's answer is not in the sum; only the first reason counts."""
        if client not in self.dropped:
            self.dropped.add(client)
            self.log.drop(client, reason)

    def receipts(self, lines: Mapping[str, bytes], deadline_s: float | None) -> None:
        """Send clients the receipts of a closed round; a client that is not reached has no receipt."""
        messages = {name: Message("receipt", {"receipt": line.decode()}).content() for name, line in lines.items()}
        most = self.log.run.update.most_bytes  # answers that arrive now are logged as late
        for _ in self.collect("receipt", messages, most, deadline_s):
            pass
