"""What may be published: small groups are merged, and small cells held back so that totals hide them.

Published are the totals of each label, the cells of each column, and the cells of two columns that were crossed.
Whoever subtracts published cells from published totals must not find a cell of fewer than k people (Sweeney 2002,
"k-anonymity"), and every group must hold at least p labels (Truta and Vinay 2006, "Privacy protection: p-sensitive
k-anonymity property"). Within a column the smallest groups are merged, which leaves all totals as they are. Crossed
columns keep the merged groups; their small cells are held back with further ones: held-back cells of a label are edges
between the row and the column that they stand in, and an edge follows from the totals exactly where it is a bridge
(Gusfield 1988, "A graph theoretic approach to statistical data security").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


def merge_small(sizes: Mapping[str, Sequence[int]], least: int) -> dict[str, tuple[str, ...]]:
    """Put the smallest groups of a column together until each has enough people of every label.

    Args:
        sizes: people by label, by group.
        least: people that each cell must have.

    Returns:
        The values that each published group is made of, largest first; one group where nothing less helps.

    Example:
        >>> merge_small({"a": [40, 60], "b": [30, 20], "c": [9, 2], "d": [3, 3]}, 5)
        {'a': ('a',), 'b': ('b',), 'c or d': ('c', 'd')}
    """
    order = sorted(sizes, key=lambda name: (-sum(sizes[name]), name))
    parts = [[name] for name in order]
    while len(parts) > 1 and (small := _small(parts, sizes, least)) is not None:
        smallest = parts.pop(small)
        other = min(range(len(parts)), key=lambda i: (_people(parts[i], sizes), -i))
        parts[other] += smallest
        parts.sort(key=lambda names: -_people(names, sizes))
    return {_joined(names): tuple(names) for names in parts}


def _small(parts: Sequence[Sequence[str]], sizes: Mapping[str, Sequence[int]], least: int) -> int | None:
    """Place of the smallest group that lacks people of some label; None where all have enough."""
    lacking = [i for i, names in enumerate(parts) if np.sum([sizes[name] for name in names], axis=0).min() < least]
    return min(lacking, key=lambda i: (_people(parts[i], sizes), -i), default=None)


def _people(names: Sequence[str], sizes: Mapping[str, Sequence[int]]) -> int:
    return sum(sum(sizes[name]) for name in names)


def _joined(names: Sequence[str]) -> str:
    text = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
    return text if len(text) <= 120 else f"{names[0]} and {len(names) - 1} smaller groups"


def hold_back(sizes: Counts, least: int) -> Mask:
    """Choose the cells of two crossed columns that are not published.

    Cells without anybody are published, unless one is needed to hide another: they say nothing about a person.

    Args:
        sizes: people in each cell of one label, (rows, columns); the sums of rows and columns are published.
        least: people that each published cell, and what a line holds back in all, must have.

    Returns:
        Which cells are held back, of the same shape; all where nothing less helps.

    Example:
        >>> hold_back(np.array([[50, 2, 30], [40, 20, 9]]), 5).tolist()
        [[False, True, True], [False, True, True]]
    """
    held = (sizes > 0) & (sizes < least)
    while exposed := list(exposed_cells(sizes, held, least)):
        row, column = exposed[0]
        candidates = np.argwhere(~held).tolist()
        if not candidates:
            break
        _, i, j = min((_cost(sizes, held, (i, j), (row, column)), i, j) for i, j in candidates)
        held[i, j] = True
    return held


def _cost(sizes: Counts, held: Mask, cell: tuple[int, int], exposed: tuple[int, int]) -> tuple[int, bool, int]:
    """How little it helps to hold a cell back too: in the line of the exposed one and of another, it closes a cycle."""
    i, j = cell
    near = (i == exposed[0]) + (j == exposed[1])
    closes = bool(held[:, j].any() if i == exposed[0] else held[i].any())
    return -(near + closes), bool(sizes[i, j] == 0), int(sizes[i, j])


def exposed_cells(sizes: Counts, held: Mask, least: int) -> Iterator[tuple[int, int]]:
    """Held-back cells that follow from the published ones, or from a line that holds back fewer people than it must.

    Args:
        sizes: people in each cell, (rows, columns); those of held-back cells enter as sums of lines alone.
        held: which cells are held back.
        least: see :func:`hold_back`.
    """
    edges = [(int(i), int(j)) for i, j in np.argwhere(held)]
    for i, j in edges:
        line = min(int(sizes[i, held[i]].sum()), int(sizes[held[:, j], j].sum()))
        if line < least or _is_bridge(edges, (i, j)):
            yield i, j


def follows(edges: Sequence[tuple[str, str]], edge: tuple[str, str]) -> bool:
    """Whether a held-back cell, named by row and column, follows from the published totals."""
    rows = {name: i for i, name in enumerate(dict.fromkeys(row for row, _ in edges))}
    columns = {name: j for j, name in enumerate(dict.fromkeys(column for _, column in edges))}
    numbered = [(rows[row], columns[column]) for row, column in edges]
    return _is_bridge(numbered, (rows[edge[0]], columns[edge[1]]))


def _is_bridge(edges: Sequence[tuple[int, int]], edge: tuple[int, int]) -> bool:
    """Whether no other way through held-back cells leads from an edge's row to its column."""
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
