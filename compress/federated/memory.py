"""Clients simulated in one process, one after another: deterministic, with memory independent of their number."""

from __future__ import annotations

import functools
import json
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from certify.core.errors import CertificateError, DataError
from compress.federated.client import Client
from compress.federated.messages import Message

MOST_ALIVE = 1000
"""Maximum number of clients that stay in memory with the secrets of a masked round."""

FAULTS = 0xFA
"""Part of the seed that separates these draws from the selection of clients."""

Lost = Callable[[str, str, int], bool]


def nobody(name: str, kind: str, number: int) -> bool:
    """Return False: the faults of a transport without any."""
    return False


@dataclass(frozen=True)
class Faults:
    """Simulated clients that drop out during training or answer after the deadline; a seed fixes which.

    Attributes:
        names: names of all clients.
        lost: share of clients that drop out in each round; their number is rounded and exact.
        late: share of clients that answer after the deadline in each round; their number is rounded and exact.
        seed: seed of the choice.

    Example:
        >>> faults = Faults(("a", "b", "c", "d"), lost=0.5)
        >>> sum(faults(name, "train", 1) for name in faults.names)
        2
    """

    names: tuple[str, ...]
    lost: float = 0.0
    late: float = 0.0
    seed: int = 0

    def __call__(self, name: str, kind: str, number: int) -> bool:
        """Return whether a client is lost (``train``) or late (``late``) in a round; it answers all other messages."""
        place = _places(self.names, self.seed, number).get(name, len(self.names))
        lost, late = round(self.lost * len(self.names)), round(self.late * len(self.names))
        return place < lost if kind == "train" else kind == "late" and lost <= place < lost + late


@functools.lru_cache(maxsize=2)
def _places(names: tuple[str, ...], seed: int, number: int) -> dict[str, int]:
    """Return the positions of clients in the random order of a round."""
    order = np.random.default_rng((seed, number, FAULTS)).permutation(len(names))
    return {names[index]: place for place, index in enumerate(order.tolist())}


class Memory:
    """Transport whose clients are created for each message and discarded after the answer.

    Args:
        names: names of all clients.
        make: function that creates a client from its folder.
        lost: function of name, kind of message and round that returns whether the client drops out before it answers;
            for the kind ``late``, whether its answer to ``train`` comes only with the next messages.
    """

    name = "memory"

    def __init__(self, names: Sequence[str], make: Callable[[str], Client], lost: Lost = nobody) -> None:
        self._names, self._make, self._lost = tuple(names), make, lost
        self._alive: OrderedDict[str, Client] = OrderedDict()
        self._late: list[tuple[str, bytes]] = []

    def clients(self) -> Sequence[str]:
        """See :meth:`compress.federated.transport.Transport.clients`."""
        return self._names

    def ask(self, messages: Mapping[str, bytes], deadline_s: float | None = None) -> Iterator[tuple[str, bytes]]:
        """See :meth:`compress.federated.transport.Transport.ask`; a simulated deadline applies to late clients only."""
        late, self._late = self._late, []
        yield from late
        for name in sorted(messages):
            content = messages[name]
            message = Message.parse(content, len(content))
            kind, number = message.kind, _number(message)
            if self._lost(name, kind, number):
                self._alive.pop(name, None)
                continue
            answer = self._answer(name, content)
            if answer is None:
                continue
            if kind == "train" and self._lost(name, "late", number):
                self._late.append((name, answer))
            else:
                yield name, answer

    def _answer(self, name: str, message: bytes) -> bytes | None:
        client = self._alive.pop(name, None) or self._make(name)
        try:
            answer = client.answer(message)
        except (DataError, CertificateError):
            return None  # a client over a network would log it and send no answer
        if client.in_round:
            self._alive[name] = client
            while len(self._alive) > MOST_ALIVE:
                # Drop the least recently used, because its round is the most likely to be over.
                self._alive.popitem(last=False)
        return answer


def _number(message: Message) -> int:
    """Return the round of a message; 0 if it belongs to none."""
    begin = message.values.get("begin")
    return int(json.loads(begin)["number"]) if isinstance(begin, str) else 0
