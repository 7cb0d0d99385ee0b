"""Selection of the clients of a round, and seeds of their training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def chosen(clients: Sequence[str], count: int, seed: int, number: int) -> list[str]:
    """Return the clients of a round, drawn without replacement and sorted.

    Args:
        clients: available clients.
        count: number to draw; all if there are fewer.
        seed: seed of the run.
        number: number of the round.

    Example:
        >>> chosen(["a", "b", "c"], 5, seed=0, number=1)
        ['a', 'b', 'c']
    """
    known = sorted(clients)
    if count >= len(known):
        return known
    # Use one generator per round, so that a resumed run draws the same clients.
    drawn = np.random.default_rng((seed, number)).choice(len(known), size=count, replace=False)
    return [known[place] for place in sorted(drawn.tolist())]


def seed_of(seed: int, client: str, number: int) -> int:
    """Return the seed of one client's training in one round, below 2**31.

    It depends on the client's name and not on its position, so it is the same with every transport.
    """
    words = np.frombuffer(client.encode().ljust(-(-len(client.encode()) // 4) * 4, b"\0"), "<u4")
    return int(np.random.SeedSequence((seed, number, *words.tolist())).generate_state(1)[0] >> 1)
