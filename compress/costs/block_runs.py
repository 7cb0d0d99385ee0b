"""Variants of a block, run from the block's input on: everything before it gives what it gives in the original.

The original runs once, from one block to the next. A block's widths are refitted in the block alone, and the operators
behind it run once per variant. Values wait in memory while they are few, else in temporary files.
"""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.fx import Node

from compress.core.foreign_code import MODEL_FAILURES
from compress.costs.items import FLOAT_BITS, Item, Variant
from compress.costs.rounding import Rounding, int4_weights
from compress.pruning.lane import Lane, Start
from compress.pruning.program import NotTraceable, Program, Region, ancestors
from compress.pruning.reconstruction import Changes, reconstruct, refit_layers
from compress.pruning.samples import Batches
from compress.pruning.sites import find_layers, find_sum

Cutter = Callable[[nn.Module, Mapping[int, Variant]], tuple[nn.Module, Changes]]


class Repeated:
    """A tensor of samples in batches of equal size; the last one is filled up with the first samples.

    Args:
        samples: (n, ...) samples.
        size: batch size.
    """

    def __init__(self, samples: torch.Tensor, size: int) -> None:
        self.count, self.size, self.batches = len(samples), size, math.ceil(len(samples) / size)
        self._samples, self._rows = samples, torch.arange(self.batches * size) % len(samples)

    def batch(self, number: int) -> torch.Tensor:
        """Return a batch, (size, ...)."""
        return self._samples[self._rows[number * self.size : (number + 1) * self.size]]


@dataclass(frozen=True)
class BlockInputs:
    """The inputs of a block, in the batches of the samples.

    Attributes:
        start: values of the original that include them.
        node: node of the block's input.
        count: number of samples.
        size: batch size.
    """

    start: Start
    node: Node
    count: int
    size: int

    @property
    def batches(self) -> int:
        """Number of batches."""
        return self.start.count

    def batch(self, number: int) -> torch.Tensor:
        """Return a batch, (size, ...), which a module with operators in place may overwrite."""
        taken: torch.Tensor = self.start.values(number)[self.node]
        return taken.clone()


class Alone(nn.Module):
    """A block by itself, under the path that it has in its model.

    Args:
        path: that path.
        block: the block.
    """

    def __init__(self, path: str, block: nn.Module) -> None:
        super().__init__()
        self._path = path
        *parents, name = path.split(".")
        parent: nn.Module = self
        for each in parents:
            parent.add_module(each, nn.Module())
            parent = parent.get_submodule(each)
        parent.add_module(name, block)

    def forward(self, x: torch.Tensor) -> Any:
        """Return what the block returns."""
        return self.get_submodule(self._path)(x)


