"""Refitting the layers of a pruned ONNX graph to the original's activations, as reconstruction.py does for torch.

In the order in which they run, a layer's inputs are those of the pruned graph, and its targets the original's: at the
layer's own output, or at the following sum less the pruned graph's shortcut. Only moments of each layer are kept, and
before a ReLU or a clip the positions on which it is fitted. Every layer after the first that lost units is refitted, so
that each compensates for what those before it could not.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from compress.onnx_graph.graph import Array, Feed, Graph
from compress.pruning.folds import Folds
from compress.pruning.least_squares import RIDGE, Elimination, Gram, LayerRefit, eliminate, refit
from compress.pruning.onnx_units.groups import UnitGroup
from compress.pruning.onnx_units.lane import FileLane, ancestors, execution_order
from compress.pruning.onnx_units.layers import STANDARD, FileLayer, bias_of, find_layers, limits_of, put, weight_of
from compress.pruning.onnx_units.rows import FileRows
from compress.pruning.onnx_units.sensitivity import columns_of, compensate
from compress.pruning.saturation import KeptRows, refit_before

POSITIONS, CHOOSING, APART = 64, 32, 24
"""Positions per sample on which a layer is fitted, on which the order of units is found, and on which a depthwise
convolution is fitted, which has only its kernel to fit."""
WEAKEST = 0.25
"""Share of a layer's units that is left out while the ridge is chosen with which its units are ordered."""
MOST_INPUTS = 8192
"""Maximum inputs of a layer whose Gram matrix is computed: 512 MiB."""

Advance = Callable[..., None]


def _silent(*_: Any, **__: Any) -> None:
    pass


@dataclass(frozen=True)
class FileSum:
    """The addition of a shortcut after a layer, by the names of the values."""

    value: str
    shortcut: str


def find_sum(graph: Graph, layer: FileLayer) -> FileSum | None:
    """Return the addition after a layer whose other operand does not depend on the layer, or None without one."""
    node = graph.only_consumer(layer.output)
    if node is None or node.op_type not in ("Add", "Sum") or node.domain not in STANDARD or len(node.input) != 2:
        return None
    shortcut = next((name for name in node.input if name != layer.output), None)
    shape = graph.shape(layer.output)
    if shortcut is None or shortcut in graph.tensors or shape is None or graph.shape(shortcut) != shape:
        return None
    if layer.product in ancestors(graph, [shortcut]):
        return None
    return FileSum(node.output[0], shortcut)


def ordered(graph: Graph, layers: Iterable[FileLayer], groups: Iterable[UnitGroup]) -> list[onnx.NodeProto]:
    """Order the nodes so that shortcuts come before the layers that compensate for removed units."""
    readers = {reader.product for group in groups for reader in group.readers}
    # A sum's shortcut must be known when the layer before the sum is refitted.
    late = {layer.output for layer in layers if layer.product in readers and find_sum(graph, layer) is not None}
    return execution_order(graph, late)


def order_units(
    graph: Graph,
    order: Sequence[onnx.NodeProto],
    groups: Sequence[UnitGroup],
    feeds: Iterable[Feed],
    seed: int,
    advance: Advance = _silent,
    note: Callable[[UnitGroup, Gram, Elimination], None] = _silent,
) -> dict[str, Elimination]:
    """Return, for each group, the order in which its last reader can do without its units, by the group's name.

    Args:
        graph: graph of the original.
        order: order of its nodes.
        groups: groups whose units are ordered.
        feeds: samples.
        seed: seed of the sampled positions.
        advance: called for each group.
        note: called for each group with the moments of its last reader, which are not kept.
    """
    random = np.random.default_rng(seed)
    found = {}
    places = {node.output[0]: number for number, node in enumerate(order)}
    with FileLane(graph, order, feeds) as lane:
        for group in sorted(groups, key=lambda each: places[each.taker.product]):
            layer = group.taker
            rows = FileRows(graph.producers[layer.product], layer, random, CHOOSING)
            folds = Folds(int(np.prod(layer.shape[1:])), layer.shape[0])
            for inputs, targets in lane.values(layer.input, layer.product):
                folds.add(*rows.of(inputs, targets), len(inputs))
            gram = folds.whole()
            found[group.name] = _eliminated(folds, gram, weight_of(graph, layer), group.units)
            note(group, gram, found[group.name])
            advance(1, layer.name)
    return found


