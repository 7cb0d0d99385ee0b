"""Check that a pass under differential privacy refuses to train if its source of noise fails."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from certify.core.errors import ModelError
from certify.testing.checks import CheckFailed


def require_refusal_without_noise(apply: Callable[[], object]) -> None:
    """Apply a pass while the entropy source is constant, and check that its own test of the noise stops it.

    Its ledger is the same with and without noise, so the trainer has to test the sums that should contain noise.

    Raises:
        CheckFailed: the pass trained nevertheless.
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
    """Make ``os.urandom`` return the same bytes every time."""
    entropy = os.urandom
    os.urandom = lambda count: b"\x55" * count
    try:
        yield
    finally:
        os.urandom = entropy
