"""Partition of a train split among simulated clients: evenly, with skewed classes, or by a column.

Real clients have their own data (:mod:`compress.federated.local_data`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from certify.core.errors import UsageError
from certify.data import Split

Rows = npt.NDArray[np.int64]
FEWEST = 2
"""Minimum number of samples of a client: a batch norm cannot learn from one."""


def iid(count: int, clients: int, seed: int) -> list[Rows]:
    """Shuffle the samples and divide them evenly.

    Example:
        >>> [len(rows) for rows in iid(10, 3, seed=0)]
        [4, 3, 3]
    """
    _require(count, clients)
    order = np.random.default_rng(seed).permutation(count)
    return [np.sort(part).astype(np.int64) for part in np.array_split(order, clients)]


def dirichlet(labels: npt.NDArray[np.int64], clients: int, alpha: float, seed: int) -> list[Rows]:
    """Divide each class among clients by shares from a Dirichlet distribution (Hsu et al. 2019, arXiv 1909.06335).

    Clients with fewer than two samples get some from the client with the most.

    Args:
        labels: class of each sample, (n,).
        clients: number of clients.
        alpha: concentration; small values give each client few classes, large values approach :func:`iid`.
        seed: seed of shares and order.

    Returns:
        Ascending rows of each client; every sample belongs to exactly one client.
    """
    _require(len(labels), clients)
    random = np.random.default_rng(seed)
    parts: list[list[int]] = [[] for _ in range(clients)]
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        shares = random.dirichlet(np.full(clients, alpha))
        # Round cumulative sums, so that no sample is lost or counted twice.
        cuts = np.rint(np.cumsum(shares)[:-1] * len(rows)).astype(int)
        for part, own in zip(parts, np.split(rows, cuts), strict=True):
            part += own.tolist()
    while min(map(len, parts)) < FEWEST:
        min(parts, key=len).append(max(parts, key=len).pop())
    return [np.array(sorted(part), dtype=np.int64) for part in parts]


def by_column(split: Split, column: str) -> tuple[list[str], list[Rows]]:
    """Return one client for each value of a column of groups, such as a hospital.

    Returns:
        The sorted values, and the rows of each.

    Raises:
        UsageError: there is no such column, a sample has no value, or a client has only one sample.
    """
    if column not in split.groups:
        known = ", ".join(sorted(split.groups)) or "none"
        raise UsageError(f"The train samples have no column '{column}' that names clients; available: {known}.")
    values = split.groups[column]
    if (values == "").any():
        raise UsageError(f"{int((values == '').sum())} train samples have no '{column}'; name a client for each.")
    names = sorted(set(values.tolist()))
    rows = [np.flatnonzero(values == name).astype(np.int64) for name in names]
    if small := [name for name, part in zip(names, rows, strict=True) if len(part) < FEWEST]:
        raise UsageError(f"The client '{small[0]}' has fewer than {FEWEST} samples; merge it with another client.")
    return names, rows


def names_of(clients: int) -> list[str]:
    """Return names of simulated clients, which sort by number.

    Example:
        >>> names_of(2)
        ['client-00000', 'client-00001']
    """
    return [f"client-{number:05d}" for number in range(clients)]


def sizes(parts: Sequence[Rows]) -> tuple[int, int]:
    """Return the smallest and the largest number of samples of a client."""
    lengths = [len(part) for part in parts]
    return min(lengths), max(lengths)


def _require(count: int, clients: int) -> None:
    if clients * FEWEST > count:
        raise UsageError(f"{count} train samples are too few for {clients} clients of {FEWEST} or more; use fewer.")
