"""Choice of the format of each block of a file: integers, floats, or int4 weights.

A multiple-choice knapsack weighs the loss of each rounded block, measured with no other block rounded, against the
extra cost of the block in floats, measured between integers, with the conversions and, for convolutions, the changes of
layout on both sides. Float blocks in a row convert only at the ends of their run.
Blocks of matrix products may get int4 weights where the table shows that these cost less than integers. The chosen file
is measured against the float file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt
import onnx
import torch

from certify.core.estimate import Estimate
from certify.core.input_mapping import by_input
from compress.core import onnx_file
from compress.core.context import PassContext
from compress.core.pass_protocol import Pass
from compress.core.timing import Feeding
from compress.costs import shipped_form as forms
from compress.costs.aiming import Attempt, Met, make_least_lossy
from compress.costs.cost_table import METHOD, WORDS, CostTable, quantity_of
from compress.costs.goal import NO_METER, CostGoal
from compress.costs.items import FLOATS, FULL, INT4, Item, Variant
from compress.costs.losses import divergence_of
from compress.costs.ratios import share_of
from compress.costs.table_maker import SAMPLES, TableMaker, table_maker
from compress.costs.timing import Cost, TimedFile
from compress.onnx_graph.graph import Graph, probe
from compress.onnx_graph.segments import Segment, cut_out, find_segments, signature
from compress.quantization.post_training.calibration import Feeds
from compress.quantization.post_training.quantizer import Quantizer
from compress.quantization.post_training.sensitivity import outputs
from compress.quantization.post_training.static import Choice, Chooser
from compress.quantization.post_training.weight_only import plain_products, with_int4_weights


def format_choice(goal: CostGoal, quantizing: Pass, context: PassContext) -> Chooser:
    """Return the function that chooses the formats of a file's blocks.

    Args:
        goal: target, as a share of the float file's cost.
        quantizing: pass that rounds the file.
        context: samples, contract, and the target's default.

    Raises:
        UsageError: the runtime cannot be used here.
    """
    maker = table_maker(goal.conditions, "int8", replace(context, following=(quantizing,)))

    def choose_formats(quantizer: Quantizer, kept: Sequence[str]) -> Choice:
        segments = [each for each in find_segments(quantizer.floats) if set(kept).isdisjoint(each.nodes)]
        # One segment is the whole file, and a choice between two files needs no table.
        if len(segments) < 2:
            return Choice(refused="its blocks cannot be measured separately: no value inside it is on all paths")
        with tempfile.TemporaryDirectory(prefix="leanmark-formats-") as scratch:
            return FormatChoice(goal, maker, context, quantizer, kept, segments, Path(scratch)).carry_out()

    return choose_formats


class FormatChoice:
    """Choice of the formats of one file's blocks.

    Args:
        goal: target.
        maker: makes tables and measures files.
        context: samples and contract.
        quantizer: makes files with chosen formats.
        kept: nodes that the recipe keeps float.
        segments: the blocks.
        folder: folder for temporary files.
    """

    def __init__(
        self,
        goal: CostGoal,
        maker: TableMaker,
        context: PassContext,
        quantizer: Quantizer,
        kept: Sequence[str],
        segments: Sequence[Segment],
        folder: Path,
    ) -> None:
        self._goal, self._maker, self._context, self._quantizer = goal, maker, context, quantizer
        self._kept, self._segments, self._folder = kept, segments, folder
        self._samples = context.samples(SAMPLES)

    def carry_out(self) -> Choice:
        """Measure the blocks, then choose formats; return the least lossy choice whose file meets the goal."""
        goal, what = self._goal, WORDS[self._goal.quantity]
        all_integers = self._made("integers", Choice())
        whole = self._side_by_side(all_integers)
        if any(quantity_of(each, goal.quantity) is None for each in whole.values()):
            return Choice(refused=NO_METER)
        integers = share_of(whole["chosen"], whole["floats"], goal.quantity)
        table = self._table(all_integers)
        candidates = [table.worthwhile(item, goal.quantity) for item in table.items]
        declined = table.without_gain(candidates, goal.quantity)
        losses = self._losses(candidates)

        def made(chosen: Sequence[Variant]) -> Attempt[Choice] | str:
            choice = Choice(self._nodes(chosen, FLOATS), self._nodes(chosen, INT4), declined=declined)
            # It would be the given file.
            if all(variant == FLOATS for variant in chosen):
                return Attempt(choice, Estimate.exact(1.0, "1", METHOD), "with every block in floats, nothing is saved")
            measured = self._side_by_side(self._made("chosen", choice))
            return Attempt(choice, share_of(measured["chosen"], measured["floats"], goal.quantity))

        met = make_least_lossy(goal, table, candidates, losses, integers, made, "the cheapest format of each block")
        if isinstance(met, str):
            return Choice(refused=f"{goal.share:g} of the {what} cannot be reached: {met}", declined=declined)
        return replace(met.attempt.made, notes=self._notes(table, met))

    def _nodes(self, chosen: Sequence[Variant], wanted: Variant) -> tuple[str, ...]:
        """Return the names of the nodes of the blocks for which one variant was chosen."""
        pairs = zip(chosen, self._segments, strict=True)
        return tuple(name for variant, segment in pairs if variant == wanted for name in segment.nodes)

    def _table(self, integers: TimedFile) -> CostTable:
        """Measure each block in all formats that it can have, and the file in integers beside the blocks."""
        graph = self._quantizer.floats
        form = replace(self._maker.shipping, operators=forms.operators_of(graph.model, self._maker.shipping.operators))
        files = {segment.nodes[0]: cut_out(graph, segment) for segment in self._segments}

        given = {segment.output: segment.nodes[0] for segment in self._segments}
        items = [
            replace(self._item(graph, segment, values, files[segment.nodes[0]]), follows=given.get(segment.input))
            for segment, values in self._inputs(graph)
        ]
        return self._maker.table(integers, items, form, lambda item, _: files[item.path], self._folder)

    def _inputs(self, graph: Graph) -> list[tuple[Segment, npt.NDArray[Any]]]:
        """Return the input of each block for one sample."""
        sample = by_input(self._context.preprocess.input_names, self._samples[:1])
        inner = [segment.input for segment in self._segments if segment.input not in sample]
        found = {**sample, **next(probe(graph.model, inner, [sample]))}
        return [(segment, found[segment.input]) for segment in self._segments]

    @staticmethod
    def _item(graph: Graph, segment: Segment, sample: npt.NDArray[Any], alone: onnx.ModelProto) -> Item:
        inputs = {value.name for value in graph.model.graph.input}
        borders = segment.input not in inputs, segment.output not in graph.outputs
        same = graph.shape(segment.input) is not None and graph.shape(segment.input) == graph.shape(segment.output)
        own = f"{signature(alone, sample.shape)}.{borders[0]:d}{borders[1]:d}"
        inside = Graph(alone)
        variants = (FULL, FLOATS, INT4) if len(plain_products(inside)) == len(inside.weighted()) else (FULL, FLOATS)
        return Item(segment.nodes[0], (), sample, same and all(borders), variants, own, borders)

    def _losses(self, candidates: Sequence[Sequence[Variant]]) -> list[list[float]]:
        """Measure the divergence of the outputs with one block changed at a time."""
        quantizer, context = self._quantizer, self._context
        graph, output = quantizer.floats, context.preprocess.output_name
        feeds = Feeds(
            context, graph.model, self._goal.samples, quantizer.batch, quantizer.settings.pass_name,
            context.data.validation,
        )  # fmt: skip
        wanted = _log_shares(outputs(graph.model, output, feeds))

        def lost(segment: Segment, variant: Variant) -> float:
            if variant == FLOATS:
                return 0.0
            # All other nodes stay float, so the loss is that of this block alone; losses are added up in the knapsack.
            others = [node.name for node in graph.nodes if node.name not in segment.nodes]
            changed = (
                with_int4_weights(graph.model, segment.nodes)
                if variant == INT4
                else quantizer.make([*self._kept, *others])
            )
            return divergence_of(_log_shares(outputs(changed, output, feeds)), wanted)

        losses = []
        with context.progress.task("Measuring the loss of each block", len(self._segments)) as bar:
            for segment, row in zip(self._segments, candidates, strict=True):
                losses.append([lost(segment, variant) for variant in row])
                bar.advance(1)
        return losses

    def _side_by_side(self, made: TimedFile) -> Mapping[str, Cost]:
        """Measure a file with chosen formats, as ``chosen``, and the float file, as ``floats``."""
        return self._maker.timer({"floats": replace(made, path=self._quantizer.source), "chosen": made})

    def _made(self, name: str, choice: Choice) -> TimedFile:
        """Write the file with chosen formats."""
        # int4 weights replace float products, so int8 must leave these nodes alone.
        integers = self._quantizer.make([*self._kept, *choice.floats, *choice.int4])
        path = self._folder / f"{name}.onnx"
        onnx_file.save(with_int4_weights(integers, choice.int4), path)
        return TimedFile(path, Feeding.of(self._context.preprocess, self._samples))

    def _notes(self, table: CostTable, met: Met[Choice]) -> dict[str, Any]:
        goal, chosen, predicted = self._goal, met.chosen, met.predicted
        notes = {
            "asked": {goal.quantity: goal.share},
            "predicted_share": predicted.to_json(),
            "measured_share": met.attempt.share.to_json(),
            "divergence": met.lost,
            "conditions": table.stated,
            "blocks": len(chosen),
            "blocks_float": sum(one == FLOATS for one in chosen),
            "blocks_int4": sum(one == INT4 for one in chosen),
            "blocks_measured": table.measured,
        }
        if any(self._context.earlier):  # the float file is not the original
            return {"formats": notes}
        ratio = {f"{goal.quantity}_ratio": predicted.to_json(), "threads": table.stated["threads"]}
        return {"formats": notes, "predicted": ratio}


def _log_shares(outputs: npt.NDArray[Any]) -> torch.Tensor:
    """Return the log-probabilities of the classes, from the outputs of a file."""
    return torch.from_numpy(outputs).float().log_softmax(1)
