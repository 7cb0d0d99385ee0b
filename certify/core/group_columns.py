"""Digests of group columns, bound to the test part that they describe."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping


def column_digest(test_digest: str, digests: Iterable[str], values: Iterable[str]) -> str:
    """Return the hex SHA-256 of one column: the test part's digest and the sorted lines ``sample value``.

    Example:
        >>> column_digest("00" * 32, ["ab" * 32], ["f"])[:8]
        'c6ab6106'
    """
    lines = sorted(f"{digest} {value}\n" for digest, value in zip(digests, values, strict=True))
    return hashlib.sha256("".join([f"{test_digest}\n", *lines]).encode()).hexdigest()


def columns_digest(test_digest: str, columns: Mapping[str, str]) -> str:
    """Return the hex SHA-256 over all columns of a data set, as stated in its certificate.

    Example:
        >>> columns_digest("00" * 32, {"sex": "ab" * 32})[:8]
        'a9d10814'
    """
    lines = sorted(f"{name} {digest}\n" for name, digest in columns.items())
    return hashlib.sha256("".join([f"{test_digest}\n", *lines]).encode()).hexdigest()
