"""Masks that hide each client's integers from the server and cancel in their sum.

Bonawitz et al. 2017 (CCS, doi 10.1145/3133956.3133982), in groups of at most 100 clients and in the ring of 16-bit
integers. Each pair of clients agrees on a seed (X25519, HKDF-SHA256); one adds the seed's ChaCha20 key stream and the
other subtracts it. Each client also adds a key stream from its own seed, since a server that declares a late client
dropped would otherwise learn its update. Every member of the group holds an encrypted share of both secrets, the
client's own seed and its masking key. At the end each member reveals, for each client, a share of exactly one of them:
of the own seed if the update arrived, of the key if it did not. No member reveals both.

The server is assumed to be honest but curious, and truthful about dropped clients. Keys are signed by the clients, so
it cannot impersonate one client to another; clients that it invents are not detected.
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
"""Minimum size of a group; with two, each client would learn the other's update from the sum."""
RING_BYTES = 2

Ring = npt.NDArray[np.uint16]
_ONCE = bytes(12)
"""Nonce of a key that encrypts only one message."""


def groups_of(names: Sequence[str]) -> list[list[str]]:
    """Split clients into groups of nearly equal size, of at most :data:`MAX_GROUP` clients.

    Raises:
        UsageError: a group would have fewer than three clients.

    Example:
        >>> [len(group) for group in groups_of([str(number) for number in range(250)])]
        [84, 83, 83]
    """
    count = -(-len(names) // MAX_GROUP)
    if not count or len(names) // count < FEWEST_IN_GROUP:
        raise UsageError(
            f"Masks need {FEWEST_IN_GROUP} clients in a group and {len(names)} were selected; select more clients per "
            "round, or use update: int8."
        )
    return [list(part) for part in np.array_split(np.array(names, dtype=object), count)]


def threshold_of(size: int) -> int:
    """Return how many members of a group must answer: over two thirds, so any two such sets share a third.

    Example:
        >>> threshold_of(10)
        7
    """
    return 2 * size // 3 + 1


@dataclass(frozen=True)
class PublicKeys:
    """Public keys of a client for one round, 32 bytes each.

    Attributes:
        masking: key for the seeds of masks.
        sharing: key for the encryption of shares.
    """

    masking: bytes
    sharing: bytes

    def hex(self) -> str:
        """Return both keys in hexadecimal."""
        return (self.masking + self.sharing).hex()

    @classmethod
    def from_hex(cls, text: str) -> PublicKeys:
        """Parse the output of :meth:`hex`.

        Raises:
            DataError: the text is not 64 bytes in hexadecimal.
        """
        try:
            raw = bytes.fromhex(text)
        except ValueError as error:
            raise DataError("Keys for masks are not hexadecimal.") from error
        if len(raw) != 64:
            raise DataError(f"Keys for masks must have 64 bytes, got {len(raw)}.")
        return cls(raw[:32], raw[32:])


class Member:
    """Secrets and masks of a client in one masked round.

    Args:
        name: name of the client.
        context: bytes that bind everything to run, round and attempt.
    """

    def __init__(self, name: str, context: bytes) -> None:
        self._name, self._context = name, context
        self._masking, self._sharing = X25519PrivateKey.generate(), X25519PrivateKey.generate()
        self._own_seed = os.urandom(shamir.SECRET_BYTES)
        self._peers: dict[str, PublicKeys] = {}
        self._places: dict[str, int] = {}
        self._received: dict[str, bytes] = {}
        self._revealed = False

    @property
    def keys(self) -> PublicKeys:
        """Public keys."""
        return PublicKeys(self._masking.public_key().public_bytes_raw(), self._sharing.public_key().public_bytes_raw())

    def shares(self, keys: Mapping[str, PublicKeys], needed: int) -> dict[str, bytes]:
        """Return encrypted shares of both secrets for each other member.

        Args:
            keys: public keys of all members of the group, including this one.
            needed: number of members that can recover a secret.

        Raises:
            DataError: this client's keys are missing or altered, keys are repeated, the group is too small, or
                ``needed`` is too low.
        """
        if keys.get(self._name) != self.keys or len(keys) < FEWEST_IN_GROUP or len(set(keys.values())) < len(keys):
            raise DataError("The group's keys are not those of at least three clients including this one.")
        # With half or less, a server could ask disjoint sets for both secrets of one client.
        if not len(keys) / 2 < needed <= len(keys):
            raise DataError(f"{needed} of {len(keys)} shares would recover a secret; it must be more than half.")
        self._peers = {name: keys[name] for name in sorted(keys)}
        self._places = {name: place for place, name in enumerate(self._peers, start=1)}
        own = shamir.split(self._own_seed, len(keys), needed)
        key = shamir.split(self._masking.private_bytes_raw(), len(keys), needed)
        masks = {}
        for (name, public), first, second in zip(self._peers.items(), own, key, strict=True):
            if name == self._name:
                self._received[name] = first + second
            else:
                box = ChaCha20Poly1305(self._agreed(public.sharing, self._sharing, self._name, name))
                masks[name] = box.encrypt(_ONCE, first + second, self._context)
        return masks

    def take(self, boxes: Mapping[str, bytes]) -> None:
        """Open the shares that others encrypted for this client.

        Raises:
            DataError: one is from a client outside the group, or was altered.
        """
        for name, box in boxes.items():
            if name not in self._peers or name == self._name:
                raise DataError("Shares are from a client that is not in the group.")
            key = self._agreed(self._peers[name].sharing, self._sharing, name, self._name)
            try:
                self._received[name] = ChaCha20Poly1305(key).decrypt(_ONCE, box, self._context)
            except InvalidTag:
                raise DataError(f"The shares of {name} were altered in transit.") from None

    def masked(self, integers: npt.NDArray[np.int8]) -> Ring:
        """Return the integers under the masks with all members whose shares this client holds.

        Raises:
            DataError: this client holds shares of fewer than two other members.
        """
        others = [name for name in self._received if name != self._name]
        if len(others) < FEWEST_IN_GROUP - 1:
            raise DataError("This client shares masks with fewer than two others, so they would hide nothing.")
        # uint16 arithmetic wraps as the ring requires; int16 first, so that negative integers get their sign bits.
        total = integers.astype(np.int16).astype(np.uint16) + stream(self._own_seed, self._context, len(integers))
        for name in others:
            seed = self._agreed(self._peers[name].masking, self._masking, *sorted((self._name, name)))
            mask = stream(seed, self._context, len(integers))
            # The order of names gives the two members of a pair opposite signs.
            total = total + mask if self._name < name else total - mask
        return total

    def reveal(self, survivors: Sequence[str], needed: int) -> dict[str, bytes]:
        """Return a share for each member whose shares this client holds: of its own seed or of its key, never of both.

        Args:
            survivors: names of the members whose updates the server has.
            needed: number of members that can recover a secret.

        Raises:
            DataError: shares were revealed before, or there are fewer survivors than needed.
        """
        if self._revealed:
            raise DataError("Shares of this round were revealed before; a second set could uncover an update.")
        alive = set(survivors)
        if not alive <= set(self._received) or len(alive) < needed or self._name not in alive:
            raise DataError("Too few updates arrived, or the server names strangers; nothing is revealed.")
        self._revealed = True
        size = shamir.SHARE_BYTES
        return {name: pair[:size] if name in alive else pair[size:] for name, pair in sorted(self._received.items())}

    def _agreed(self, public: bytes, private: X25519PrivateKey, first: str, second: str) -> bytes:
        return agreed(public, private, self._context, first, second)


def agreed(public: bytes, private: X25519PrivateKey, context: bytes, first: str, second: str) -> bytes:
    """Return the seed shared by two clients, for one direction.

    Raises:
        DataError: the public key does not give a shared secret.
    """
    # Bind the key to the attempt and the direction, so that no key encrypts or masks twice.
    info = context + b"\0" + first.encode() + b"\0" + second.encode()
    try:
        secret = private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise DataError("A client's key for masks does not give a shared secret.") from error
    return HKDF(SHA256(), 32, None, info).derive(secret)


def stream(seed: bytes, context: bytes, count: int) -> Ring:
    """Return pseudorandom ring elements from a seed: ChaCha20's key stream under a derived key, (count,)."""
    key = HKDF(SHA256(), 32, None, b"leanmark mask stream\0" + context).derive(seed)
    # A constant nonce is safe, since each derived key produces one stream.
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
    """Return the exact sum of a group's integers.

    Args:
        sums: masked integers of the survivors.
        survivors: names of the clients that sent them.
        members: sorted names of all clients that shared their secrets, whose masks are in the sums.
        keys: public keys of all clients of the group; the points of shares follow the order of names.
        revealed: share of each member, by the survivor that sent it and by the member.
        needed: number of shares that recover a secret.
        context: context of the clients' masks.
        count: number of integers of an answer.

    Raises:
        DataError: there are too few shares, or wrong ones.
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
        # A wrong share gives a wrong key and so a wrong sum, which no later check would detect.
        if private.public_key().public_bytes_raw() != keys[name].masking:
            raise DataError(f"The shares do not recover the key of {name}; a client sent a wrong one.")
        for other in survivors:
            seed = agreed(keys[other].masking, private, context, *sorted((name, other)))
            mask = stream(seed, context, count)
            total = total - mask if other < name else total + mask
    # At most 100 clients of +-127 in a group: the sum fits 16 bits with its sign.
    return total.astype(np.int16).astype(np.int64)
