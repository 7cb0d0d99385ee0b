"""The engine for one file: groups, verification, choice of units, removal, refit, and the new file."""

from __future__ import annotations

import copy
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from certify.core.errors import ModelError
from certify.data.split import Split
from certify.model_file.onnx_graph.counts import count
from certify.model_file.onnx_graph.load import load_model
from compress.core import onnx_file
from compress.core.context import PassContext
from compress.core.free_memory import free_bytes
from compress.core.onnx_reads import drop_unread
from compress.core.onnx_session import session
from compress.core.pass_protocol import Declined, PassRecord
from compress.onnx_graph.graph import Array, Graph, probe
from compress.pruning.least_squares import LayerRefit
from compress.pruning.onnx_units.allocation import Allocation, GroupCosts, Scope, allocate
from compress.pruning.onnx_units.groups import UnitGroup, find_groups, mask, take
from compress.pruning.onnx_units.layers import FileLayer, find_layers
from compress.pruning.onnx_units.refitting import (
    MOST_INPUTS,
    Cut,
    compensate_readers,
    order_units,
    ordered,
    refit_layers,
)
from compress.pruning.onnx_units.sensitivity import OutputErrors, change, output_error
from compress.pruning.proof import OF_EFFECT, OF_OUTPUT, bisect_valid
from compress.quantization.post_training.batch_size import choose_batch
from compress.quantization.post_training.calibration import Feeds
from compress.quantization.post_training.prepare import prepared

LARGEST_BATCH = 64
CHECKED = 64
"""Number of samples on which outputs are compared, from the calibration part if there is one."""
PROVED = 4
"""Number of samples on which removing and masking are compared."""


@dataclass(frozen=True)
class FileSettings:
    """Settings of the engine; the fields are those of the pass Reconstruct.

    Attributes:
        pass_name: name of the pass, for errors.
        macs: target MACs as a fraction of the file's.
        scope: whether all groups compete by the errors of layers or of the outputs, or each loses the same share.
        round_to: multiple to which numbers of units are rounded; None for the target's, at most an eighth of a group.
        max_ratio: largest share of its units that a group may lose.
        samples: maximum number of samples for the refit.
        batch: samples per run; None for as many as fit into memory.
        keep_nodes: patterns of nodes whose units stay.
    """

    pass_name: str
    macs: float
    scope: Scope
    round_to: int | None
    max_ratio: float
    samples: int
    batch: int | None
    keep_nodes: tuple[str, ...]


def reconstruct_file(settings: FileSettings, path: Path, context: PassContext) -> tuple[Path, PassRecord]:
    """Write a file without its least important units; return the given file, declined, if nothing can be removed.

    Args:
        settings: settings of the pass.
        path: path of an ONNX file.
        context: samples, whose labels are not read, and the folder of the new file.

    Raises:
        UsageError: the data has only test samples.
        ModelError: ONNX Runtime cannot prepare or run the file.
    """
    folder = context.workspace or path.parent
    graph = Graph(prepared(path, folder))
    layers = find_layers(graph)
    groups, declined = find_groups(graph, layers, settings.keep_nodes)
    narrow = [group for group in groups if np.prod(group.taker.shape[1:]) <= MOST_INPUTS]
    # Solving for the weights takes memory with the square of the inputs and time with their cube.
    wide = [Declined(g.name, f"{g.taker.name} has more than {MOST_INPUTS} inputs") for g in groups if g not in narrow]
    work = _Work(settings, graph, layers, context)
    proven = work.proven(narrow)
    wrong = [
        Declined(g.name, "removing its units is not equivalent to masking them") for g in narrow if g not in proven
    ]
    declined = [*declined, *wide, *wrong]
    if not proven:
        return path, PassRecord.refused(
            "it has no layer whose units are only read by layers inside the graph", declined
        )
    began = time.process_time()
    try:
        result = work.pruned(path, proven)
    except ModelError as error:  # although it ran as a whole
        return path, PassRecord.refused(f"it cannot be run layer by layer ({error})", declined)
    if isinstance(result, str):
        return path, PassRecord.refused(result, declined)
    pruned, done, more = result
    done["cpu_s"] = round(time.process_time() - began, 3)
    written = folder / f"{path.stem}.pruned.onnx"
    with onnx_file.replacing(written) as beside:
        onnx_file.save(pruned.model, beside)
        session(beside)  # check that the runtime loads it
    return written, PassRecord(done, (*declined, *more))


