"""Client's part of a masked round: messages around the arithmetic of :mod:`.masks`.

Keys for masks are signed with the client's enrolled key, so the server cannot impersonate one client to another. The
number of shares that recover a secret is fixed by the opening of the run. The bytes of keys and shares are counted in
the entry; binary parts are sent as payload.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from certify.core.errors import CertificateError, DataError
from certify.core.federation import Begin, Mask
from certify.core.federation.signing import client_id, peers_digest
from certify.core.signing_keys import PublicKey, SigningKey
from compress.federated.masks import RING_BYTES, Member, PublicKeys
from compress.federated.messages import Message
from compress.federated.shamir import SHARE_BYTES

DOMAIN = b"leanmark federation masks v1\0"
BOX_BYTES = 2 * SHARE_BYTES + 16
"""Size of two encrypted shares, including the authentication tag."""


def context_of(begin: Begin) -> bytes:
    """Return the bytes that bind keys, shares and masks to one attempt at a round."""
    return DOMAIN + bytes.fromhex(begin.run) + bytes.fromhex(begin.nonce)


def group_of(begin: Begin, client: str) -> tuple[str, ...]:
    """Return the group of a client.

    Raises:
        DataError: the client is in no group.
    """
    for group in begin.groups:
        if client in group:
            return group
    raise DataError("The client is in no group of the round, so its update would not be masked.")


@dataclass
class MaskedRound:
    """State of a client between the messages of a masked round.

    Attributes:
        begin: start of the attempt.
        group: ids of the clients whose masks cancel, including this one.
        needed: number of members that can recover a secret.
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
        """Generate fresh secrets.

        Raises:
            DataError: the client is in no group.
        """
        return cls(begin, group_of(begin, client), needed, client, Member(client, context_of(begin)))

    def keys(self, key: SigningKey) -> Message:
        """Return this client's public keys, signed."""
        keys = self._member.keys.hex()
        signature = key.sign(_signed(self.begin, keys))
        message = Message("keys", {"keys": keys, "public": key.public.hex, "signature": signature.hex()})
        self._up += len(message.content())
        return message

    def shares(self, request: Message) -> Message:
        """Return the encrypted shares for the other members, concatenated in the order of their ids.

        Raises:
            DataError: keys are malformed, not signed by their clients, or from clients outside the group.
        """
        values = request.expect("shares", begin=str, keys=dict)
        keys = {name: checked_keys(self.begin, name, stated) for name, stated in values["keys"].items()}
        # The signed start names the group, so that a server cannot add its own clients.
        if not set(keys) <= set(self.group):
            raise DataError("Keys are from clients that are not in the group.")
        boxes = self._member.shares(keys, self.needed)
        message = Message("shares", {}, b"".join(boxes[name] for name in sorted(boxes)))
        self._down += len(request.content())
        self._up += len(message.content())
        return message

    def hide(self, integers: np.ndarray[Any, np.dtype[np.int8]], boxes: Mapping[str, Any]) -> bytes:
        """Return the bytes of the masked integers.

        Args:
            integers: integers of the update.
            boxes: encrypted shares of the other members for this client, in hexadecimal, by their ids.

        Raises:
            DataError: shares are malformed, altered or too few.
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
        """Return the masking for the entry; its bytes include the shares that the client reveals later."""
        # The entry is signed before the shares are revealed, so their bytes are counted in advance.
        later = len(Message("unmask", {}, bytes(SHARE_BYTES * self._boxes)).content())
        return Mask(peers_digest(self.group), self._up + later, self._down)

    def unmask(self, request: Message) -> Message:
        """Return a share for each member, in the order of their ids.

        Raises:
            DataError: too few answered, or the client has revealed shares before.
        """
        values = request.expect("unmask", begin=str, survivors=list)
        revealed = self._member.reveal([str(client) for client in values["survivors"]], self.needed)
        return Message("unmask", {}, b"".join(revealed[name] for name in sorted(revealed)))


def masked_bytes(count: int) -> int:
    """Return the size of a masked update with a number of integers."""
    return RING_BYTES * count


def _signed(begin: Begin, keys: str) -> bytes:
    return context_of(begin) + b"keys\0" + bytes.fromhex(keys)


def checked_keys(begin: Begin, client: str, stated: Any) -> PublicKeys:
    """Return the keys of a client after checking its signature, as the server and every other client do.

    Raises:
        DataError: the keys are malformed, or not signed by the client.
    """
    if not isinstance(stated, dict) or set(stated) != {"keys", "public", "signature"}:
        raise DataError("Keys for masks must be an object with 'keys', 'public' and 'signature'.")
    keys = PublicKeys.from_hex(str(stated["keys"]))
    try:
        public, signature = PublicKey(bytes.fromhex(str(stated["public"]))), bytes.fromhex(str(stated["signature"]))
    except ValueError as error:
        raise DataError("Keys for masks are not hexadecimal.") from error
    except CertificateError as error:  # another length
        raise DataError(str(error)) from error
    if client_id(public.hex) != client or not public.signed(_signed(begin, keys.hex()), signature):
        raise DataError(f"Keys for masks are not signed by client {client[:16]}.")
    return keys
