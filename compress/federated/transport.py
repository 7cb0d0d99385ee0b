"""How messages reach clients: the one small interface between the round code and a network.

The round code knows names and bytes. The server's half (:mod:`compress.federated.coordinator`) hands a transport one
message for each client and takes whatever comes back; the client's half (:class:`Participant`) turns a message into an
answer. Neither opens a connection, reads a clock of the network or knows who carries the bytes, so that the same two
halves run in memory (:mod:`compress.federated.memory`) and over Flower::

    server process                                   client process
    Coordinator -> Transport.ask({name: bytes})  ->  Participant.answer(bytes) -> bytes
                <- (name, bytes), as they come   <-

What an adapter for a network has to do:

* server: make a class with the two members of :class:`Transport`. ``ask`` sends each message to its client and yields
  answers as they arrive until all have come or the deadline is over; a client that is offline, late or failed is left
  out, never waited for. Answers may come in any order and twice, be altered or be of somebody else: the coordinator
  checks all of that.
* client: keep one :class:`compress.federated.participant.Client` with its folder, and give every message to
  ``answer``. It holds its state on disk, so that a killed process starts again from its folder.
* nothing else: sums run in the order of the clients' names and not of arrival, so that every transport gives the same
  bits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol


class Participant(Protocol):
    """A client, seen from a transport."""

    def answer(self, message: bytes) -> bytes:
        """Give the answer to a message of the server.

        Raises:
            LeanmarkError: the message is not one of the server's, or the client takes no part now.
        """


class Transport(Protocol):
    """A way to the clients.

    Attributes:
        name: as the log of rounds states it, such as ``memory`` or ``flower``.
    """

    name: str

    def clients(self) -> Sequence[str]:
        """Names of the clients that can be asked now, in a fixed order.

        A name is an address: who signs for it, the client says when it enrols.
        """

    def ask(self, messages: Mapping[str, bytes], deadline_s: float | None = None) -> Iterator[tuple[str, bytes]]:
        """Send each client its message and yield ``(name, answer)`` as the answers come.

        Args:
            messages: by the client's name.
            deadline_s: seconds after which no answer is waited for; None waits for all that are alive.
        """
