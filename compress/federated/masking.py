"""A client's share of a masked round: its messages, around the arithmetic of :mod:`.masks`.

Keys for masks are signed with the key that enrolled, so that a server cannot put itself between two clients. How many
must stay for a secret to be recovered stands in the opening of the run and is not asked again. What keys and shares
cost in bytes is counted for the entry; binary parts travel as payload.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from certify.core.errors import DataError
from certify.core.federation import Begin, Mask
from certify.core.federation.signing import client_id, peers_digest
from certify.core.signing_keys import PublicKey, SigningKey
from compress.federated.masks import RING_BYTES, Member, PublicKeys
from compress.federated.messages import Message
from compress.federated.shamir import SHARE_BYTES

DOMAIN = b"leanmark federation masks v1\0"
BOX_BYTES = 2 * SHARE_BYTES + 16
"""Two shares, and the tag of their encryption."""


def context_of(begin: Begin) -> bytes:
    """What binds keys, shares and masks to one attempt at one round."""
    return DOMAIN + bytes.fromhex(begin.run) + bytes.fromhex(begin.nonce)


def group_of(begin: Begin, client: str) -> tuple[str, ...]:
    """The group of a client.

    Raises:
        DataError: it is in none.
    """
    for group in begin.groups:
        if client in group:
            return group
    raise DataError("The round has no group with this client, so nothing would be masked.")


@dataclass
class MaskedRound:
    """What a client holds between the messages of one masked round.

    Attributes:
        begin: of the attempt.
        group: ids of the clients whose masks cancel, itself among them.
        needed: members that can recover a secret.
    """

    begin: Begin
    group: tuple[str, ...]
    needed: int
    _client: str
    _member: Member
    _up: int = 0
    _down: int = 0
    _boxes: int = 0

    @classmethod
    def start(cls, client: str, begin: Begin, needed: int) -> MaskedRound:
        """Make fresh secrets.

        Raises:
            DataError: the client is in no group.
        """
        return cls(begin, group_of(begin, client), needed, client, Member(client, context_of(begin)))

    def keys(self, key: SigningKey) -> Message:
        """This client's public keys, signed."""
        keys = self._member.keys.hex()
        signature = key.sign(_signed(self.begin, keys))
        made = Message("keys", {"keys": keys, "public": key.public.hex, "signature": signature.hex()})
        self._up += len(made.content())
        return made

    def shares(self, given: Message) -> Message:
        """Shares for the others, in the order of their ids, one after the other.

        Raises:
            DataError: keys are malformed, of strangers, or not signed by their clients.
        """
        values = given.expect("shares", begin=str, keys=dict)
        keys = {name: checked_keys(self.begin, name, one) for name, one in values["keys"].items()}
        if not set(keys) <= set(self.group):
            raise DataError("Keys came from clients that are not in the group.")
        boxes = self._member.shares(keys, self.needed)
        made = Message("shares", {}, b"".join(boxes[name] for name in sorted(boxes)))
        self._down += len(given.content())
        self._up += len(made.content())
        return made

    def hide(self, integers: np.ndarray[Any, np.dtype[np.int8]], boxes: Mapping[str, Any]) -> bytes:
        """The integers under their masks, as they travel.

        Args:
            integers: of the update.
            boxes: shares of the others for this client, in hexadecimal, by their ids.

        Raises:
            DataError: shares are malformed, altered or of too few.
        """
        try:
            opened = {name: bytes.fromhex(box) for name, box in boxes.items()}
        except (TypeError, ValueError) as error:
            raise DataError("Shares for this client are not hexadecimal.") from error
        self._member.take(opened)
        self._boxes = len(opened) + 1
        self._down += sum(map(len, opened.values()))
        return self._member.masked(integers).astype("<u2").tobytes()

    def record(self) -> Mask:
        """For the entry; the shares that the client reveals afterwards are counted too."""
        later = len(Message("unmask", {}, bytes(SHARE_BYTES * self._boxes)).content())
        return Mask(peers_digest(self.group), self._up + later, self._down)

    def unmask(self, given: Message) -> Message:
        """A share for each member, in the order of their ids.

        Raises:
            DataError: too few answered, or the client has revealed shares before.
        """
        values = given.expect("unmask", begin=str, survivors=list)
        revealed = self._member.reveal([str(one) for one in values["survivors"]], self.needed)
        return Message("unmask", {}, b"".join(revealed[name] for name in sorted(revealed)))


def masked_bytes(count: int) -> int:
    """Bytes of a masked update of so many integers."""
    return RING_BYTES * count


def _signed(begin: Begin, keys: str) -> bytes:
    return context_of(begin) + b"keys\0" + bytes.fromhex(keys)


def checked_keys(begin: Begin, client: str, one: Any) -> PublicKeys:
    """The keys of a client, as it signed them; asked by the server before it passes them on, and by every other client.

    Raises:
        DataError: they are malformed, or not signed by the client.
    """
    if not isinstance(one, dict) or set(one) != {"keys", "public", "signature"}:
        raise DataError("Keys for masks are not stated as they should be.")
    keys = PublicKeys.from_hex(str(one["keys"]))
    try:
        public, signature = PublicKey(bytes.fromhex(str(one["public"]))), bytes.fromhex(str(one["signature"]))
    except ValueError as error:
        raise DataError("Keys for masks are not hexadecimal.") from error
    if client_id(public.hex) != client or not public.signed(_signed(begin, keys.hex()), signature):
        raise DataError(f"Keys for masks are not signed by client {client[:16]}.")
    return keys
