"""Orders of the test samples that follow from the measured files, so that nobody can choose them.

The seed is a digest over both files and the data. Storing a table of answers in a file changes its digest and so the
order: a maker can try many files, but not target an order. An audit adds a secret of its own, the salt, which was
unknown when the file was made.
"""

from __future__ import annotations

import functools
import hashlib
import secrets
from collections.abc import Iterable, Sequence

ENERGY = "energy"
"""Order of the samples of the windows; its first samples are also the changed ones."""
SCORING = "scoring"
AGAIN = "again"
"""Order in which some samples are scored a second time."""
SIMPLIFYING = "simplifying"
"""Order whose first samples must give the same outputs before and after the baseline's simplification."""


def fresh_salt() -> str:
    """Return a new, unpredictable salt."""
    return secrets.token_hex(16)


def order_seed(file_digests: Iterable[str], test_digest: str, salt: str = "") -> str:
    """Return the hex SHA-256 that seeds all orders of a measurement.

    Args:
        file_digests: digests of the models, the baseline's first.
        test_digest: digest of the test samples.
        salt: text added by an audit; empty for a measurement that anybody can repeat in the same order.
    """
    lines = ["leanmark sample order", *file_digests, test_digest, salt]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def ranked(digests: Sequence[str], seed: str, purpose: str) -> list[int]:
    """Return the positions of the samples, ordered by the SHA-256 of seed, purpose, position and sample digest.

    This avoids random generators, whose streams may change between versions.

    Example:
        >>> ranked(["a", "b", "c"], "seed", "energy") == ranked(["a", "b", "c"], "seed", "energy")
        True
    """
    return list(_ranked(tuple(digests), seed, purpose))


# Several guards ask for the orders of the same evidence, one digest per sample each time.
@functools.lru_cache(maxsize=4)
def _ranked(digests: tuple[str, ...], seed: str, purpose: str) -> tuple[int, ...]:
    keys = [hashlib.sha256(f"{seed}/{purpose}/{i}/{digest}".encode()).digest() for i, digest in enumerate(digests)]
    return tuple(sorted(range(len(digests)), key=keys.__getitem__))
