"""In which order arms take turns.

A block of two arms is ABBA or BAAB: each arm's windows lie, on average, at the same time, so that a linear drift
cancels inside the block; which of the two it is comes from a seeded generator, so that nothing periodic can follow. A
model alone runs twice in each block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

WINDOWS_OF_AN_ARM = 2
"""In each block."""


def blocks(arms: Sequence[str], seed: int) -> Iterator[tuple[str, ...]]:
    """Blocks without end, each the arms of its windows in the order in which they run."""
    generator = np.random.default_rng(seed)
    forward = tuple(arms)
    while True:
        first = forward if generator.integers(2) else forward[::-1]
        yield first + first[::-1]
