"""Cutting one train part into clients, for simulations: evenly, by skewed classes, or by what a column says.

Real clients bring data of their own (:mod:`compress.federated.local_data`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from certify.core.errors import UsageError
from certify.data import Split

Rows = npt.NDArray[np.int64]
FEWEST = 2
"""Samples of a client: a batch norm cannot learn from one."""


def iid(count: int, clients: int, seed: int) -> list[Rows]:
    """Shuffle the samples and cut them evenly.

    Example:
        >>> [len(rows) for rows in iid(10, 3, seed=0)]
        [4, 3, 3]
    """
    _require(count, clients)
    order = np.random.default_rng(seed).permutation(count)
    return [np.sort(part).astype(np.int64) for part in np.array_split(order, clients)]


def dirichlet(labels: npt.NDArray[np.int64], clients: int, alpha: float, seed: int) -> list[Rows]:
    """Give each class to the clients in shares drawn from a Dirichlet distribution (Hsu et al. 2019, arXiv 1909.06335).

    Clients who would get fewer than two samples take some from the largest.

    Args:
        labels: class of each sample, (n,).
        clients: how many.
        alpha: a small one gives each client few classes; a large one comes close to :func:`iid`.
        seed: of shares and order.

    Returns:
        Ascending rows of each client; every sample is in one of them.
    """
    _require(len(labels), clients)
    random = np.random.default_rng(seed)
    parts: list[list[int]] = [[] for _ in range(clients)]
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        shares = random.dirichlet(np.full(clients, alpha))
        cuts = np.rint(np.cumsum(shares)[:-1] * len(rows)).astype(int)
        for part, taken in zip(parts, np.split(rows, cuts), strict=True):
            part += taken.tolist()
    while min(map(len, parts)) < FEWEST:
        min(parts, key=len).append(max(parts, key=len).pop())
    return [np.array(sorted(part), dtype=np.int64) for part in parts]


def by_column(split: Split, column: str) -> tuple[list[str], list[Rows]]:
    """One client for each value of a column of groups, such as a hospital.

    Returns:
        The values in order, and the rows of each.

    Raises:
        UsageError: there is no such column, a sample states nothing, or a client has one sample only.
    """
    if column not in split.groups:
        known = ", ".join(sorted(split.groups)) or "none"
        raise UsageError(f"The train samples have no column '{column}' to make clients of; there are: {known}.")
    values = split.groups[column]
    if (values == "").any():
        raise UsageError(f"{int((values == '').sum())} train samples state no '{column}'; name a client for each.")
    names = sorted(set(values.tolist()))
    rows = [np.flatnonzero(values == name).astype(np.int64) for name in names]
    if small := [name for name, part in zip(names, rows, strict=True) if len(part) < FEWEST]:
        raise UsageError(f"The client '{small[0]}' has fewer than {FEWEST} samples; join it with another one.")
    return names, rows


def names_of(clients: int) -> list[str]:
    """Names of simulated clients, which sort as they are numbered.

    Example:
        >>> names_of(2)
        ['client-00000', 'client-00001']
    """
    return [f"client-{number:05d}" for number in range(clients)]


def sizes(parts: Sequence[Rows]) -> tuple[int, int]:
    """The smallest and the largest number of samples of a client."""
    lengths = [len(part) for part in parts]
    return min(lengths), max(lengths)


def _require(count: int, clients: int) -> None:
    if clients * FEWEST > count:
        raise UsageError(f"{count} train samples are too few for {clients} clients of {FEWEST} or more; take fewer.")
