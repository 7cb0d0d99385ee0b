"""How many units each group keeps, so that a share of the multiply-adds is left at the least error."""

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

Scope = Literal["global", "local"]


class GroupCosts:
    """Multiply-adds of a graph by the units that its groups keep.

    Args:
        whole: multiply-adds of one sample.
        layers: of the graph.
        positions: of each layer, by the name of its product, how often its weights are applied to one sample.
        groups: whose units can go.
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
        """Multiply-adds with so many units in each group."""
        return self.whole - sum(
            macs * (1 - math.prod(kept[name] / self._units[name] for name in names)) for macs, names in self._terms
        )

    def of_unit(self, name: str) -> float:
        """Multiply-adds that one unit of a group takes where all others are there."""
        return sum(macs for macs, names in self._terms if name in names) / self._units[name]


@dataclass(frozen=True)
class Allocation:
    """Units that each group keeps, by name.

    Attributes:
        kept: their numbers.
        macs_share: of the original's multiply-adds that is left.
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
    """Take units until no more than a share of the multiply-adds is left, or no more may go.

    Step by step, a step of ``multiple`` units goes where it raises the error least for each multiply-add that it saves
    (the steepest descent of the two along their lower convex hull, by which a knapsack of many small items is solved
    but for the last one); or, by the scope ``local``, where the largest share of the units is left.

    Args:
        costs: of the graph.
        errors: by group, (units,) the error once so many and one are gone, of
            :class:`compress.pruning.least_squares.Elimination`.
        share: of the multiply-adds that may be left.
        scope: see above.
        multiple: of which the numbers that stay are multiples, where any go.
        max_ratio: largest share of its units that a group may lose.
    """
    kept = {name: len(each) for name, each in errors.items()}
    ladders = {name: _ladder(len(each), multiple, max_ratio) for name, each in errors.items()}
    waiting: list[tuple[float, int, str]] = []
    slopes = {name: _slopes(each, ladders[name]) for name, each in errors.items()}

    def offer(name: str, step: int) -> None:
        if step + 1 < len(ladders[name]):
            price = slopes[name][step] / max(costs.of_unit(name), 1.0)
            heapq.heappush(
                waiting, (price if scope == "global" else -ladders[name][step] / ladders[name][0], step, name)
            )

    for name in errors:
        offer(name, 0)
    while waiting and costs.macs(kept) > share * costs.whole:
        _, step, name = heapq.heappop(waiting)
        kept[name] = ladders[name][step + 1]
        offer(name, step + 1)
    return Allocation(kept, costs.macs(kept) / costs.whole)


def _ladder(units: int, multiple: int, max_ratio: float) -> list[int]:
    """Numbers of units that a group may keep, from all down to the fewest."""
    fewest = max(1, math.ceil(units * (1 - max_ratio) - 1e-9))
    return [units, *(count for count in range(units - 1, fewest - 1, -1) if count % multiple == 0)]


def _slopes(errors: Array, ladder: Sequence[int]) -> Array:
    """(steps,) by how much each step raises the error for a unit, along the lower convex hull of the errors."""
    units = len(errors)
    gone = units - np.array(ladder)
    risen = np.concatenate([[0.0], np.maximum.accumulate(errors)])[gone]
    slopes = np.empty(max(0, len(ladder) - 1))
    begin = 0
    while begin < len(slopes):
        means = (risen[begin + 1 :] - risen[begin]) / (gone[begin + 1 :] - gone[begin])
        end = begin + 1 + int(means.argmin())
        slopes[begin:end] = means.min()
        begin = end
    return slopes
