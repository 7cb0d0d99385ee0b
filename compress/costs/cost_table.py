"""A table of what the blocks of a model cost at each width, in the precision that ships.

Every block is exported, converted to the precision that ships, and measured. Copies of a block that keeps its shape are
stacked, so that the cost of one call of the runtime, and of the ends of a file, cancels in the difference of two
stacks. The cost of a whole model with chosen widths is predicted from the measured whole model and the differences.

Tables of this kind choose widths in ZipLM (Kurtic et al. 2023, arXiv 2302.04089) and HALP (Shen et al. 2022, arXiv
2110.10811); NetAdapt (Yang et al. 2018, arXiv 1804.03230) introduced them.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy.typing as npt
import onnx
from torch import nn

from certify.core.estimate import Estimate
from certify.core.input_mapping import by_input
from certify.core.progress import Progress
from certify.data import Preprocess
from compress.costs import shipped_form as forms
from compress.costs.cost_cache import CostCache
from compress.costs.items import FULL, Item, Variant, block
from compress.costs.shipped_form import Shipping
from compress.costs.timing import Cost, TimedFile, Timer

Quantity = Literal["energy", "latency"]
STACKED, FEWER = 6, 2
"""Copies in a stack, and in the smaller one with which it is compared."""
FEWER_LABEL = "fewer"
MOST_AT_ONCE = 16
"""Variants that are measured against each other at once, each in a process of its own."""
METHOD = "difference of 10th percentiles of windows that took turns"


@dataclass(frozen=True)
class CostTable:
    """Costs of the blocks of one model.

    Attributes:
        key: conditions: runtime and its version, processor, threads, precision, target.
        whole: cost of the whole, unchanged model.
        items: its blocks.
        costs: costs of one block, by signature, then by label; for a block that cannot be stacked, including a call of
            the runtime.
        measured: number of blocks measured now; all others were read from the cache.
    """

    key: Mapping[str, Any]
    whole: Cost
    items: tuple[Item, ...]
    costs: Mapping[str, Mapping[str, Cost]]
    measured: int

    def cost(self, item: Item, variant: Variant, quantity: Quantity) -> Estimate | None:
        """Return the cost of a variant of a block, in s or J; None if joules are requested and there is no meter."""
        return quantity_of(self.costs[item.signature][item.label(variant)], quantity)

    def change(self, item: Item, variant: Variant, quantity: Quantity) -> float:
        """Return what a variant adds to the whole model's cost, in s or J; negative for a saving."""
        if variant == FULL:
            return 0.0
        found, full = self.cost(item, variant, quantity), self.cost(item, FULL, quantity)
        if found is None or full is None:
            raise ValueError("a table without joules was asked for energy")
        return found.value - full.value

    def predicted(self, chosen: Sequence[Variant], quantity: Quantity) -> Estimate:
        """Predict the remaining share of the whole model's cost, with one variant for each item.

        The interval adds up those of the blocks (counting identical ones as one) and of the whole.

        Raises:
            ValueError: energy is requested, but the table has no joules.
        """
        whole = quantity_of(self.whole, quantity)
        if whole is None:
            raise ValueError("a table without joules was asked for energy")
        change, alike = 0.0, dict[tuple[str, str], float]()
        for item, variant in zip(self.items, chosen, strict=True):
            change += self.change(item, variant, quantity)
            if variant != FULL:
                ends = [self.cost(item, each, quantity) for each in (variant, FULL)]
                half = math.hypot(*(_half(end) for end in ends if end is not None))
                # Equal blocks share one measurement, so their errors are the same error and add up linearly.
                place = (item.signature, item.label(variant))
                alike[place] = alike.get(place, 0.0) + half
        # Blocks are measured apart from the model, so their savings can add up to more than its cost.
        share = max(0.0, 1 + change / whole.value)
        # Different blocks were measured apart, so their errors add up in quadrature.
        error = math.hypot(*alike.values()) / whole.value
        return Estimate(share, max(0.0, share - error), share + error, "1", whole.n, METHOD, whole.evidence)

    def worthwhile(self, item: Item, quantity: Quantity) -> tuple[Variant, ...]:
        """Return the variants that cost less than every wider one, the full block first.

        A narrower block is less accurate, so one that saves nothing is not worth its loss.
        """
        found: list[Variant] = []
        for variant in item.variants:
            saving = -self.change(item, variant, quantity)
            wider = [each for each in item.variants if each != variant and _holds(item, each, variant)]
            if variant == FULL or all(saving > -self.change(item, each, quantity) for each in wider):
                found.append(variant)
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        blocks: dict[str, dict[str, Any]] = {}
        for item in self.items:
            row = blocks.setdefault(
                item.signature, {"blocks": [], "units": item.units, "takes": list(item.input.shape), "costs": {}}
            )
            row["blocks"].append(item.path)
            row["costs"] |= {label: cost.to_json() for label, cost in self.costs[item.signature].items()}
        return {"conditions": dict(self.key), "whole": self.whole.to_json(), "blocks": list(blocks.values())}


