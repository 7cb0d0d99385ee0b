"""In which order two arms take turns.

A block of four windows is ABBA or BAAB: each arm's windows lie, on average, at the same time, so that a linear drift
cancels inside the block; which of the two it is comes from a seeded generator, so that nothing periodic can follow.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def blocks(first: str, second: str, seed: int) -> Iterator[tuple[str, str, str, str]]:
    """Blocks without end, each the arms of four windows in the order in which they run."""
    generator = np.random.default_rng(seed)
    while True:
        if generator.integers(2):
            yield first, second, second, first
        else:
            yield second, first, first, second
