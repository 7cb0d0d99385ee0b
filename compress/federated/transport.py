"""Interface between the code of a round and a network.

Server and client exchange only names and bytes. The server half (:mod:`compress.federated.coordinator`) gives a
transport one message for each client and accepts any answers; the client half (:class:`Participant`) turns a message
into an answer. Neither opens connections, so both run unchanged in memory (:mod:`compress.federated.memory`) and over
Flower (:mod:`compress.federated.flower`)::

    server process                                   client process
    Coordinator -> Transport.ask({name: bytes})  ->  Participant.answer(bytes) -> bytes
                <- (name, bytes), on arrival     <-

An adapter for a network needs:

* server: a class with the members of :class:`Transport`. ``ask`` sends each message to its client and yields answers on
  arrival, until all have arrived or the deadline has passed; it does not wait for clients that are offline or failed.
  Answers may arrive in any order, repeatedly, altered or from someone else: the coordinator checks them.
* client: one :class:`compress.federated.client.Client` with its folder, whose ``answer`` gets every message. Its state
  is on disk, so that a killed process continues from its folder.

Sums are taken in the order of the clients' names and not of arrival, so every transport gives the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol


class Participant(Protocol):
    """A client as seen by a transport."""

    def answer(self, message: bytes) -> bytes:
        """Return the answer to a message of the server.

        Raises:
            LeanmarkError: the message is invalid or not from the server.
        """


class Transport(Protocol):
    """Exchange of messages with clients.

    Attributes:
        name: name in the log of rounds, such as ``memory`` or ``flower``.
    """

    name: str

    def clients(self) -> Sequence[str]:
        """Return the names of available clients, in a fixed order.

        A name is only an address; the client states its key when it enrols.
        """

    def ask(self, messages: Mapping[str, bytes], deadline_s: float | None = None) -> Iterator[tuple[str, bytes]]:
        """Send each client its message and yield ``(name, answer)`` on arrival.

        Args:
            messages: messages by the client's name.
            deadline_s: maximum seconds to wait for answers; None waits for all clients that are online.
        """
