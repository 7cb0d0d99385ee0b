"""What a noisy pass does where its source of noise gives the same bytes each time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from certify.core.errors import ModelError
from certify.testing.checks import CheckFailed


def require_refusal_without_noise(apply: Callable[[], object]) -> None:
    """Apply a pass without noise and see that a test of its own sums stops it.

    Its ledger would say the same with noise and without, so that a trainer has to ask its sums.

    Raises:
        CheckFailed: it trained all the same.
    """
    with silent_entropy():
        try:
            apply()
        except ModelError:
            return
    raise CheckFailed(
        "trained on sums that hold no noise, and no test of them stopped it; draw noise from os.urandom and call "
        "compress.private.noise_check.require_noise before the first step"
    )


@contextlib.contextmanager
def silent_entropy() -> Iterator[None]:
    """Let the system's entropy give the same bytes each time."""
    entropy = os.urandom
    os.urandom = lambda count: b"\x55" * count
    try:
        yield
    finally:
        os.urandom = entropy
