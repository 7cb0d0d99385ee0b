"""Clients simulated in one process, one after the other: deterministic, and as small for thousands as for ten."""

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
"""Clients of a masked round that hold secrets between its messages."""

FAULTS = 0xFA
"""Tells these draws apart from those of who takes part."""

Lost = Callable[[str, str, int], bool]


def nobody(name: str, kind: str, number: int) -> bool:
    """The faults of a transport that has none."""
    return False


@dataclass(frozen=True)
class Faults:
    """Clients that go away while they train, or answer after the deadline; the same ones under one seed.

    Attributes:
        names: of all clients.
        lost: share of them that goes away in a round; exactly that many, rounded.
        late: likewise, the share whose answer comes after the deadline.
        seed: of who it is.

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
        """Whether a client is lost (``train``) or late (``late``) in a round; it answers all other messages."""
        place = _places(self.names, self.seed, number).get(name, len(self.names))
        lost, late = round(self.lost * len(self.names)), round(self.late * len(self.names))
        return place < lost if kind == "train" else kind == "late" and lost <= place < lost + late


@functools.lru_cache(maxsize=2)
def _places(names: tuple[str, ...], seed: int, number: int) -> dict[str, int]:
    """The clients in an order that is drawn for a round."""
    order = np.random.default_rng((seed, number, FAULTS)).permutation(len(names))
    return {names[index]: place for place, index in enumerate(order.tolist())}


class Memory:
    """A transport whose clients are made when they are asked, and forgotten when they have answered.

    Args:
        names: of all clients.
        make: makes one over its folder.
        lost: whether a client goes away before it answers a message of a kind in a round; ``late`` is asked as a kind
            too, for answers to ``train`` that come after the deadline, with the next messages.
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
        """See :meth:`compress.federated.transport.Transport.ask`; a simulated deadline binds whom the faults name."""
        late, self._late = self._late, []
        yield from late
        for name in sorted(messages):
            message = Message.parse(messages[name], len(messages[name]))
            kind, number = message.kind, _number(message)
            if self._lost(name, kind, number):
                self._alive.pop(name, None)
                continue
            answer = self._answer(name, messages[name])
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
            return None  # as a client over a network, which would log it on its side
        if client.in_round:
            self._alive[name] = client
            while len(self._alive) > MOST_ALIVE:
                self._alive.popitem(last=False)
        return answer


def _number(message: Message) -> int:
    """The round that a message belongs to; 0 where it is none's."""
    begin = message.values.get("begin")
    return int(json.loads(begin)["number"]) if isinstance(begin, str) else 0
