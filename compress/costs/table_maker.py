"""Measuring the blocks of a model in the form that ships.

Every block is exported, converted to the precision that ships, and measured, in stacks of copies where it keeps its
shape. At the end the whole model and the full blocks are measured in turn, and all costs are scaled to that moment.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx
from torch import nn

from certify.core.input_mapping import by_input
from certify.core.progress import Progress
from certify.data import Preprocess
from compress.core.context import PassContext
from compress.core.timing import Feeding
from compress.costs import shipped_form as forms
from compress.costs.cost_cache import CostCache
from compress.costs.cost_table import CostTable, half_width
from compress.costs.items import FLOAT_BITS, FLOATS, FULL, Item, Variant, block
from compress.costs.shipped_form import INTEGERS, KeptNodes, Precision, Shipping, WholeModel
from compress.costs.stacks import (
    BETWEEN_LABEL,
    ROW_LABEL,
    STACK_LABEL,
    by_label,
    copies_of,
    full_stacks,
    layers_around,
    nothing,
    row_file,
    scaled,
    stack_file,
)
from compress.costs.timing import Conditions, Cost, TimedFile, Timer, timer
from compress.onnx_graph.scopes import still_named
from compress.quantization.post_training.weight_only import with_int4_weights

Export = Callable[[Item, Variant], onnx.ModelProto]
WHOLE = "whole"
"""Label of the whole model beside its blocks."""
MOST_AT_ONCE = 16
"""Number of variants measured against each other, each in its own process."""
STEADY = 0.05
"""Largest half width of the interval of a stack's time, as a share of the time, with which it is not measured again."""
DRIFT = 1.1
"""Change of a stack's time up to which the costs of its block are scaled, and not measured again: where a neighbour
takes half of a core, arithmetic slows down more than the rest."""
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

            return self.table(whole, items, form, exported, folder)

    def conditions(self, form: Shipping) -> dict[str, Any]:
        """Return what the costs of blocks depend on."""
        return {**self.key, **form.to_json()}

    def table(
        self, whole: TimedFile, items: Sequence[Item], form: Shipping, exported: Export, folder: Path
    ) -> CostTable:
        """Return the costs of a whole model and of its blocks, from the cache where their speed is still the same.

        Args:
            whole: the whole model, as it ships.
            items: its blocks.
            form: form in which they ship.
            exported: returns a variant of a block as a float model.
            folder: folder for temporary files.

        Raises:
            ModelError: a block cannot be exported or quantized.
            MeasureError: a worker failed.
        """
        key, measured = self.conditions(form), set[str]()
        kinds = {item.signature: item for item in items}
        singles, stacks = dict[str, onnx.ModelProto](), dict[str, TimedFile]()

        def unchanged(item: Item) -> onnx.ModelProto:
            # Units outside of all blocks are narrowed in the whole model, so one export serves all of them.
            name = item.signature if item.path else ""
            if name not in singles:
                singles[name] = exported(item, FULL)
            return singles[name]

        def measure(item: Item) -> Mapping[str, Cost]:
            found = self._measured(item, unchanged(item), form, exported, folder)
            self.cache.write(key, item.signature, found)
            measured.add(item.signature)
            return found

        with self.progress.task("Exporting the blocks", len(kinds)) as bar:
            for number, (signature, item) in enumerate(kinds.items()):
                # The whole model is measured anyway.
                if item.path:
                    path = folder / f"full.{number}.onnx"
                    stacks[signature] = stack_file(unchanged(item), copies_of(item), item, form, path)
                bar.advance(1)
        costs = dict[str, Mapping[str, Cost]]()
        for signature, item in kinds.items():
            labels = {item.label(variant) for variant in item.variants}
            known = self.cache.read(key, signature)
            costs[signature] = known if labels <= known.keys() else measure(item)
        base, now = self._beside_whole(whole, stacks)
        for confirmed in (False, True):  # one round may be disturbed
            moved = [each for each in stacks if _drifted(now[each], costs[each][STACK_LABEL])]
            costs |= {each: measure(kinds[each]) for each in moved if confirmed}
            base, now = self._beside_whole(whole, stacks) if moved else (base, now)
        scaled_costs = dict[str, Mapping[str, Cost]]()
        for each, own in costs.items():
            # Compared by stacks, since the cost of one copy is a difference of two, in which noise weighs more.
            names = [label for label in own if label != STACK_LABEL]
            scaled_costs[each] = {name: scaled(own[name], now.get(each, base), own[STACK_LABEL]) for name in names}
        return CostTable(key, base, tuple(items), scaled_costs, len(measured))

    def _beside_whole(self, whole: TimedFile, stacks: Mapping[str, TimedFile]) -> tuple[Cost, dict[str, Cost]]:
        """Measure the whole model and the full blocks' stacks in turn; return its cost, and theirs by signature.

        Costs were measured one block after another, perhaps days ago, on a machine that others may share.
        """
        base: Cost | None = None
        now = dict[str, Cost]()
        signatures = list(stacks)
        for begin in range(0, max(1, len(signatures)), MOST_AT_ONCE):
            part = signatures[begin : begin + MOST_AT_ONCE]
            found = self.timer({WHOLE: whole, **{each: stacks[each] for each in part}})
            base = base or found[WHOLE]
            now |= {each: scaled(found[each], base, found[WHOLE]) for each in part}
        assert base is not None
        return base, now

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

    def _measured(
        self, item: Item, whole_block: onnx.ModelProto, form: Shipping, exported: Export, folder: Path
    ) -> dict[str, Cost]:
        """Measure the costs of one block, and of its stack, by label; several variants against each other at a time."""
        full, costs = item.label(FULL), dict[str, Cost]()
        files, singles = dict[str, TimedFile](), {full: whole_block}
        others = [variant for variant in item.variants if variant != FULL and not variant.dropped]
        around = any(layers_around(whole_block, item, form))
        between = {item.label(variant) for variant in others if variant.floats and around}
        with self.progress.task(f"Exporting {item.path or 'the model'}", len(others) + 1) as bar:
            for number, variant in enumerate((FULL, *others)):
                widths = item.label(variant.integers)
                single = singles[widths] if widths in singles else exported(item, variant)
                singles[widths] = single
                if variant.bits < FLOAT_BITS:
                    single = with_int4_weights(single, [node.name for node in single.graph.node])
                counts = full_stacks(item) if variant == FULL else {item.label(variant): copies_of(item)}
                for label, count in counts.items():
                    path = folder / f"{number}.{count}.onnx"
                    files[label] = stack_file(
                        single, count, item, form, path, floats=variant.floats, between=label in between
                    )
                bar.advance(1)
        base = {name: files[name] for name in full_stacks(item)}
        if between:
            path = folder / "between.onnx"
            base[BETWEEN_LABEL] = stack_file(whole_block, copies_of(item), item, form, path, between=True)
        floats = item.label(FLOATS)
        if floats in files and item.keeps_shape and form.rounds_values:
            files[ROW_LABEL] = row_file(whole_block, item, form, folder / "row.onnx")
        # Measure the full block with every part, so that each difference is between windows of about the same time.
        # The row is in the first part with what it is compared with.
        labels = sorted(files.keys() - base.keys(), key=lambda each: (each not in (floats, ROW_LABEL), each))
        for begin in range(0, max(1, len(labels)), MOST_AT_ONCE):
            part = {label: files[label] for label in labels[begin : begin + MOST_AT_ONCE]}
            stacks = self._steady({**base, **part}, [full, BETWEEN_LABEL] if between else [full])
            found = by_label(stacks, full, copies_of(item), between, floats)
            stack = (costs or found)[STACK_LABEL]
            costs = {label: scaled(cost, stack, found[STACK_LABEL]) for label, cost in found.items()} | costs
        if any(variant.dropped for variant in item.variants):
            costs[item.label(Variant(dropped=True))] = nothing(costs[full])
        return costs

    def _steady(self, files: Mapping[str, TimedFile], names: Collection[str]) -> Mapping[str, Cost]:
        """Measure files, and again if one of the given names was disturbed; return the better measurement."""

        def doubt(found: Mapping[str, Cost]) -> float:
            return max(half_width(found[name].duration_s) / found[name].duration_s.value for name in names)

        first = self.timer(files)
        return first if doubt(first) <= STEADY else min(first, self.timer(files), key=doubt)


def _drifted(now: Cost, then: Cost) -> bool:
    """Return whether a stack takes another time than when its block was measured."""
    change = now.duration_s.value / then.duration_s.value
    return max(change, 1 / change) > DRIFT


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