class _Work:
    """One file from which units are removed."""

    def __init__(self, settings: FileSettings, graph: Graph, layers: Sequence[FileLayer], context: PassContext) -> None:
        self._settings, self._graph, self._layers, self._context = settings, graph, layers, context
        self._logits = context.preprocess.reading == "logits"
        data = context.data
        # Fit on train samples and check on calibration samples, so that overfitting is noticed.
        learnt = next((part for part in (data.train, data.calibration, data.validation) if part), None)
        checked = next((part for part in (data.calibration, data.validation, data.train) if part), None)
        every = learnt
        if learnt is not None and learnt is checked:
            # The choice of units and between two refits must not be made on the samples of the fit.
            shuffled = np.random.default_rng(context.seed).permutation(len(learnt))
            held = min(CHECKED, len(learnt) // 4)
            checked, learnt = learnt.subset(shuffled[:held]), learnt.subset(shuffled[held:])
        batch = settings.batch or choose_batch(graph, free_bytes(), LARGEST_BATCH).samples
        self._feeds = self._fed(settings.samples, batch, learnt)
        self._every = self._fed(settings.samples, batch, every) if learnt is not every else None
        self._checked = self._fed(CHECKED, batch, checked)
        self._tried = self._fed(PROVED, PROVED, checked)

    def _fed(self, samples: int, batch: int, split: Split | None) -> Feeds:
        # Copies would be in the samples of a fit and in those that are held out from it.
        return Feeds(self._context, self._graph.model, samples, batch, self._settings.pass_name, split, whole=True)

    def proven(self, groups: Sequence[UnitGroup]) -> list[UnitGroup]:
        """Return the groups for which removing every other unit is equivalent to masking it."""
        movable = [group for group in groups if group.units > 1]
        before = self._outputs(self._graph, self._tried) if movable else np.zeros(0)
        return bisect_valid(movable, lambda some: self._removal_is_masking(some, before))

    def _removal_is_masking(self, groups: Sequence[UnitGroup], before: Array) -> bool:
        cut, masked = _copy(self._graph), _copy(self._graph)
        for group in groups:
            # Remove every other unit, so that a mistake in the order of the units cannot go unnoticed.
            kept = np.arange(0, group.units, 2)
            take(cut, group, kept)
            mask(masked, group, kept)
        wanted = self._outputs(masked, self._tried)
        try:
            found = self._outputs(cut, self._tried)
        except ModelError:
            return False  # the cut parts do not fit together: the answer is no
        if found.shape != wanted.shape:
            return False
        difference, effect = (float(np.abs(each - wanted).max(initial=0.0)) for each in (found, before))
        return difference <= max(OF_EFFECT * effect, OF_OUTPUT * float(np.abs(wanted).max(initial=0.0)))

    def _outputs(self, graph: Graph, feeds: Feeds) -> Array:
        name = self._context.preprocess.output_name
        found = [each[name] for each in probe(graph.model, [name], feeds)]
        return np.concatenate(found).astype(np.float64)

    def pruned(
        self, path: Path, groups: Sequence[UnitGroup]
    ) -> tuple[Graph, dict[str, Any], tuple[Declined, ...]] | str:
        """Return the graph without units, what was done and declined; or why nothing was done."""
        settings, context = self._settings, self._context
        order = ordered(self._graph, self._layers, groups)
        with context.progress.task("Choosing units", len(groups)) as bar:
            if settings.scope == "outputs":
                name = context.preprocess.output_name
                measured = OutputErrors(self._graph, list(self._checked), name, logits=self._logits)
                found = order_units(
                    self._graph, order, groups, self._feeds, context.seed, bar.advance, measured.measure
                )
                errors = measured.found
            else:
                found = order_units(self._graph, order, groups, self._feeds, context.seed, bar.advance)
                errors = {name: each.errors for name, each in found.items()}
        # Allocated over all groups at once, since a unit is expensive only in comparison with others.
        allocation = allocate(
            self._costs(path, groups), errors, settings.macs, scope=settings.scope,
            multiple=self._multiple(groups), max_ratio=settings.max_ratio,
        )  # fmt: skip
        if allocation.macs_share > settings.macs:
            return (
                f"{allocation.macs_share:.3f} of its multiply-adds remain when no group loses more than "
                f"{settings.max_ratio:g} of its units, but the target is {settings.macs:g}"
            )
        kept = {name: found[name].kept(number) for name, number in allocation.kept.items()}
        cut = _copy(self._graph)
        for group in groups:
            if len(kept[group.name]) < group.units:
                take(cut, group, kept[group.name])
        drop_unread(cut.model.graph)
        refitted, details, declined = self._refitted(cut, order, kept, groups)
        done = {**_counts(groups, allocation), "reconstruction": details} if details else _counts(groups, allocation)
        return refitted, {**done, "samples": details.get("samples", self._feeds.samples)}, declined

    def _refitted(
        self, cut: Graph, order: Sequence[onnx.NodeProto], kept: Mapping[str, Array], groups: Sequence[UnitGroup]
    ) -> tuple[Graph, dict[str, Any], tuple[Declined, ...]]:
        """Return the graph with refitted layers if that brings the outputs closer, else as it was cut.

        Either all layers are refitted in order, or the readers alone, whichever brings the outputs closer.
        """
        refitted, readers, context = _copy(cut), _copy(cut), self._context
        with context.progress.task("Refitting layers") as bar:
            cuts = Cut(self._graph, refitted, order, kept, groups)
            layers = refit_layers(cuts, self._feeds, seed=context.seed, advance=bar.advance)
            compensate_readers(replace(cuts, pruned=readers), self._feeds, context.seed)
        wanted = self._outputs(self._graph, self._checked)
        found = [self._outputs(each, self._checked) for each in (cut, refitted, readers)]
        # On samples that took no part in the fit, so that an overfitted refit loses.
        missed, left, alone = (output_error(wanted, each) for each in found)
        in_order, of_readers = (change(wanted, each, logits=self._logits) for each in found[1:])
        # Negated, so that a NaN of the layers in order counts as further away.
        if only_readers := alone < missed and not in_order <= of_readers:
            refitted, left, layers = readers, alone, {}
        if not left < missed:
            why = (
                f"the outputs would be further from the original's ({left:.3g} of their variance instead of "
                f"{missed:.3g})"
            )
            return cut, {}, (Declined("reconstruction", why),)
        samples = self._feeds.samples
        if self._every is not None and self._every.samples > samples:
            # Both choices are made, so the samples that were held out for them may improve the fit.
            again, rows = _copy(cut), dict[str, LayerRefit]()
            with context.progress.task("Refitting layers on all samples") as bar:
                if only_readers:
                    compensate_readers(replace(cuts, pruned=again), self._every, context.seed)
                else:
                    rows = refit_layers(
                        replace(cuts, pruned=again), self._every, seed=context.seed, advance=bar.advance
                    )
            if output_error(wanted, self._outputs(again, self._checked)) < missed:  # false for NaN
                refitted, layers, samples = again, rows, self._every.samples
        drop_unread(refitted.model.graph)
        # The errors are those of the fit without held-out samples, which they are measured on.
        details = {
            "output_error_before": missed, "output_error_after": left, "only_readers": only_readers, "samples": samples,
            "layers": {name: each.to_json() for name, each in layers.items()},
        }  # fmt: skip
        skipped = {layer.name for layer in find_layers(cut) if np.prod(layer.shape[1:]) > MOST_INPUTS} - set(layers)
        wide = tuple(Declined(name, f"not refitted: it has more than {MOST_INPUTS} inputs") for name in sorted(skipped))
        return refitted, details, () if only_readers else wide

    def _costs(self, path: Path, groups: Sequence[UnitGroup]) -> GroupCosts:
        """Return the costs of the graph, with how often each layer's weights are applied per sample."""
        products = [layer.product for layer in self._layers]
        feed = next(iter(self._tried))
        size = len(next(iter(feed.values())))
        shapes = next(probe(self._graph.model, products, [feed]))
        # Elements of the output per sample and channel: how often the weights are applied.
        positions = {layer.product: shapes[layer.product].size / (size * layer.shape[0]) for layer in self._layers}
        return GroupCosts(count(load_model(path)).macs, self._layers, positions, groups)

    def _multiple(self, groups: Sequence[UnitGroup]) -> int:
        """Return the multiple for numbers of units: the target's, at most an eighth of the median group."""
        if self._settings.round_to is not None:
            return self._settings.round_to
        # Narrow groups would have hardly any multiples to choose from.
        median = int(np.median([group.units for group in groups]))
        multiple = self._context.target.channel_multiple
        while multiple > 1 and multiple > median // 8:
            multiple //= 2
        return multiple


def _counts(groups: Sequence[UnitGroup], allocation: Allocation) -> dict[str, Any]:
    units = {group.name: [group.units, allocation.kept[group.name]] for group in groups}
    before, after = (sum(pair[place] for pair in units.values()) for place in (0, 1))
    return {"macs_share": allocation.macs_share, "units_before": before, "units_after": after, "units": units}


def _copy(graph: Graph) -> Graph:
    """Return a copy whose constants can be changed, without the inner shapes, which will change."""
    model = copy.deepcopy(graph.model)
    del model.graph.value_info[:]
    return Graph(model)
