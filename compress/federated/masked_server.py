"""Server's part of a masked round: it relays keys and shares, and computes the sums of the groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from certify.core.errors import DataError
from certify.core.federation import Begin, Signed
from compress.federated.collection import Clients
from compress.federated.masking import BOX_BYTES, checked_keys, context_of, group_of
from compress.federated.masks import PublicKeys, unmasked
from compress.federated.messages import Message
from compress.federated.shamir import SHARE_BYTES

Boxes = dict[str, dict[str, str]]


@dataclass
class MaskedServer:
    """A masked round, from keys to sums; clients are named by their ids.

    Attributes:
        clients: clients of the run.
        begun: start of the attempt.
        needed: number of members of a group that must answer.
        deadline_s: seconds to wait for each kind of answer; None waits for all.
    """

    clients: Clients
    begun: Signed[Begin]
    needed: int
    deadline_s: float | None
    _stated: dict[str, dict[str, str]] = field(default_factory=dict)
    _boxes: Boxes = field(default_factory=dict)

    @property
    def _line(self) -> str:
        return self.begun.line.decode()

    def prepare(self, names: Mapping[str, str]) -> Mapping[str, Mapping[str, str]]:
        """Collect keys, then shares.

        Args:
            names: the transport's names by client id.

        Returns:
            For each client that may answer, the shares that others encrypted for it.
        """
        begin, log = self.begun.message, self.clients.log
        message = Message("keys", {"begin": self._line}).content()
        for name, answer in self.clients.collect("keys", dict.fromkeys(names.values(), message), 0, self.deadline_s):
            client, stated = self.clients.ids[name], dict(answer.values)
            try:
                checked_keys(begin, client, stated)
            except DataError:
                log.refuse("signature", answer.content(), client)
                continue
            self._stated[client] = stated
        messages: dict[str, bytes] = {}
        size: dict[str, int] = {}
        for group in begin.groups:
            keys = {member: self._stated[member] for member in group if member in self._stated}
            if len(keys) >= self.needed:
                content = Message("shares", {"begin": self._line, "keys": keys}).content()
                messages |= {names[member]: content for member in keys}
                # Each member sends one box to each other member.
                size |= dict.fromkeys(keys, len(keys) - 1)
        most = BOX_BYTES * max(size.values(), default=0)
        for name, answer in self.clients.collect("shares", messages, most, self.deadline_s):
            client = self.clients.ids[name]
            if client not in size or len(answer.payload) != BOX_BYTES * size[client]:
                log.refuse("malformed", answer.content(), client)
                continue
            self._boxes[client] = self._addressed(client, answer.payload)
        members = [member for group in begin.groups for member in self._members(group)]
        return {member: {peer: self._boxes[peer][member] for peer in self._peers(member)} for member in members}

    def sums(
        self, names: Mapping[str, str], survivors: Sequence[str], read: Callable[[str], bytes], count: int
    ) -> tuple[npt.NDArray[np.int64], list[str]]:
        """Return the exact sum over all groups that can be unmasked, and the ids of the clients in it.

        Args:
            names: the transport's names by client id.
            survivors: ids of clients that answered.
            read: function that returns a client's masked answer.
            count: number of integers of an answer.
        """
        alive = {
            tuple(group): [member for member in group if member in set(survivors)]
            for group in self.begun.message.groups
        }
        # A group with too few survivors is lost: its masks cannot be removed, and should not be.
        whole = {group: those for group, those in alive.items() if len(those) >= self.needed}
        messages = {
            names[member]: Message("unmask", {"begin": self._line, "survivors": those}).content()
            for those in whole.values()
            for member in those
        }
        revealed: dict[str, dict[str, bytes]] = {}
        most = SHARE_BYTES * max(map(len, self.begun.message.groups))
        for name, answer in self.clients.collect("unmask", messages, most, self.deadline_s):
            client = self.clients.ids[name]
            members = self._members(group_of(self.begun.message, client))
            if len(answer.payload) != SHARE_BYTES * len(members):
                self.clients.log.refuse("malformed", answer.content(), client)
                continue
            cut = range(0, len(answer.payload), SHARE_BYTES)
            shares = [answer.payload[at : at + SHARE_BYTES] for at in cut]
            revealed[client] = dict(zip(members, shares, strict=True))
        total, counted = np.zeros(count, dtype=np.int64), []
        for group, those in whole.items():
            found = self._sum(
                group, those, {member: revealed[member] for member in those if member in revealed}, read, count
            )
            if found is not None:
                total += found
                counted += those
        return total, counted

    def _sum(
        self,
        group: Sequence[str],
        those: Sequence[str],
        revealed: Mapping[str, Mapping[str, bytes]],
        read: Callable[[str], bytes],
        count: int,
    ) -> npt.NDArray[np.int64] | None:
        """Return the sum of one group; None if it cannot be unmasked, so its answers are lost."""
        keys = {member: PublicKeys.from_hex(self._stated[member]["keys"]) for member in self._keyed(group)}
        rings = (np.frombuffer(read(member), "<u2").astype(np.uint16) for member in those)
        context = context_of(self.begun.message)
        try:
            return unmasked(rings, those, self._members(group), keys, revealed, self.needed, context, count)
        except DataError:
            return None

    def _keyed(self, group: Sequence[str]) -> list[str]:
        return sorted(member for member in group if member in self._stated)

    def _members(self, group: Sequence[str]) -> list[str]:
        """Return the members of a group that shared their secrets; none if they are too few."""
        members = sorted(member for member in group if member in self._boxes)
        return members if len(members) >= self.needed else []

    def _peers(self, client: str) -> list[str]:
        return [member for member in self._members(group_of(self.begun.message, client)) if member != client]

    def _addressed(self, client: str, payload: bytes) -> dict[str, str]:
        others = [member for member in self._keyed(group_of(self.begun.message, client)) if member != client]
        cut = range(0, len(payload), BOX_BYTES)
        return {member: payload[at : at + BOX_BYTES].hex() for member, at in zip(others, cut, strict=True)}