@dataclass(frozen=True)
class TableMaker:
    """Makes tables, using the cache.

    Attributes:
        shipping: the form that ships.
        timer: measures files.
        key: conditions, without the form.
        cache: the cache.
        progress: where to report progress.
    """

    shipping: Shipping
    timer: Timer
    key: Mapping[str, Any]
    cache: CostCache
    progress: Progress

    def make(
        self, model: nn.Module, items: Sequence[Item], preprocess: Preprocess, samples: npt.NDArray[Any]
    ) -> CostTable:
        """Make the table of a model.

        Args:
            model: model in eval mode that contains the items.
            items: its blocks.
            preprocess: contract with which it is exported.
            samples: (n, ...) preprocessed samples on which the whole model runs.

        Raises:
            ModelError: the model, or a block, cannot be exported or quantized.
            MeasureError: a worker failed.
        """
        measured = 0
        with tempfile.TemporaryDirectory(prefix="leanmark-table-") as scratch:
            folder = Path(scratch)
            form, whole = self.whole(model, preprocess, samples, folder)
            key = {**self.key, **form.to_json()}
            costs: dict[str, Mapping[str, Cost]] = {}
            for item in items:
                if item.signature in costs:
                    continue
                labels = {item.label(variant) for variant in item.variants}
                known = self.cache.read(key, item.signature)
                if not labels <= known.keys():
                    known = self._measured(model, item, form, folder)
                    self.cache.write(key, item.signature, known)
                    measured += 1
                costs[item.signature] = known
            cost = self.timer({"whole": whole})["whole"]
        return CostTable(key, cost, tuple(items), costs, measured)

    def whole(
        self, model: nn.Module, preprocess: Preprocess, samples: npt.NDArray[Any], folder: Path, name: str = "whole"
    ) -> tuple[Shipping, TimedFile]:
        """Return a whole model as it ships, and the form in which its blocks ship.

        Raises:
            ModelError: it cannot be exported or quantized.
        """
        floats = forms.whole_model(model, preprocess, folder)
        form = replace(self.shipping, operators=forms.operators_of(floats, self.shipping.operators))
        feeds = [by_input(preprocess.input_names, samples[i : i + 1]) for i in range(len(samples))]
        path = forms.save(forms.as_shipped(floats, form, feeds), folder / f"{name}.shipped.onnx")
        return form, TimedFile(path, samples, tuple(preprocess.input_names), preprocess.output_name)

    def side_by_side(
        self,
        models: Mapping[str, nn.Module],
        preprocess: Preprocess,
        samples: npt.NDArray[Any],
        in_floats: Collection[str] = (),
    ) -> Mapping[str, Cost]:
        """Measure whole models as they ship, in turn, and those named in ``in_floats`` in floats.

        Raises:
            ModelError: one cannot be exported or quantized.
            MeasureError: a worker failed.
        """
        floats = replace(self, shipping=replace(self.shipping, precision="float"))
        with tempfile.TemporaryDirectory(prefix="leanmark-compare-") as folder:
            files = {
                name: (floats if name in in_floats else self).whole(model, preprocess, samples, Path(folder), name)[1]
                for name, model in models.items()
            }
            return self.timer(files)

    def _measured(self, model: nn.Module, item: Item, form: Shipping, folder: Path) -> dict[str, Cost]:
        """Measure the costs of one block by label; several of its variants are measured against each other at once."""
        full, costs = item.label(FULL), dict[str, Cost]()
        copies = STACKED if item.keeps_shape else 1
        files: dict[str, TimedFile] = {}
        others = [variant for variant in item.variants if variant != FULL and not variant.dropped]
        with self.progress.task(f"Exporting {item.path or 'the model'}", len(others) + 1) as bar:
            for number, variant in enumerate((FULL, *others)):
                single = forms.one_block(block(model, item, variant), item.input, folder)
                stacks = {item.label(variant): copies}
                if variant == FULL and item.keeps_shape:
                    stacks[FEWER_LABEL] = FEWER
                for label, count in stacks.items():
                    files[label] = _stack(single, count, item, form, folder / f"{number}.{count}.onnx")
                bar.advance(1)
        # The full block runs with every part, so that each difference is taken between windows of the same minutes.
        base = {name: files[name] for name in (full, FEWER_LABEL) if name in files}
        labels = [label for label in files if label not in base]
        for begin in range(0, max(1, len(labels)), MOST_AT_ONCE):
            part = {label: files[label] for label in labels[begin : begin + MOST_AT_ONCE]}
            costs = _by_label(self.timer({**base, **part}), full, copies) | costs
        if any(variant.dropped for variant in item.variants):
            costs[item.label(Variant(dropped=True))] = _nothing(costs[full])
        return costs


