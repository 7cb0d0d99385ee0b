"""Check of a noisy pass with a source of randomness that repeats its bytes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from certify.core.errors import ModelError
from certify.testing.checks import CheckFailed


def require_refusal_without_noise(apply: Callable[[], object]) -> None:
    """Apply a pass without noise, and check that its own test of the sums stops it.

    Its ledger would be the same with and without noise, so a trainer must test its sums.

    Raises:
        CheckFailed: it trained anyway.
    """
    with silent_entropy():
        try:
            apply()
        except ModelError:
            return
    raise CheckFailed(
        "trained on sums without noise, and no test of them stopped it; draw noise from os.urandom and call "
        "compress.private.noise_check.require_noise before the first step"
    )


@contextlib.contextmanager
def silent_entropy() -> Iterator[None]:
    """Make the system's entropy return the same bytes each time."""
    entropy = os.urandom
    os.urandom = lambda count: b"\x55" * count
    try:
        yield
    finally:
        os.urandom = entropy
