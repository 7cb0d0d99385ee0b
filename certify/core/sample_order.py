"""Orders of the test samples that follow from what is measured, so that nobody chooses them.

The seed is a digest over both files and the data. A file that holds a table of answers in some order has, by holding
it, another digest and so another order: its maker can only try many files, never aim. An audit adds a secret of its
own, the salt, which nobody knew when the file was made.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable, Sequence

ENERGY = "energy"
"""Order of the samples that the windows go through; its first ones are also those that are changed."""
SCORING = "scoring"
AGAIN = "again"
"""Order in which part of the samples is scored a second time."""
SIMPLIFYING = "simplifying"
"""Order whose first samples the baseline must answer as before it was simplified."""


def fresh_salt() -> str:
    """A salt that nobody could know before."""
    return secrets.token_hex(16)


def order_seed(file_digests: Iterable[str], test_digest: str, salt: str = "") -> str:
    """Hex SHA-256 that all orders of a measurement follow from.

    Args:
        file_digests: of the models, the baseline's first.
        test_digest: of the test samples.
        salt: what an audit adds; empty for a measurement that anybody can repeat in the same order.
    """
    lines = ["leanmark sample order", *file_digests, test_digest, salt]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def ranked(digests: Sequence[str], seed: str, purpose: str) -> list[int]:
    """Positions of the samples, ordered by the SHA-256 of seed, purpose, position and the sample's digest.

    No random generator is used, whose stream might change with its version.

    Example:
        >>> ranked(["a", "b", "c"], "seed", "energy") == ranked(["a", "b", "c"], "seed", "energy")
        True
    """
    keys = [hashlib.sha256(f"{seed}/{purpose}/{i}/{digest}".encode()).digest() for i, digest in enumerate(digests)]
    return sorted(range(len(digests)), key=keys.__getitem__)
