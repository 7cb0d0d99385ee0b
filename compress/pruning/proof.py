"""What a proof of equal outputs allows, and the search for those of several changes that hold."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Candidate = TypeVar("Candidate")

OF_EFFECT, OF_OUTPUT = 1e-2, 1e-5
"""Largest difference between removing and masking, as shares of what masking changes and of the outputs; rounding alone
makes far less of the first, and a channel taken for another far more."""


def bisect_valid(candidates: Sequence[Candidate], hold: Callable[[Sequence[Candidate]], bool]) -> list[Candidate]:
    """Those that hold, tried together first and then by halves.

    Args:
        candidates: to be tried.
        hold: whether some of them hold together.

    Example:
        >>> bisect_valid([1, 2, 3, 4], lambda some: 3 not in some)
        [1, 2, 4]
    """
    if not candidates or hold(candidates):
        return list(candidates)
    if len(candidates) == 1:
        return []
    middle = len(candidates) // 2
    return bisect_valid(candidates[:middle], hold) + bisect_valid(candidates[middle:], hold)