class BlockRuns:
    """Outputs of a model with one block changed, for one block after the other in the order in which they run.

    Used as a context manager, it removes its temporary files.

    Args:
        program: operators of the original, for batches of ``size`` samples.
        items: blocks of the model.
        cut: returns a changed copy of the model, and what its layers lost.
        images: (n, ...) samples for the outputs.
        size: batch size.
        samples: samples for refitting, in batches of that size; None for no refit.
        rounding: how blocks that do not stay in floats are rounded; None for no rounding.
        seed: seed of the refit.
    """

    def __init__(
        self,
        program: Program,
        items: Sequence[Item],
        cut: Cutter,
        images: torch.Tensor,
        size: int,
        samples: Batches | None,
        rounding: Rounding | None,
        seed: int,
    ) -> None:
        self._program, self._items, self._cut = program, items, cut
        self._samples, self._rounding, self._seed = samples, rounding, seed
        self._images = Repeated(images, size)
        self._ranged = None if rounding is None else Repeated(rounding.samples, size)
        self._stack = contextlib.ExitStack()
        self._lanes: dict[Any, Lane] = {}
        found = {number: program.region(item.path) for number, item in enumerate(items) if item.path}
        self._regions = {number: region for number, region in found.items() if region is not None}

    def __enter__(self) -> BlockRuns:
        for each in (self._images, self._samples, self._ranged):
            if each is not None:
                start = Start.samples(self._program, each.batch, each.batches)
                self._lanes[each] = self._stack.enter_context(Lane(self._program, start))
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()

    @property
    def numbers(self) -> list[int]:
        """Indices of the blocks that can be run alone, in the order in which they run."""
        if self._program.output is None:
            return []
        places = {node: place for place, node in enumerate(self._program.nodes)}
        return sorted(self._regions, key=lambda number: places[self._regions[number].input])

    def outputs(self, number: int, variants: Sequence[Variant]) -> Iterator[tuple[Variant, torch.Tensor | None]]:
        """Yield the outputs of the model with each variant of a block, (n, ...), in any order of the variants.

        None stands for a variant whose refit needs operators outside of the block. Blocks must be asked for in the
        order of :attr:`numbers`.
        """
        region = self._regions[number]
        for lane in self._lanes.values():
            for _ in lane.values(region.input):
                pass
        original = self._program.model.get_submodule(self._items[number].path)
        inner = self._inner(number, original) if any(each.widths for each in variants) else None
        alike: dict[tuple[bool, tuple[tuple[str, int], ...]], list[Variant]] = {}
        for each in variants:
            alike.setdefault((each.dropped, tuple(sorted(each.widths.items()))), []).append(each)
        for (dropped, widths), row in alike.items():
            if dropped:
                yield row[0], self._run(self._without(number, row[0]), region, None)
            elif widths and self._samples is not None and inner is None:
                yield from ((each, None) for each in row)
            else:
                # One refit serves all formats of the same widths.
                block = self._narrowed(number, row[0], inner) if widths else original
                for each in row:
                    yield each, self._run(self._program, region, self._rounded(number, block, each))

    def _run(self, program: Program, region: Region, block: nn.Module | None) -> torch.Tensor:
        """Return the outputs with a block in the place of a region, or with nothing in its place."""
        start, final, found = self._lanes[self._images].here(), self._program.output, []
        assert final is not None
        after = program.ordered(ancestors([final], start.nodes | {region.output}))
        for number in range(start.count):
            values = dict(start.values(number))
            with torch.no_grad():
                taken = values[region.input]
                # A copy, because operators in place would overwrite what the next variant takes.
                values[region.output] = taken if block is None else block(taken.clone())
                program.evaluate(after, values)
            found.append(values[final])
        return torch.cat(found)[: self._images.count]

    def _inner(self, number: int, block: nn.Module) -> Program | None:
        """Return the operators of a block, or None if its layers cannot be refitted by the block alone."""
        if self._samples is None:
            return None
        path, whole = self._items[number].path, {layer.path: layer for layer in find_layers(self._program)}
        try:
            inner = Program.of(block, self._inputs(self._samples, self._regions[number]).batch(0))
        except NotTraceable:
            return None
        for layer in find_layers(inner):
            same = whole.get(f"{path}.{layer.path}".rstrip("."))
            # A batch norm or a shortcut outside of the block would change the target, or the place of the bias.
            if same is None or (same.mean is None) != (layer.mean is None):
                return None
            if (find_sum(self._program, same) is None) != (find_sum(inner, layer) is None):
                return None
        return inner

    def _inputs(self, samples: Batches, region: Region) -> BlockInputs:
        return BlockInputs(self._lanes[samples].here(), region.input, samples.count, samples.size)

    def _narrowed(self, number: int, variant: Variant, inner: Program | None) -> nn.Module:
        """Return a narrowed copy of a block, refitted if that is possible and does not fail."""
        path, region = self._items[number].path, self._regions[number]
        changed, changes = self._cut(self._program.model, {number: variant})
        block = changed.get_submodule(path)
        if self._samples is None or inner is None:
            return block
        outputs = {_inside(path, name): kept for name, kept in changes.outputs.items()}
        within = Changes(outputs, frozenset(_inside(path, name) for name in changes.inputs))
        mended, inputs = copy.deepcopy(block), self._inputs(self._samples, region)
        try:
            if inner.fits_any_width:
                starts = (Start.samples(inner, inputs.batch, inputs.batches),) * 2
                programs = inner, replace(inner, model=mended)
                refit_layers(programs, within, starts, inputs.size, seed=self._seed, every=False)
            else:
                reconstruct(inner, mended, within, inputs, seed=self._seed, every=False)
        except (NotTraceable, *MODEL_FAILURES):  # as in Narrower
            return block
        return mended

    def _without(self, number: int, variant: Variant) -> Program:
        """Return the operators of a copy without a block, with all layers behind it refitted."""
        region = self._regions[number]

        def shallow() -> Program:
            model, _ = self._cut(self._program.model, {number: variant})
            nodes = tuple(node for node in self._program.nodes if node not in region.inside)
            return replace(self._program, model=model, nodes=nodes)

        program = shallow()
        if self._samples is None:
            return program
        start = self._lanes[self._samples].here()

        def passed(number: int) -> Mapping[Node, Any]:
            values = start.values(number)
            return {**values, region.output: values[region.input]}

        given = Start(start.nodes | {region.output}, passed, start.count)
        try:
            refit_layers((self._program, program), Changes(), (start, given), self._samples.size, seed=self._seed)
        except MODEL_FAILURES:
            return shallow()
        return program

    def _rounded(self, number: int, block: nn.Module, variant: Variant) -> nn.Module:
        """Return a copy of a block that is rounded as a variant is."""
        if self._rounding is None:
            return block
        path = self._items[number].path
        alone = Alone(path, copy.deepcopy(block)).eval()
        if not variant.floats:
            assert self._ranged is not None
            inputs = self._inputs(self._ranged, self._regions[number])
            taken = torch.cat([inputs.batch(each) for each in range(inputs.batches)])[: inputs.count]
            replace(self._rounding, samples=taken).apply(alone, [path])
        if variant.bits < FLOAT_BITS:
            int4_weights(alone, [path])
        return alone


def _inside(path: str, name: str) -> str:
    """Return a path relative to that of a block."""
    return name[len(path) :].lstrip(".")
