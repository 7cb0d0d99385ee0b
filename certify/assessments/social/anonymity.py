"""Publishable tables: small groups are merged, and small cells withheld so that totals do not reveal them.

Published are the totals of each label, the cells of each column, and the cells of two crossed columns. Subtracting
published cells from published totals must not reveal a cell of fewer than k people (Sweeney 2002, "k-anonymity"), and
every group must have at least p labels (Truta and Vinay 2006, "Privacy protection: p-sensitive k-anonymity property").
Within a column the smallest groups are merged, which leaves all totals unchanged. Crossed columns keep the merged
groups; their small cells are withheld together with further ones: the withheld cells of a label are edges between
their row and column, and an edge follows from the totals exactly if it is a bridge (Gusfield 1988, "A graph theoretic
approach to statistical data security").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def merge_small(sizes: Mapping[str, Sequence[int]], least: int) -> dict[str, tuple[str, ...]]:
    """Merge the smallest groups of a column until each has enough people of every label.

    Args:
        sizes: number of people by label, for each group.
        least: minimum number of people in each cell.

    Returns:
        The values of each published group, largest first; a single group if nothing less suffices.

    Example:
        >>> merge_small({"a": [40, 60], "b": [30, 20], "c": [9, 2], "d": [3, 3]}, 5)
        {'a': ('a',), 'b': ('b',), 'c or d': ('c', 'd')}
    """
    order = sorted(sizes, key=lambda name: (-sum(sizes[name]), name))
    parts = [[name] for name in order]
    # The smallest group is merged with the next smallest, so that large groups stay as they are.
    while len(parts) > 1 and (small := _small(parts, sizes, least)) is not None:
        smallest = parts.pop(small)
        other = min(range(len(parts)), key=lambda i: (_people(parts[i], sizes), -i))
        parts[other] += smallest
        parts.sort(key=lambda names: -_people(names, sizes))
    return {_joined(names): tuple(names) for names in parts}


def _small(parts: Sequence[Sequence[str]], sizes: Mapping[str, Sequence[int]], least: int) -> int | None:
    """Return the index of the smallest group with too few people of some label; None if all have enough."""
    lacking = [i for i, names in enumerate(parts) if np.sum([sizes[name] for name in names], axis=0).min() < least]
    return min(lacking, key=lambda i: (_people(parts[i], sizes), -i), default=None)


def _people(names: Sequence[str], sizes: Mapping[str, Sequence[int]]) -> int:
    return sum(sum(sizes[name]) for name in names)


def _joined(names: Sequence[str]) -> str:
    text = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
    return text if len(text) <= 120 else f"{names[0]} and {len(names) - 1} smaller groups"


def hold_back(sizes: Counts, least: int) -> Mask:
    """Choose the cells of two crossed columns to withhold.

    Empty cells are published, unless one is needed to hide another: they do not reveal anything about a person.

    Args:
        sizes: people in each cell of one label, (rows, columns); sums of rows and columns are published.
        least: minimum number of people in each published cell, and in the withheld cells of a line together.

    Returns:
        Mask of withheld cells, of the same shape; all cells if nothing less suffices.

    Example:
        >>> hold_back(np.array([[50, 2, 30], [40, 20, 9]]), 5).tolist()
        [[False, True, True], [False, True, True]]
    """
    withheld = (sizes > 0) & (sizes < least)
    while exposed := list(exposed_cells(sizes, withheld, least)):
        row, column = exposed[0]
        candidates = np.argwhere(~withheld).tolist()
        if not candidates:
            break
        # Ties are broken by position, so that the choice is the same on every platform.
        _, i, j = min((_cost(sizes, withheld, (i, j), (row, column)), i, j) for i, j in candidates)
        withheld[i, j] = True
    return withheld


def _cost(sizes: Counts, withheld: Mask, cell: tuple[int, int], exposed: tuple[int, int]) -> tuple[int, bool, int]:
    """Return the cost of withholding a further cell: one in both the exposed cell's line and another closes a cycle."""
    i, j = cell
    near = (i == exposed[0]) + (j == exposed[1])
    closes = bool(withheld[:, j].any() if i == exposed[0] else withheld[i].any())
    # An empty cell comes last, because withholding it hides nobody; then the smallest, which loses least.
    return -(near + closes), bool(sizes[i, j] == 0), int(sizes[i, j])


def exposed_cells(sizes: Counts, withheld: Mask, least: int) -> Iterator[tuple[int, int]]:
    """Yield withheld cells that published ones reveal, or that are in a line that withholds too few people.

    Args:
        sizes: people in each cell, (rows, columns); withheld cells only enter through sums of lines.
        withheld: mask of withheld cells.
        least: see :func:`hold_back`.
    """
    edges = [(int(i), int(j)) for i, j in np.argwhere(withheld)]
    for i, j in edges:
        # A line that withholds fewer people than allowed reveals a sum about them.
        line = min(int(sizes[i, withheld[i]].sum()), int(sizes[withheld[:, j], j].sum()))
        if line < least or _is_bridge(edges, (i, j)):
            yield i, j


def follows(edges: Sequence[tuple[str, str]], edge: tuple[str, str]) -> bool:
    """Return whether a withheld cell, named by row and column, follows from the published totals."""
    rows = {name: i for i, name in enumerate(dict.fromkeys(row for row, _ in edges))}
    columns = {name: j for j, name in enumerate(dict.fromkeys(column for _, column in edges))}
    numbered = [(rows[row], columns[column]) for row, column in edges]
    return _is_bridge(numbered, (rows[edge[0]], columns[edge[1]]))


def _is_bridge(edges: Sequence[tuple[int, int]], edge: tuple[int, int]) -> bool:
    """Return whether no other path through withheld cells leads from an edge's row to its column."""
    others = [other for other in edges if other != edge]
    seen, reached = {("row", edge[0])}, [("row", edge[0])]
    while reached:
        kind, place = reached.pop()
        steps = [("column", j) for i, j in others if i == place] if kind == "row" else []
        steps += [("row", i) for i, j in others if j == place] if kind == "column" else []
        for step in steps:
            if step not in seen:
                seen.add(step)
                reached.append(step)
    return ("column", edge[1]) not in seen
