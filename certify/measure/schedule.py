"""Order in which the arms take turns.

A block of two arms is ABBA or BAAB: on average both arms run at the same time, so a linear drift cancels within the
block; a seeded generator chooses between the two, so no periodic disturbance can align with them. A single model runs
twice in each block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

WINDOWS_OF_AN_ARM = 2
"""Windows of each arm per block."""


def blocks(arms: Sequence[str], seed: int) -> Iterator[tuple[str, ...]]:
    """Yield an endless sequence of blocks, each the arms of its windows in order of execution."""
    generator = np.random.default_rng(seed)
    forward = tuple(arms)
    while True:
        # A palindrome such as A B B A cancels linear drift within the block; the coin keeps one arm from always being
        # first, which a periodic disturbance could favour.
        first = forward if generator.integers(2) else forward[::-1]
        yield first + first[::-1]
