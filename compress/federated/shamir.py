"""Shamir's secret sharing (1979): a threshold of shares recovers a secret, and fewer reveal nothing."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

from certify.core.errors import DataError, UsageError

PRIME = 2**256 + 297
"""The smallest prime above all secrets of 32 bytes."""
SECRET_BYTES = 32
# A value below the prime may need one bit more than a secret.
SHARE_BYTES = 33


def split(secret: bytes, holders: int, needed: int) -> list[bytes]:
    """Split a secret into shares at the points 1, 2, ...; coefficients come from the system's entropy.

    Args:
        secret: 32 bytes.
        holders: number of shares.
        needed: number of shares that recover the secret.

    Raises:
        UsageError: ``needed`` is not in 1 to ``holders``, or the secret has another length.

    Example:
        >>> shares = split(b"s" * 32, holders=5, needed=3)
        >>> joined({5: shares[4], 1: shares[0], 2: shares[1]}, needed=3) == b"s" * 32
        True
    """
    if not 1 <= needed <= holders:
        raise UsageError(f"The 'needed' parameter of split must be in 1 to {holders}, got {needed}.")
    if len(secret) != SECRET_BYTES:
        raise UsageError(f"The secret must have {SECRET_BYTES} bytes, got {len(secret)}.")
    numbers = [int.from_bytes(secret, "big"), *(secrets.randbelow(PRIME) for _ in range(needed - 1))]
    return [_value(numbers, place).to_bytes(SHARE_BYTES, "big") for place in range(1, holders + 1)]


def joined(shares: Mapping[int, bytes], needed: int) -> bytes:
    """Recover a secret by Lagrange interpolation at 0.

    Args:
        shares: shares by point; the first ``needed`` in order are used.
        needed: number of shares that recover the secret.

    Raises:
        DataError: there are too few shares, or they are not of one secret of 32 bytes.
    """
    if len(shares) < needed:
        raise DataError(f"The shares must be at least {needed} to recover the secret, got {len(shares)}.")
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
    # Honest shares give a value below 2^256, but wrong ones nearly always do too, so this detects few of them.
    if found >= 2 ** (8 * SECRET_BYTES):
        raise DataError("The shares are not of one secret; a client sent a wrong one.")
    return found.to_bytes(SECRET_BYTES, "big")


def _value(numbers: list[int], place: int) -> int:
    """Evaluate a polynomial at a point (Horner)."""
    value = 0
    for number in reversed(numbers):
        value = (value * place + number) % PRIME
    return value