@dataclass(frozen=True)
class Cut:
    """A graph from which units were removed, next to the original.

    Attributes:
        original: original graph; not modified.
        pruned: the same graph without some units.
        order: order of the original's nodes.
        kept: indices of the remaining units, by group.
        groups: groups of units in the original.
    """

    original: Graph
    pruned: Graph
    order: Sequence[onnx.NodeProto]
    kept: Mapping[str, Array]
    groups: Sequence[UnitGroup]

    @property
    def narrowed(self) -> list[UnitGroup]:
        """The groups that lost units."""
        return [group for group in self.groups if len(self.kept[group.name]) < group.units]

    @property
    def outputs(self) -> dict[str, Array]:
        """The outputs that stay, for layers that lost some, by their product."""
        return {
            layer.product: self.kept[group.name]
            for group in self.narrowed
            for layer in (*group.makers, *group.depthwise)
        }


def _eliminated(folds: Folds, gram: Gram, weights: Array, units: int) -> Elimination:
    """Return the order of a layer's units with the ridge of a layer without the weakest of them."""
    moments, columns = gram.moments(), np.arange(weights.shape[1]).reshape(units, -1)
    # By the variance of what each unit adds, which is close enough for a ridge and needs no elimination.
    powers = (np.square(weights).sum(0) * moments.xx.diagonal())[columns].sum(1)
    kept = columns[np.sort(np.argsort(powers, kind="stable")[int(WEAKEST * units) :])].flatten()
    return eliminate(moments, columns, folds.ridge(weights[:, kept], kept), weights)


