"""Blocks that read the output of another, between which values need no conversion if both stay in floats."""

from __future__ import annotations

import operator
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import torch
from torch import nn

from compress.costs.items import Item
from compress.pruning.program import NORM, NotTraceable, Program, Region
from compress.pruning.sites import SAME

aten = torch.ops.aten
BETWEEN = SAME | {
    NORM, operator.getitem, aten.relu.default, aten.hardtanh.default, aten.max_pool2d.default, aten.avg_pool2d.default
}  # fmt: skip
"""Operators that a file of integers runs with the layer before them, or on rounded values; not SiLU or GELU."""


def with_neighbours(model: nn.Module, sample: torch.Tensor, items: Sequence[Item]) -> list[Item]:
    """Return items that state which block they follow; unchanged if the model cannot be traced.

    Args:
        model: model in eval mode.
        sample: (1, ...) input of the model.
        items: its blocks.
    """
    try:
        program = Program.of(model, sample)
    except NotTraceable:
        return list(items)
    followed = find_followed(program, [item.path for item in items if item.path])
    return [replace(item, follows=followed.get(item.path)) for item in items]


def find_followed(program: Program, paths: Sequence[str]) -> dict[str, str]:
    """Return which module each module follows: the one whose output it alone reads.

    Args:
        program: operators of the model.
        paths: modules that may follow one another.
    """
    regions = {path: region for path in paths if (region := program.region(path)) is not None}
    found = {}
    for path, region in regions.items():
        reader = _reader(region, regions)
        if reader is not None:
            found[reader] = path
    return found


def _reader(region: Region, regions: Mapping[str, Region]) -> str | None:
    """Return the module that alone reads the output of another, perhaps behind a batch norm, activation or pool."""
    node = region.output
    while True:
        users = set(node.users)
        for path, other in regions.items():
            if other.input is node and users <= other.inside:
                return path
        if len(users) != 1:
            return None
        (node,) = users
        if node.target not in BETWEEN:
            return None


def kinds_before(items: Sequence[Item], known: Collection[str]) -> list[str | None]:
    """Return the kind of block whose conversions are those between each block and the one that it follows.

    What conversions cost depends on the shape. Only blocks that keep theirs are measured in a row, so others take the
    conversions of a block of the shape that they read: best of the one that they follow.

    Args:
        items: the blocks.
        known: signatures of the blocks whose conversions are known.
    """
    by_path = {item.path: item for item in items}
    found = []
    for item in items:
        followed = None if item.follows is None else by_path.get(item.follows)
        near = () if followed is None else (item, followed, *items)
        alike = (each.signature for each in near if each.input.shape == item.input.shape and each.signature in known)
        found.append(next(alike, None))
    return found


def in_order(items: Sequence[Item]) -> list[int]:
    """Return the indices of items, each directly behind the one that it follows."""
    paths = {item.path for item in items}
    behind = {item.follows: number for number, item in enumerate(items) if item.follows}
    order: list[int] = []
    for number, item in enumerate(items):
        following = None if item.follows in paths else number
        while following is not None:
            order.append(following)
            following = behind.get(items[following].path)
    return order
