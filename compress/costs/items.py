"""The parts of a model whose widths and formats can be chosen, and the variants to try for each.

An item is a block with the groups of channels, heads or hidden units inside it. Blocks with equal code, settings and
tensor shapes share a signature and therefore one set of measured costs.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeGuard

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from compress.core.forward_hooks import ForwardHook, attach_hooks
from compress.pruning.depth import find_blocks
from compress.pruning.groups import Group

LADDER = 8
"""Approximate number of widths tried for a group, including the full one."""
SMALLEST_STEP = 4
"""Channels between two widths: other widths fall between the steps of all known kernels."""
LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
"""Layers that compute on integers in a quantized file."""
FLOAT_BITS = 32
Read = tuple[npt.NDArray[np.float32], bool, tuple[bool, bool]]
PLAIN = (bool, int, float, str, tuple, type(None))


@dataclass(frozen=True)
class Variant:
    """One variant of a block.

    Attributes:
        widths: units that the narrowed groups keep, by the group's name; other groups keep all.
        dropped: whether the whole block is dropped.
        floats: whether the block stays in floats although its neighbours become integers.
        bits: bits of its weights in matrix products; fewer than 32 only in floats.

    Example:
        >>> Variant({"conv1": 8}).label({"conv1": 16}), Variant(dropped=True).label({"conv1": 16})
        ('8', 'dropped')
        >>> Variant({"conv1": 8}, floats=True).label({"conv1": 16})
        '8 float'
    """

    widths: Mapping[str, int] = field(default_factory=dict)
    dropped: bool = False
    floats: bool = False
    bits: int = FLOAT_BITS

    def label(self, units: Mapping[str, int]) -> str:
        """Return the widths of all groups, in order; ``units`` are the full ones."""
        if self.dropped:
            return "dropped"
        widths = "/".join(str(self.widths.get(name, full)) for name, full in units.items()) or "full"
        if not self.floats:
            return widths
        return f"{widths} float" if self.bits == FLOAT_BITS else f"{widths} int{self.bits} weights"

    @property
    def integers(self) -> Variant:
        """The same units in 8-bit integers."""
        return replace(self, floats=False, bits=FLOAT_BITS)

    @property
    def precision(self) -> int:
        """Rank of its format: floats above 8-bit integers above weights of fewer bits."""
        return int(self.bits == FLOAT_BITS) + int(self.bits == FLOAT_BITS and self.floats)


FULL, FLOATS, INT4 = Variant(), Variant(floats=True), Variant(floats=True, bits=4)


@dataclass(frozen=True)
class Item:
    """A block whose widths are chosen together.

    Attributes:
        path: path of the block; empty for the whole model.
        groups: groups that can be removed inside it.
        input: (1, ...) input of the block for one sample.
        keeps_shape: whether output and input have the same shape, so that copies can be stacked.
        variants: its variants, the full block first.
        signature: hex digest shared by identical blocks.
        borders: whether it has neighbours before and after it, and reads and gives integers where these are integers.
        follows: path of the block whose output only it reads; None if there is none, or it is not known.
    """

    path: str
    groups: tuple[Group, ...]
    input: npt.NDArray[np.float32]
    keeps_shape: bool
    variants: tuple[Variant, ...]
    signature: str
    borders: tuple[bool, bool] = (True, True)
    follows: str | None = None

    @property
    def units(self) -> dict[str, int]:
        """Full width of each group, by name."""
        return {group.name: group.units for group in self.groups}

    def label(self, variant: Variant) -> str:
        """Return a short name of a variant: its widths, or ``dropped``."""
        return variant.label(self.units)

    def change(self, model: nn.Module, variant: Variant, kept: Mapping[str, torch.Tensor] | None = None) -> None:
        """Turn the block into a variant, in place.

        Args:
            model: model that contains the block.
            variant: the variant.
            kept: (rows, width) units that stay, by group; by default the first ones, when only costs matter.
        """
        if variant.dropped:
            parent, _, name = self.path.rpartition(".")
            setattr(model.get_submodule(parent), name, nn.Identity())
            return
        for group in self.groups:
            width = variant.widths.get(group.name, group.units)
            if width < group.units:
                # Which units stay does not change the cost of a kernel, only how many.
                first = torch.arange(width).expand(group.rows, -1)
                group.remove(model, first if kept is None else kept[group.name])


def find_items(
    model: nn.Module,
    sample: torch.Tensor,
    groups: Sequence[Group],
    *,
    most: float,
    keep: Collection[str] = (),
    formats: Sequence[Variant] = (),
) -> list[Item]:
    """Return the blocks that contain the groups, and those that may be dropped.

    Args:
        model: model in eval mode.
        sample: (1, ...) input of the model.
        groups: groups that may be narrowed, in the order in which they run.
        most: largest share of its units that a group may lose.
        keep: names of layers that stay, so that no block that contains one is dropped.
        formats: formats that blocks, and layers outside of them, may have instead of integers.
    """
    inputs = _inputs(model, sample)
    blocks = [path for path in find_blocks(model, sample) if path in inputs]
    inside: dict[str, list[Group]] = {path: [] for path in blocks}
    for group in groups:
        inside.setdefault(_block_of(group, blocks, inputs), []).append(group)
    alone = [("", [group]) for group in inside.pop("", [])]  # outside of all blocks: each by itself, in the whole model
    layers = [(path, list[Group]()) for path in _layers_outside(model, [path for path in inside if path])]
    items = []
    for path, own in (*inside.items(), *alone, *(layers if formats else ())):
        if path not in inputs:
            continue
        block_input, keeps, borders = inputs[path]
        droppable = path in blocks and keeps and not any(name.startswith(f"{path}.") for name in keep)
        variants = _variants(own, most, droppable)
        module = model.get_submodule(path)
        possible = [each for each in formats if path and (each.bits == FLOAT_BITS or _only_products(module))]
        present = [each for each in variants if not each.dropped]
        # Each format is combined with each width, because a width that pays off in int8 need not pay off in floats.
        variants += tuple(replace(each, floats=form.floats, bits=form.bits) for form in possible for each in present)
        # Nothing to choose: such a block would only add measurements to the table.
        if len(variants) == 1:
            continue
        signature = _signature(module, block_input.shape, path, own, *(borders if formats else ()))
        items.append(Item(path, tuple(own), block_input, keeps and bool(path), variants, signature, borders))
    return items


def ladder(group: Group, most: float) -> tuple[int, ...]:
    """Return about 8 widths to try for a group, the full one first: multiples of 4, 8, 16 and so on.

    Heads are removed one by one.

    Args:
        group: group to narrow.
        most: largest share of its units that the group may lose.
    """
    step = 1 if group.kind == "heads" or group.units <= SMALLEST_STEP else SMALLEST_STEP
    while group.units > step * LADDER:
        step *= 2
    # The slack absorbs rounding, such as 30 * (1 - 0.7) = 9.000000000000002.
    least = max(1, math.ceil(group.units * (1 - most) - 1e-9))
    widths = [width for width in range(step, group.units, step) if width >= least]
    return (group.units, *reversed(widths))


def block(model: nn.Module, item: Item, variant: Variant) -> nn.Module:
    """Return a copy of a variant of a block, on its own."""
    copied = copy.deepcopy(model)
    item.change(copied, variant)
    return copied.get_submodule(item.path).eval()


def _variants(groups: Sequence[Group], most: float, droppable: bool) -> tuple[Variant, ...]:
    """Return the full block; each group narrowed alone; all of them by the same share; the block dropped."""
    rungs = {group.name: ladder(group, most)[1:] for group in groups}
    # Not all combinations, whose number grows as a power of the number of groups; joint steps cover the diagonal.
    found = [Variant({name: width}) for name, widths in rungs.items() for width in widths]
    if len(groups) > 1:
        steps = max(map(len, rungs.values()))
        for place in range(steps):
            share = (place + 1) / steps
            at = {name: widths[math.ceil(share * len(widths)) - 1] for name, widths in rungs.items() if widths}
            found.append(Variant(at))
    # With rounding, the last combination may equal a group narrowed alone.
    unique = {json.dumps(each.widths, sort_keys=True): each for each in found if each.widths}
    return (FULL, *unique.values(), *([Variant(dropped=True)] if droppable else []))


def _only_products(module: nn.Module) -> bool:
    """Return whether all matrices of a module are weights of linear layers, which may have few bits."""
    owners = [part for part in module.modules() for value in part.parameters(recurse=False) if value.ndim > 1]
    return bool(owners) and all(isinstance(part, nn.Linear) for part in owners)


def _layers_outside(model: nn.Module, blocks: Collection[str]) -> list[str]:
    """Return the paths of layers with weights that are in none of the blocks."""
    layers = [path for path, module in model.named_modules() if isinstance(module, LAYERS)]
    return [path for path in layers if not any(path == block or path.startswith(f"{block}.") for block in blocks)]


def _inputs(model: nn.Module, sample: torch.Tensor) -> dict[str, Read]:
    """Return input, preservation of its shape, and borders of each module that maps one tensor to one and runs once."""
    found: dict[str, tuple[npt.NDArray[np.float32], bool, bool] | None] = {}
    given: dict[str, Callable[[], object]] = {}

    def note(path: str) -> ForwardHook:
        def hook(module: nn.Module, inputs: tuple[object, ...], output: object) -> None:
            only = inputs[0] if len(inputs) == 1 else None
            # A module that runs twice has no single input with which to measure it.
            if path in found or not _is_map(only) or not isinstance(output, torch.Tensor):
                found[path] = None
            else:
                found[path] = only.detach().float().numpy(), only.shape == output.shape, only is sample
                given[path] = weakref.ref(output)

        return hook

    with attach_hooks((module, note(path)) for path, module in model.named_modules()), torch.no_grad():
        outputs = model(sample)
    # Groups outside of blocks belong to the whole model, which cannot be stacked on itself.
    known: dict[str, Read] = {"": (sample.numpy(), False, (False, False))}
    for path, (values, keeps, first) in ((path, each) for path, each in found.items() if path and each is not None):
        # Blocks that keep their shape are measured in a chain, where each has another before and behind it.
        known[path] = values, keeps, (keeps or not first, keeps or given[path]() is not outputs)
    return known


def _is_map(value: object) -> TypeGuard[torch.Tensor]:
    return isinstance(value, torch.Tensor) and value.is_floating_point() and value.ndim > 1


def _block_of(group: Group, blocks: Collection[str], known: Collection[str]) -> str:
    """Return the block of a sequence that contains a group, else the nearest module that can run alone."""
    paths = [cut.path.split(".") for cut in group.cuts]
    shared = 0
    while all(len(path) > shared and path[shared] == paths[0][shared] for path in paths):
        shared += 1
    around = [".".join(paths[0][:length]) for length in range(shared + 1)]
    outer = [path for path in around if path in blocks]
    return outer[0] if outer else next(path for path in reversed(around) if path in known)


def _signature(module: nn.Module, shape: tuple[int, ...], path: str, groups: Sequence[Group], *also: bool) -> str:
    """Return a digest of all that a block's cost depends on: code, settings and shapes, not weights or outer names."""

    def plain(value: object) -> Any:
        if callable(value):
            return getattr(value, "__qualname__", type(value).__qualname__)
        # Other values, such as tensors or generators, print addresses or contents that differ between equal blocks.
        return repr(value) if isinstance(value, PLAIN) else None

    def settings(part: nn.Module) -> dict[str, Any]:
        return {name: plain(value) for name, value in vars(part).items() if name[0] != "_"}

    def relative(name: str) -> str:
        return name[len(path) :].lstrip(".")

    parts = [
        [name, type(part).__module__, type(part).__qualname__, settings(part)] for name, part in module.named_modules()
    ]
    tensors = {name: [list(tensor.shape), str(tensor.dtype)] for name, tensor in module.state_dict().items()}
    cuts = [[relative(c.path), c.tensor, c.dim, list(c.rows), c.size] for group in groups for c in group.cuts]
    described = json.dumps([parts, tensors, cuts, list(shape), *also], sort_keys=True)
    return hashlib.sha256(described.encode()).hexdigest()
