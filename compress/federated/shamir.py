"""Shares of a secret of which so many together give it back, and fewer say nothing (Shamir 1979)."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from certify.core.errors import DataError, UsageError

PRIME = 2**256 + 297
"""The smallest prime above every secret of 32 bytes."""
SECRET_BYTES = 32
SHARE_BYTES = 33


def split(secret: bytes, holders: int, needed: int) -> list[bytes]:
    """Cut a secret into shares, the first for place 1; coefficients come from the system's entropy.

    Args:
        secret: 32 bytes.
        holders: number of shares.
        needed: shares that give it back.

    Raises:
        UsageError: more are needed than there are, or none.

    Example:
        >>> shares = split(b"s" * 32, holders=5, needed=3)
        >>> joined({5: shares[4], 1: shares[0], 2: shares[1]}, needed=3) == b"s" * 32
        True
    """
    if not 1 <= needed <= holders:
        raise UsageError(f"{needed} of {holders} shares cannot be needed; take 1 to {holders}.")
    if len(secret) != SECRET_BYTES:
        raise UsageError(f"A secret of {SECRET_BYTES} bytes is shared, got {len(secret)}.")
    numbers = [int.from_bytes(secret, "big"), *(secrets.randbelow(PRIME) for _ in range(needed - 1))]
    return [_value(numbers, place).to_bytes(SHARE_BYTES, "big") for place in range(1, holders + 1)]


def joined(shares: Mapping[int, bytes], needed: int) -> bytes:
    """The secret, by Lagrange's interpolation at 0.

    Args:
        shares: by place, from 1; the first ``needed`` in order are used.
        needed: shares that give it back.

    Raises:
        DataError: there are too few, or they are not shares of one secret of 32 bytes.
    """
    if len(shares) < needed:
        raise DataError(f"{needed} shares are needed to give a secret back and {len(shares)} came.")
    places = sorted(shares)[:needed]
    found = 0
    for place in places:
        above = below = 1
        for other in places:
            if other != place:
                above = above * other % PRIME
                below = below * (other - place) % PRIME
        found += int.from_bytes(shares[place], "big") * above * pow(below, -1, PRIME)
    found %= PRIME
    if found >= 2 ** (8 * SECRET_BYTES):
        raise DataError("The shares are not of one secret; somebody sent a wrong one.")
    return found.to_bytes(SECRET_BYTES, "big")


def _value(numbers: list[int], place: int) -> int:
    """A polynomial at a place (Horner)."""
    value = 0
    for number in reversed(numbers):
        value = (value * place + number) % PRIME
    return value
