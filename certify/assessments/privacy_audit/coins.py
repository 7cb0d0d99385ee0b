"""Coins that are committed to before a training and checked after it."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import rfc8785

Bits = npt.NDArray[np.bool_]


def coins_of(seed: str, count: int) -> Bits:
    """Derive fair coins from a secret: the bits of SHA-256 over the secret and a counter.

    Args:
        seed: secret of 64 hexadecimal digits, from the system's entropy.
        count: number of coins.

    Example:
        >>> coins_of("00" * 32, 8).astype(int).tolist()
        [0, 1, 0, 0, 0, 1, 0, 1]
    """
    blocks = -(-count // 256)
    # Counter mode over SHA-256: anybody with the secret gets the same coins, on any platform.
    stream = b"".join(hashlib.sha256(f"{seed} coins {number}".encode()).digest() for number in range(blocks))
    return np.unpackbits(np.frombuffer(stream, dtype=np.uint8))[:count].astype(bool)


def commitment_of(seed: str, terms: Any) -> str:
    """Commit to the secret of the coins, and to the terms by which the guesses will be judged.

    Args:
        seed: secret of the coins.
        terms: JSON values: numbers of canaries and guesses, digest of the canaries, and the claim.

    Returns:
        Hex SHA-256, which does not reveal the secret of 256 bits.
    """
    # The terms are committed to together with the coins, so that neither can be chosen after the scores.
    return hashlib.sha256(rfc8785.dumps({"seed": seed, "terms": terms})).hexdigest()


def pack_bits(bits: Bits) -> str:
    """Encode bits in hexadecimal, the first bit highest.

    Example:
        >>> pack_bits(np.array([True, False, False, False, False, False, False, True, True]))
        '8180'
    """
    return np.packbits(bits).tobytes().hex()


def unpack_bits(text: str, count: int) -> Bits:
    """Decode bits; the inverse of :func:`pack_bits`.

    Raises:
        ValueError: the text is not hexadecimal, or its length does not fit ``count`` bits.
    """
    packed = np.frombuffer(bytes.fromhex(text), dtype=np.uint8)
    # A longer text could hide a second set of bits after the first.
    if len(packed) != -(-count // 8):
        raise ValueError(f"{len(packed)} bytes of bits do not stand for {count} samples")
    return np.unpackbits(packed)[:count].astype(bool)