def _stack(single: onnx.ModelProto, copies: int, item: Item, form: Shipping, path: Path) -> TimedFile:
    """Write the file of some copies of a block, as it ships."""
    stack = forms.stacked(single, copies)
    name, output = stack.graph.input[0].name, stack.graph.output[0].name
    forms.save(forms.as_shipped(stack, form, [{name: item.input}]), path)
    return TimedFile(path, item.input, (name,), output)


def _by_label(found: Mapping[str, Cost], full: str, copies: int) -> dict[str, Cost]:
    """Return costs of one copy by label, from those of stacks that were measured together."""
    base = found[full]
    if FEWER_LABEL in found:
        base = _difference(found[full], found[FEWER_LABEL], STACKED - FEWER)
    costs = {full: base}
    for label, cost in found.items():
        if label not in (full, FEWER_LABEL):
            # Not the narrow stack's own cost per copy: the ends of a file would be divided among the copies.
            costs[label] = _sum(base, _difference(cost, found[full], copies))
    return costs


def _difference(more: Cost, less: Cost, copies: int) -> Cost:
    return _each(more, less, lambda a, b: _combined(a, b, (a.value - b.value) / copies, copies))


def _sum(first: Cost, second: Cost) -> Cost:
    return _each(first, second, lambda a, b: _combined(a, b, a.value + b.value, 1))


def _nothing(like: Cost) -> Cost:
    return _each(like, like, lambda a, _: Estimate(0.0, 0.0, 0.0, a.unit, a.n, METHOD, a.evidence))


def _each(first: Cost, second: Cost, combine: Any) -> Cost:
    joules = None if first.energy_j is None or second.energy_j is None else combine(first.energy_j, second.energy_j)
    return Cost(combine(first.duration_s, second.duration_s), joules)


def _combined(first: Estimate, second: Estimate, value: float, copies: int) -> Estimate:
    half = math.hypot(_half(first), _half(second)) / copies
    return Estimate(value, value - half, value + half, first.unit, min(first.n, second.n), METHOD, first.evidence)


def _half(estimate: Estimate) -> float:
    return max(estimate.high - estimate.value, estimate.value - estimate.low)


def quantity_of(cost: Cost, quantity: Quantity) -> Estimate | None:
    """Return the joules or seconds of a cost; None for joules without a meter."""
    return cost.energy_j if quantity == "energy" else cost.duration_s


def _holds(item: Item, wider: Variant, narrower: Variant) -> bool:
    """Return whether one variant has all units of another."""
    if narrower.dropped or wider.dropped:
        return narrower.dropped
    return all(wider.widths.get(name, full) >= narrower.widths.get(name, full) for name, full in item.units.items())
