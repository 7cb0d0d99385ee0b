"""Tolerances of a proof of equal outputs, and the search for the valid ones among several changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Candidate = TypeVar("Candidate")

OF_EFFECT, OF_OUTPUT = 1e-2, 1e-5
"""Largest difference between removing and masking, as shares of masking's effect and of the outputs; rounding gives
far less of the first, and a mistaken channel far more."""


def bisect_valid(candidates: Sequence[Candidate], hold: Callable[[Sequence[Candidate]], bool]) -> list[Candidate]:
    """Return the valid candidates, tested together first and then by halves.

    Args:
        candidates: candidates to test.
        hold: whether some of them are valid together.

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
