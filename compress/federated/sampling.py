"""Which clients take part in a round, and the seeds of what they draw."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def chosen(clients: Sequence[str], count: int, seed: int, number: int) -> list[str]:
    """Clients of a round, drawn without replacement, sorted.

    Args:
        clients: that can be asked.
        count: how many; all where there are fewer.
        seed: of the run.
        number: of the round.

    Example:
        >>> chosen(["a", "b", "c"], 5, seed=0, number=1)
        ['a', 'b', 'c']
    """
    known = sorted(clients)
    if count >= len(known):
        return known
    drawn = np.random.default_rng((seed, number)).choice(len(known), size=count, replace=False)
    return [known[place] for place in sorted(drawn.tolist())]


def seed_of(seed: int, client: str, number: int) -> int:
    """The seed of one client's training in one round, below 2**31.

    It follows from the client's name and not from its place, so that every transport gives the same.
    """
    words = np.frombuffer(client.encode().ljust(-(-len(client.encode()) // 4) * 4, b"\0"), "<u4")
    return int(np.random.SeedSequence((seed, number, *words.tolist())).generate_state(1)[0] >> 1)