def compensate_readers(cut: Cut, feeds: Iterable[Feed], seed: int = 0) -> None:
    """Refit only the layers that read removed units, in place, each on the original's own inputs.

    With few samples this loses less than :func:`refit_layers`, which also fits what earlier layers could not
    compensate, and so the samples' own noise: 250 for the 700 inputs of a layer of EfficientNet-Lite0.

    Args:
        cut: the two graphs.
        feeds: samples, which run through the original once.
        seed: seed of the sampled positions.
    """
    places = {node.output[0]: number for number, node in enumerate(cut.order)}
    layers = {layer.product: layer for layer in find_layers(cut.pruned)}
    readers = [(reader, group) for group in cut.narrowed for reader in group.readers]
    random = np.random.default_rng(seed)
    with FileLane(cut.original, cut.order, feeds) as lane:
        for reader, group in sorted(readers, key=lambda each: places[each[0].product]):
            inputs = int(np.prod(reader.shape[1:]))
            if inputs > MOST_INPUTS:
                continue
            rows = FileRows(cut.original.producers[reader.product], reader, random, POSITIONS)
            own_outputs = cut.outputs.get(reader.product, np.arange(reader.shape[0]))
            folds = Folds(inputs, len(own_outputs))
            for values, targets in lane.values(reader.input, reader.output):
                x, y = rows.of(values, targets)
                folds.add(x, y[:, own_outputs], len(values))
            kept, own = cut.kept[group.name], layers[reader.product]
            columns = columns_of(kept, inputs // group.units)
            ridge = folds.ridge(weight_of(cut.pruned, own), columns, with_bias=own.bias is not None)
            compensate(cut.pruned, own, folds.whole(), kept, group.units, ridge=ridge, removed=True)


@dataclass(frozen=True)
class _Site:
    """A layer of the pruned graph to refit, and where its targets are in the original."""

    layer: FileLayer
    sum: FileSum | None
    rows: Array | None

    @property
    def wanted(self) -> str:
        return self.layer.output if self.sum is None else self.sum.value

    def target(self, values: Array, shortcut: Sequence[Array]) -> Array:
        if shortcut:
            return values - shortcut[0]
        return values if self.rows is None else np.take(values, self.rows, -self.layer.place)


def refit_layers(
    cut: Cut,
    feeds: Iterable[Feed],
    *,
    seed: int = 0,
    ridge: float | None = None,
    advance: Advance = _silent,
) -> dict[str, LayerRefit]:
    """Refit the layers of a pruned graph in place; return the errors of each, by the name of its node.

    Args:
        cut: the two graphs.
        feeds: samples, which run through both graphs once.
        seed: seed of the sampled positions.
        ridge: share of the Gram matrix's mean diagonal by which weights are held at their current values; None for
            the one of each layer that :meth:`compress.pruning.folds.Folds.ridge` chooses.
        advance: called for each layer.
    """
    sites = _sites(cut)
    places = {node.output[0]: cut.pruned.producers[node.output[0]] for node in cut.order}
    random = np.random.default_rng(seed)
    refits = {}
    with (
        FileLane(cut.original, cut.order, feeds, [site.wanted for site in sites]) as wanted,
        FileLane(cut.pruned, list(places.values()), feeds) as found,
    ):
        for site in sites:
            most = APART if site.layer.depthwise else POSITIONS
            rows = FileRows(places[site.layer.product], site.layer, random, most)
            refits[site.layer.name] = _refit(site, cut.pruned, wanted, found, rows, ridge)
            advance(1, site.layer.name)
    return refits


def _sites(cut: Cut) -> list[_Site]:
    """Return the layers after the first that lost units, in order."""
    narrowed = cut.outputs
    reading = {layer.product for group in cut.narrowed for layer in group.readers}
    layers = {layer.product: layer for layer in find_layers(cut.pruned)}
    sites: list[_Site] = []
    behind: set[str] = set()
    for product in (node.output[0] for node in cut.order if node.output[0] in layers):
        layer = layers[product]
        if product in narrowed or product in reading:
            behind.add(product)
        # Nothing before it changed, so its inputs are the original's and it fits already.
        elif not behind & ancestors(cut.original, [layer.input]):
            continue
        if int(np.prod(layer.shape[1:])) > MOST_INPUTS:
            continue
        # If a layer lost outputs, no sum adds it to a stream, because streams keep their width.
        total = None if product in narrowed else find_sum(cut.original, layer)
        if total is not None:
            # A shortcut through layers that are refitted later would still change.
            later = ancestors(cut.original, [total.shortcut]) & (layers.keys() - {site.layer.product for site in sites})
            total = None if later & behind else total
        behind.add(product)
        sites.append(_Site(layer, total, narrowed.get(product)))
    return sites


def _refit(
    site: _Site, pruned: Graph, wanted: FileLane, found: FileLane, rows: FileRows, ridge: float | None
) -> LayerRefit:
    layer = site.layer
    outputs = layer.shape[0] // layer.groups
    blocks = () if layer.groups == 1 else (layer.groups,)
    weights, bias, with_bias = weight_of(pruned, layer), bias_of(pruned, layer), layer.bias is not None
    shaped = None if bias is None else bias.reshape(*blocks, outputs)
    shortcuts = () if site.sum is None else (site.sum.shortcut,)
    values = zip(wanted.values(site.wanted), found.values(layer.input, *shortcuts), strict=True)
    batches = ((*rows.of(taken, site.target(target, shortcut)), len(taken)) for (target,), (taken, *shortcut) in values)
    limits = limits_of(pruned, layer) if ridge is None and site.sum is None else None
    if limits is not None:
        with tempfile.TemporaryDirectory(prefix="leanmark-") as folder:
            refitted = refit_before(limits, KeptRows(batches, Path(folder)), weights, shaped, with_bias=with_bias)
    else:
        folds = Folds(weights.shape[-1], outputs, blocks)
        for batch in batches:
            folds.add(*batch)
        gram = folds.whole()
        if ridge is None and gram.determined:
            ridge = folds.ridge(weights, with_bias=with_bias)
        refitted = refit(gram, weights, shaped, ridge=RIDGE if ridge is None else ridge, with_bias=with_bias)
        if not gram.determined:
            refitted = replace(refitted, weights=weights, bias=shaped, after=refitted.before)
    put(pruned, layer, refitted.weights, refitted.bias)
    return LayerRefit(refitted.before, refitted.after, site.sum is not None)
