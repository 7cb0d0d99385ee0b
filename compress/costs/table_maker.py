"""Measuring the blocks of a model in the form that ships.

Every block is exported, converted to the precision that ships, and measured. Copies of a block that keeps its shape are
stacked: the difference of two stacks cancels the cost of a runtime call and of the ends of the file.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx
from torch import nn

from certify.core.estimate import Estimate
from certify.core.input_mapping import by_input
from certify.core.progress import Progress
from certify.data import Preprocess
from compress.core.context import PassContext
from compress.core.timing import Feeding
from compress.costs import shipped_form as forms
from compress.costs.cost_cache import CostCache
from compress.costs.cost_table import METHOD, CostTable, half_width
from compress.costs.items import FLOAT_BITS, FULL, Item, Variant, block
from compress.costs.shipped_form import INTEGERS, KeptNodes, Precision, Shipping, WholeModel
from compress.costs.timing import Conditions, Cost, TimedFile, Timer, timer
from compress.quantization.post_training.prepare import still_named
from compress.quantization.post_training.weight_only import with_int4_weights

Export = Callable[[Item, Variant], onnx.ModelProto]
STACKED, FEWER = 6, 2
"""Copies in a stack, and in the smaller one with which it is compared."""
FEWER_LABEL = "fewer"
MOST_AT_ONCE = 16
"""Number of variants measured against each other, each in its own process."""
SAMPLES = 8
"""Number of samples on which whole models run, in turn, while they are measured."""


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
        with tempfile.TemporaryDirectory(prefix="leanmark-table-") as scratch:
            folder = Path(scratch)
            form, whole = self.whole(forms.whole_model(model, preprocess, folder), preprocess, samples, folder)

            def exported(item: Item, variant: Variant) -> onnx.ModelProto:
                return forms.one_block(block(model, item, variant), item.input, folder)

            costs, measured = self.costs(items, form, exported, folder)
            cost = self.timer({"whole": whole})["whole"]
        return CostTable(self.conditions(form), cost, tuple(items), costs, measured)

    def conditions(self, form: Shipping) -> dict[str, Any]:
        """Return what the costs of blocks depend on."""
        return {**self.key, **form.to_json()}

    def costs(
        self, items: Sequence[Item], form: Shipping, exported: Export, folder: Path
    ) -> tuple[dict[str, Mapping[str, Cost]], int]:
        """Return the costs of blocks by signature and label, and the number of blocks measured in this call.

        Args:
            items: the blocks.
            form: form in which they ship.
            exported: returns a variant of a block as a float model.
            folder: folder for temporary files.

        Raises:
            ModelError: a block cannot be exported or quantized.
            MeasureError: a worker failed.
        """
        key, measured = self.conditions(form), 0
        costs: dict[str, Mapping[str, Cost]] = {}
        for item in items:
            if item.signature in costs:
                continue
            labels = {item.label(variant) for variant in item.variants}
            known = self.cache.read(key, item.signature)
            if not labels <= known.keys():
                known = self._measured(item, form, exported, folder)
                self.cache.write(key, item.signature, known)
                measured += 1
            costs[item.signature] = known
        return costs, measured

    def whole(
        self,
        model: WholeModel,
        preprocess: Preprocess,
        samples: npt.NDArray[Any],
        folder: Path,
        name: str = "whole",
        kept: KeptNodes = INTEGERS,
    ) -> tuple[Shipping, TimedFile]:
        """Return a whole model as it ships, and the form in which its blocks ship.

        Args:
            model: the exported model.
            preprocess: contract with which it was exported.
            samples: (n, ...) preprocessed samples.
            folder: folder for its files.
            name: name of the file.
            kept: nodes that do not become integers.

        Raises:
            ModelError: it cannot be quantized.
        """
        form = replace(self.shipping, operators=forms.operators_of(model.file, self.shipping.operators))
        feeds = [by_input(preprocess.input_names, samples[i : i + 1]) for i in range(len(samples))]
        still = KeptNodes(still_named(model.file, kept.floats), still_named(model.file, kept.int4))
        shipped = forms.as_shipped(model.file, form, feeds, still)
        path = forms.save(shipped, folder / f"{name}.shipped.onnx")
        return form, TimedFile(path, Feeding.of(preprocess, samples))

    def side_by_side(
        self,
        models: Mapping[str, WholeModel],
        preprocess: Preprocess,
        samples: npt.NDArray[Any],
        in_floats: Collection[str] = (),
        kept: Mapping[str, KeptNodes] | None = None,
    ) -> Mapping[str, Cost]:
        """Measure whole models in turn as they ship, apart from nodes in ``kept``; those in ``in_floats`` in floats.

        Raises:
            ModelError: one cannot be quantized.
            MeasureError: a worker failed.
        """
        floats = replace(self, shipping=replace(self.shipping, precision="float"))
        with tempfile.TemporaryDirectory(prefix="leanmark-compare-") as folder:
            files = {}
            for name, model in models.items():
                maker, nodes = floats if name in in_floats else self, (kept or {}).get(name, INTEGERS)
                files[name] = maker.whole(model, preprocess, samples, Path(folder), name, nodes)[1]
            return self.timer(files)

    def _measured(self, item: Item, form: Shipping, exported: Export, folder: Path) -> dict[str, Cost]:
        """Measure the costs of one block by label, several variants against each other at a time."""
        full, costs = item.label(FULL), dict[str, Cost]()
        copies = STACKED if item.keeps_shape else 1
        files, singles = dict[str, TimedFile](), dict[str, onnx.ModelProto]()
        others = [variant for variant in item.variants if variant != FULL and not variant.dropped]
        with self.progress.task(f"Exporting {item.path or 'the model'}", len(others) + 1) as bar:
            for number, variant in enumerate((FULL, *others)):
                widths = item.label(variant.integers)
                single = singles[widths] if widths in singles else exported(item, variant)
                singles[widths] = single
                if variant.bits < FLOAT_BITS:
                    single = with_int4_weights(single, [node.name for node in single.graph.node])
                stacks = {item.label(variant): copies}
                if variant == FULL and item.keeps_shape:
                    stacks[FEWER_LABEL] = FEWER
                for label, count in stacks.items():
                    path = folder / f"{number}.{count}.onnx"
                    stack = (_floats if variant.floats else _stack)(single, count, item, form)
                    names = (stack.graph.input[0].name,), stack.graph.output[0].name
                    feeding = Feeding(*names, item.input, input_shape=item.input.shape)
                    files[label] = TimedFile(forms.save(stack, path), feeding)
                bar.advance(1)
        # Measure the full block with every part, so that each difference is between windows of about the same time.
        base = {name: files[name] for name in (full, FEWER_LABEL) if name in files}
        labels = [label for label in files if label not in base]
        for begin in range(0, max(1, len(labels)), MOST_AT_ONCE):
            part = {label: files[label] for label in labels[begin : begin + MOST_AT_ONCE]}
            costs = _by_label(self.timer({**base, **part}), full, copies) | costs
        if any(variant.dropped for variant in item.variants):
            costs[item.label(Variant(dropped=True))] = _nothing(costs[full])
        return costs


def table_maker(
    conditions: Conditions, precision: Precision | None, context: PassContext, cache: CostCache | None = None
) -> TableMaker:
    """Return the maker of tables on this machine, for models as they ship after the later passes.

    Raises:
        UsageError: the runtime cannot be used here.
    """
    shipping = Shipping.after(context.following, context.target, precision)
    measuring = timer(conditions, context.progress)
    return TableMaker(shipping, measuring, conditions.to_json(), cache or CostCache(), context.progress)


def _stack(single: onnx.ModelProto, copies: int, item: Item, form: Shipping) -> onnx.ModelProto:
    """Return some copies of a block, as they ship."""
    # Quantized after stacking, so that neighbouring copies exchange integers, as blocks do in the whole file.
    stack = forms.stacked(single, copies)
    return forms.as_shipped(stack, form, [{stack.graph.input[0].name: item.input}])


def _floats(single: onnx.ModelProto, copies: int, item: Item, form: Shipping) -> onnx.ModelProto:
    """Return some copies of a block in floats, each between integers.

    A stack in integers is rounded only at its ends; this one is rounded before each copy and after the last. So the
    difference of two such stacks includes both conversions of each float block, as between integer neighbours.
    """
    before, after = item.borders
    stack = forms.stacked(forms.rounded_before(single, form) if before else single, copies)
    return forms.rounded_after(stack, form) if after else stack


def _by_label(found: Mapping[str, Cost], full: str, copies: int) -> dict[str, Cost]:
    """Return costs of one copy by label, from those of stacks that were measured together."""
    base = found[full]
    if FEWER_LABEL in found:
        # The two stacks differ by STACKED - FEWER copies and nothing else, so the runtime's call and the file's ends
        # cancel.
        base = _difference(found[full], found[FEWER_LABEL], STACKED - FEWER)
    costs = {full: base}
    for label, cost in found.items():
        if label not in (full, FEWER_LABEL):
            # Not the stack's own cost divided by its copies, which would include a share of the file's ends.
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
    # The two measurements are independent, so their errors add up in quadrature.
    half = math.hypot(half_width(first), half_width(second)) / copies
    return Estimate(value, value - half, value + half, first.unit, min(first.n, second.n), METHOD, first.evidence)
