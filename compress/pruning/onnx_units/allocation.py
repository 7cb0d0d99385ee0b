"""Allocation of units to groups, so that a share of the multiply-adds remains at the least error."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from compress.onnx_graph.graph import Array
from compress.pruning.onnx_units.groups import UnitGroup
from compress.pruning.onnx_units.layers import FileLayer

Scope = Literal["global", "local", "outputs"]


class GroupCosts:
    """Multiply-adds of a graph as a function of the units that its groups keep.

    Args:
        whole: multiply-adds of one sample.
        layers: layers of the graph.
        positions: how often the weights of each layer are applied per sample, by the name of its product.
        groups: groups whose units can be removed.
    """

    def __init__(
        self, whole: float, layers: Sequence[FileLayer], positions: Mapping[str, float], groups: Sequence[UnitGroup]
    ) -> None:
        self.whole = whole
        macs = {layer.product: positions[layer.product] * math.prod(layer.shape) for layer in layers}
        touching: dict[str, list[str]] = {}
        for group in groups:
            for layer in (*group.makers, *group.depthwise, *group.readers):
                touching.setdefault(layer.product, []).append(group.name)
        self._terms = [(macs[product], tuple(names)) for product, names in touching.items()]
        self._units = {group.name: group.units for group in groups}

    def macs(self, kept: Mapping[str, int]) -> float:
        """Return the multiply-adds with the given number of units in each group."""
        # A layer between two groups shrinks with the product of both shares.
        return self.whole - sum(
            macs * (1 - math.prod(kept[name] / self._units[name] for name in names)) for macs, names in self._terms
        )

    def of_unit(self, name: str) -> float:
        """Return the multiply-adds of one unit of a group while all others are present."""
        return sum(macs for macs, names in self._terms if name in names) / self._units[name]


@dataclass(frozen=True)
class Allocation:
    """Units that each group keeps, by name.

    Attributes:
        kept: number of units per group.
        macs_share: remaining share of the original's multiply-adds.
    """

    kept: Mapping[str, int]
    macs_share: float


def allocate(
    costs: GroupCosts,
    errors: Mapping[str, Array],
    share: float,
    *,
    scope: Scope = "global",
    multiple: int = 1,
    max_ratio: float = 0.9,
) -> Allocation:
    """Remove units until at most a share of the multiply-adds remains, or no more may be removed.

    Each step removes ``multiple`` units where that raises the error least per saved multiply-add (the steepest descent
    along the lower convex hulls of error and cost, which solves a knapsack of many small items except for the last
    one); or, with the scope ``local``, where the largest share of the units remains.

    Args:
        costs: costs of the graph.
        errors: by group, (units,) the errors after each removed unit, from
            :class:`compress.pruning.least_squares.Elimination`.
        share: share of the multiply-adds that may remain.
        scope: see above.
        multiple: multiple to which remaining numbers of units are rounded, if any are removed.
        max_ratio: largest share of its units that a group may lose.
    """
    kept = {name: len(each) for name, each in errors.items()}
    ladders = {name: _ladder(len(each), multiple, max_ratio) for name, each in errors.items()}
    waiting: list[tuple[float, int, str]] = []
    slopes = {name: _slopes(each, ladders[name]) for name, each in errors.items()}

    def offer(name: str, step: int) -> None:
        if step + 1 < len(ladders[name]):
            # The saving is counted in the full graph, so that prices in the heap stay valid.
            price = slopes[name][step] / max(costs.of_unit(name), 1.0)
            heapq.heappush(
                waiting, (price if scope != "local" else -ladders[name][step] / ladders[name][0], step, name)
            )

    for name in errors:
        offer(name, 0)
    while waiting and costs.macs(kept) > share * costs.whole:
        _, step, name = heapq.heappop(waiting)
        kept[name] = ladders[name][step + 1]
        offer(name, step + 1)
    return Allocation(kept, costs.macs(kept) / costs.whole)


def _ladder(units: int, multiple: int, max_ratio: float) -> list[int]:
    """Return the numbers of units that a group may keep, from all down to the fewest."""
    # The slack absorbs rounding, such as 30 * (1 - 0.7) = 9.000000000000002.
    fewest = max(1, math.ceil(units * (1 - max_ratio) - 1e-9))
    return [units, *(count for count in range(units - 1, fewest - 1, -1) if count % multiple == 0)]


def _slopes(errors: Array, ladder: Sequence[int]) -> Array:
    """Return by how much each step raises the error per unit, along the lower convex hull of the errors, (steps,)."""
    units = len(errors)
    gone = units - np.array(ladder)
    # Errors may fall by rounding; a step with a negative price would be taken first.
    risen = np.concatenate([[0.0], np.maximum.accumulate(errors)])[gone]
    slopes = np.empty(max(0, len(ladder) - 1))
    begin = 0
    while begin < len(slopes):
        means = (risen[begin + 1 :] - risen[begin]) / (gone[begin + 1 :] - gone[begin])
        end = begin + 1 + int(means.argmin())
        slopes[begin:end] = means.min()
        begin = end
    return slopes
