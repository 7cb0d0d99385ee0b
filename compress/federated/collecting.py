"""Taking in what clients send: every message is read strictly, and what is not taken is logged with the reason."""

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
"""Kinds whose answers are entries of the log."""
DECLINED = ("busy", "budget", "policy", "failed")


@dataclass
class Clients:
    """Who is behind the transport's names, as far as they have enrolled.

    Attributes:
        transport: to them.
        log: of the run.
        ids: as the log names them, by the transport's name.
        bands: of the number of their samples.
        dropped: ids of those that are out of the round that is open.
    """

    transport: Transport
    log: RoundLog
    ids: dict[str, str] = field(default_factory=dict)
    bands: dict[str, int] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)

    def enrol(self, names: list[str], deadline_s: float | None) -> list[str]:
        """Have clients enrol that have not yet.

        Returns:
            Those of the names that are in the run now.
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
            if client in self.ids.values() or not 0 <= values["band"] <= MAX_BAND:
                self.log.refuse("duplicate", answer.content(), client)
                continue
            self.ids[name], self.bands[name] = client, values["band"]
        return [name for name in names if name in self.ids]

    def collect(
        self, kind: str, messages: Mapping[str, bytes], most_bytes: int, deadline_s: float | None
    ) -> Iterator[tuple[str, Message]]:
        """Send messages and give the answers that can be read.

        Each client's comes once, but for entries (``train``, ``logits``), whose signatures the log asks first: somebody
        else's under a client's name must not shut that client out.

        Args:
            kind: of the messages and of their answers.
            messages: by the transport's name.
            most_bytes: largest payload of an answer.
            deadline_s: how long to wait.
        """
        answered: set[str] = set()
        for name, content in self.transport.ask(messages, deadline_s):
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
        """Log that a selected client's answer is not in the sum; the first reason stands."""
        if client not in self.dropped:
            self.dropped.add(client)
            self.log.drop(client, reason)

    def receipts(self, lines: Mapping[str, bytes], deadline_s: float | None) -> None:
        """Give clients the receipts of a closed round; who does not hear of it has no receipt."""
        messages = {name: Message("receipt", {"receipt": line.decode()}).content() for name, line in lines.items()}
        most = self.log.run.update.most_bytes  # of answers that come now, too late, and are logged as such
        for _ in self.collect("receipt", messages, most, deadline_s):
            pass
