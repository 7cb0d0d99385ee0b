"""Masks that hide each client's integers from the server and cancel in their sum.

Bonawitz et al. 2017 (CCS, doi 10.1145/3133956.3133982), in groups of at most 100 clients and in the ring of 16-bit
integers. Each pair of clients agrees on a seed (X25519, HKDF-SHA256), which one adds as a ChaCha20 key stream and the
other subtracts. Each client also adds a stream of its own, since a server that calls a late client dropped would
otherwise learn its update. Of both secrets every member of the group holds a share, encrypted for it. At the end the
members send, for each other one, a share of exactly one of the two: of the own seed where the update came, of the key
where it did not. Nobody sends both.

The server is taken to be curious and honest about who dropped out; keys are signed by the clients, so that it cannot
put itself between two of them. Clients that it invents are not noticed.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from certify.core.errors import DataError, UsageError
from certify.core.federation.fields import MAX_GROUP
from compress.federated import shamir

FEWEST_IN_GROUP = 3
"""With two, each knows the other's update from the sum."""
RING_BYTES = 2

Ring = npt.NDArray[np.uint16]
_ONCE = bytes(12)
"""The nonce of a key that encrypts one message only."""


def groups_of(names: Sequence[str]) -> list[list[str]]:
    """Cut clients into groups as even as can be.

    Raises:
        UsageError: a group would have fewer than three clients.

    Example:
        >>> [len(group) for group in groups_of([str(number) for number in range(250)])]
        [84, 83, 83]
    """
    count = -(-len(names) // MAX_GROUP)
    if not count or len(names) // count < FEWEST_IN_GROUP:
        raise UsageError(
            f"Masks need {FEWEST_IN_GROUP} clients in a group and {len(names)} were selected; take more clients a "
            "round, or update: int8."
        )
    return [list(part) for part in np.array_split(np.array(names, dtype=object), count)]


def threshold_of(size: int) -> int:
    """Return how many of a group must stay: over two thirds, so that no two sets of them can hear different things.

    Example:
        >>> threshold_of(10)
        7
    """
    return 2 * size // 3 + 1


@dataclass(frozen=True)
class PublicKeys:
    """Keys of one client for one round, 32 bytes each.

    Attributes:
        masking: for the seeds of masks.
        sharing: for the encryption of shares.
    """

    masking: bytes
    sharing: bytes

    def hex(self) -> str:
        """Both, as they travel."""
        return (self.masking + self.sharing).hex()

    @classmethod
    def from_hex(cls, text: str) -> PublicKeys:
        """The inverse of :meth:`hex`.

        Raises:
            DataError: it is not 64 bytes in hexadecimal.
        """
        try:
            raw = bytes.fromhex(text)
        except ValueError as error:
            raise DataError("Keys for masks are not hexadecimal.") from error
        if len(raw) != 64:
            raise DataError(f"Keys for masks have 64 bytes, got {len(raw)}.")
        return cls(raw[:32], raw[32:])


class Member:
    """A client's half of one masked round.

    Args:
        name: its own.
        context: bytes that bind everything to run, round and attempt.
    """

    def __init__(self, name: str, context: bytes) -> None:
        self._name, self._context = name, context
        self._masking, self._sharing = X25519PrivateKey.generate(), X25519PrivateKey.generate()
        self._own_seed = os.urandom(shamir.SECRET_BYTES)
        self._peers: dict[str, PublicKeys] = {}
        self._places: dict[str, int] = {}
        self._held: dict[str, bytes] = {}
        self._revealed = False

    @property
    def keys(self) -> PublicKeys:
        """The public halves."""
        return PublicKeys(self._masking.public_key().public_bytes_raw(), self._sharing.public_key().public_bytes_raw())

    def shares(self, keys: Mapping[str, PublicKeys], needed: int) -> dict[str, bytes]:
        """Shares of both secrets for each other member, encrypted.

        Args:
            keys: of all members of the group, this one among them.
            needed: members that can recover a secret.

        Raises:
            DataError: this client's keys are missing or others, or the group is too small or needs too few.
        """
        if keys.get(self._name) != self.keys or len(keys) < FEWEST_IN_GROUP or len(set(keys.values())) < len(keys):
            raise DataError("The group's keys are not those of three clients or more, this one among them.")
        if not len(keys) / 2 < needed <= len(keys):
            raise DataError(f"{needed} of {len(keys)} shares are to recover a secret; more than half must be needed.")
        self._peers = {name: keys[name] for name in sorted(keys)}
        self._places = {name: place for place, name in enumerate(self._peers, start=1)}
        own = shamir.split(self._own_seed, len(keys), needed)
        key = shamir.split(self._masking.private_bytes_raw(), len(keys), needed)
        made = {}
        for (name, public), first, second in zip(self._peers.items(), own, key, strict=True):
            if name == self._name:
                self._held[name] = first + second
            else:
                box = ChaCha20Poly1305(self._agreed(public.sharing, self._sharing, self._name, name))
                made[name] = box.encrypt(_ONCE, first + second, self._context)
        return made

    def take(self, boxes: Mapping[str, bytes]) -> None:
        """Open the shares that others encrypted for this client.

        Raises:
            DataError: one is of a stranger or was altered.
        """
        for name, box in boxes.items():
            if name not in self._peers or name == self._name:
                raise DataError("Shares came from a client that is not in the group.")
            key = self._agreed(self._peers[name].sharing, self._sharing, name, self._name)
            try:
                self._held[name] = ChaCha20Poly1305(key).decrypt(_ONCE, box, self._context)
            except InvalidTag:
                raise DataError(f"The shares of {name} were altered on their way.") from None

    def masked(self, integers: npt.NDArray[np.int8]) -> Ring:
        """The integers under the masks of all whose shares this client holds.

        Raises:
            DataError: nobody else's shares came.
        """
        others = [name for name in self._held if name != self._name]
        if len(others) < FEWEST_IN_GROUP - 1:
            raise DataError("Fewer than two others share masks with this client, so they would hide nothing.")
        total = integers.astype(np.int16).astype(np.uint16) + stream(self._own_seed, self._context, len(integers))
        for name in others:
            seed = self._agreed(self._peers[name].masking, self._masking, *sorted((self._name, name)))
            mask = stream(seed, self._context, len(integers))
            total = total + mask if self._name < name else total - mask
        return total

    def reveal(self, survivors: Sequence[str], needed: int) -> dict[str, bytes]:
        """A share for each member whose shares this client holds: of the own seed or of the key, never of both.

        Args:
            survivors: whose updates the server has.
            needed: as for the shares.

        Raises:
            DataError: asked twice, or fewer survived than are needed.
        """
        if self._revealed:
            raise DataError("Shares of this round were revealed before; a second set could uncover an update.")
        alive = set(survivors)
        if not alive <= set(self._held) or len(alive) < needed or self._name not in alive:
            raise DataError("Too few updates arrived, or the server names strangers; nothing is revealed.")
        self._revealed = True
        size = shamir.SHARE_BYTES
        return {name: held[:size] if name in alive else held[size:] for name, held in sorted(self._held.items())}

    def _agreed(self, public: bytes, private: X25519PrivateKey, first: str, second: str) -> bytes:
        return agreed(public, private, self._context, first, second)


def agreed(public: bytes, private: X25519PrivateKey, context: bytes, first: str, second: str) -> bytes:
    """A seed that two clients have in common, for one direction.

    Raises:
        DataError: the public key is not a point that gives a secret.
    """
    info = context + b"\0" + first.encode() + b"\0" + second.encode()
    try:
        secret = private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise DataError("A client's key for masks gives no secret.") from error
    return HKDF(SHA256(), 32, None, info).derive(secret)


def stream(seed: bytes, context: bytes, count: int) -> Ring:
    """Random numbers of the ring from a seed: ChaCha20's key stream under a key of its own, (count,)."""
    key = HKDF(SHA256(), 32, None, b"leanmark mask stream\0" + context).derive(seed)
    encryptor = Cipher(algorithms.ChaCha20(key, bytes(16)), mode=None).encryptor()
    return np.frombuffer(encryptor.update(bytes(RING_BYTES * count)), "<u2").astype(np.uint16)


def unmasked(
    sums: Iterable[Ring],
    survivors: Sequence[str],
    members: Sequence[str],
    keys: Mapping[str, PublicKeys],
    revealed: Mapping[str, Mapping[str, bytes]],
    needed: int,
    context: bytes,
    count: int,
) -> npt.NDArray[np.int64]:
    """The exact sum of a group's integers, as the server finds it.

    Args:
        sums: masked integers of the survivors.
        survivors: whose answers those are.
        members: whose masks are in them: all that had shared their secrets, sorted.
        keys: of all clients of the group; places of shares follow their order.
        revealed: share of each member, by the survivor who sent it and by the member.
        needed: shares that recover a secret.
        context: as the clients have it.
        count: integers of an answer.

    Raises:
        DataError: too few shares came, or wrong ones.
    """
    total = np.zeros(count, dtype=np.uint16)
    for masked in sums:
        total = total + masked
    places = {name: place for place, name in enumerate(sorted(keys), start=1)}
    alive = set(survivors)
    for name in members:
        shares = {places[sender]: each[name] for sender, each in revealed.items() if name in each}
        secret = shamir.joined(shares, needed)
        if name in alive:
            total = total - stream(secret, context, count)
            continue
        private = X25519PrivateKey.from_private_bytes(secret)
        if private.public_key().public_bytes_raw() != keys[name].masking:
            raise DataError(f"The shares do not give back the key of {name}; somebody sent a wrong one.")
        for other in survivors:
            seed = agreed(keys[other].masking, private, context, *sorted((name, other)))
            mask = stream(seed, context, count)
            total = total - mask if other < name else total + mask
    return total.astype(np.int16).astype(np.int64)
