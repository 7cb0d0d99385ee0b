"""Error of a graph's outputs once units of one group are removed, so that errors of different layers are comparable.

Relative errors of layers do not have the same price: in EfficientNet-Lite0, an error of a twentieth of the variance
behind the first block changes the outputs a hundred times as much as behind a block in the middle.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np

from compress.onnx_graph.graph import Array, Feed, Graph, probe
from compress.pruning.least_squares import Elimination, Gram, refit
from compress.pruning.onnx_units.groups import UnitGroup
from compress.pruning.onnx_units.layers import FileLayer, bias_of, put, weight_of

LEVELS = (0.02, 0.06, 0.15)
"""Relative errors of the reading layer at which the outputs are measured; units are usually removed up to the last."""


def output_error(wanted: Array, found: Array) -> float:
    """Return the mean squared difference of two models' outputs, as a share of the variance of the first one's."""
    variance = max(float(np.square(wanted - wanted.mean(0)).mean()), float(np.finfo(np.float32).tiny))
    return float(np.square(wanted - found).mean()) / variance


def divergence(wanted: Array, found: Array) -> float:
    """Return the mean Kullback-Leibler divergence of logits (n, classes) from the original's, in nats.

    Example:
        >>> divergence(np.zeros((1, 2)), np.array([[3.0, 3.0]]))
        0.0
    """
    logs, others = (_log_shares(each) for each in (wanted, found))
    return max(0.0, float((np.exp(logs) * (logs - others)).sum(1).mean()))


def change(wanted: Array, found: Array, *, logits: bool) -> float:
    """Return by how much outputs changed: the divergence of logits of several classes, otherwise the output error."""
    return divergence(wanted, found) if logits and wanted[0].size > 1 else output_error(wanted, found)


class OutputErrors:
    """Measures, for one group at a time, what removing units does to the outputs once its last reader compensates.

    Args:
        graph: graph of the original; not modified.
        feeds: a few dozen samples.
        output: value of the graph that is compared.
        logits: whether it holds logits of several classes; then errors are divergences, otherwise squared differences.

    Attributes:
        found: by group, (units,) error of the outputs after each removed unit.
    """

    def __init__(self, graph: Graph, feeds: Sequence[Feed], output: str, *, logits: bool) -> None:
        self._graph, self._feeds, self._output, self._logits = graph, feeds, output, logits
        self._wanted = self._outputs(graph)
        self.found: dict[str, Array] = {}

    def measure(self, group: UnitGroup, gram: Gram, elimination: Elimination) -> None:
        """Measure a group at some errors of its reader; between them, the price of an error is interpolated.

        Args:
            group: the group.
            gram: moments of the inputs and outputs of its last reader.
            elimination: order of its units.

        Raises:
            ModelError: ONNX Runtime cannot run the graph.
        """
        risen = np.maximum.accumulate(elimination.errors)
        errors, prices = [], []
        for level in LEVELS:
            gone = min(int(np.searchsorted(risen, level)) + 1, group.units - 1)
            changed = Graph(copy.deepcopy(self._graph.model))
            kept = elimination.kept(group.units - gone)
            compensate(changed, group.taker, gram, kept, group.units, ridge=elimination.ridge)
            error = max(float(risen[gone - 1]), float(np.finfo(np.float64).tiny))
            errors.append(error)
            prices.append(change(self._wanted, self._outputs(changed), logits=self._logits) / error)
        self.found[group.name] = np.maximum.accumulate(risen * np.interp(risen, errors, prices))

    def _outputs(self, graph: Graph) -> Array:
        found = [each[self._output] for each in probe(graph.model, [self._output], self._feeds)]
        return np.concatenate(found).astype(np.float64)


def compensate(
    graph: Graph, layer: FileLayer, gram: Gram, kept: Array, units: int, *, ridge: float, removed: bool = False
) -> None:
    """Let a layer compute its outputs from some of its units, in place, by least squares on the original's inputs.

    Args:
        graph: graph to modify.
        layer: layer of the original that reads units.
        gram: moments of its inputs and outputs in the original.
        kept: indices of the units that stay, ascending.
        units: number of units.
        ridge: share of the Gram matrix's mean diagonal by which weights are held at their current values.
        removed: whether the other units are removed from the graph already; otherwise their weights become 0.
    """
    columns, with_bias = columns_of(kept, gram.inputs // units), layer.bias is not None
    weights = weight_of(graph, layer)
    now = weights if removed else weights[:, columns]
    found = refit(gram, now, bias_of(graph, layer), columns=columns, ridge=ridge, with_bias=with_bias)
    if removed:
        put(graph, layer, found.weights, found.bias)
        return
    masked = np.zeros_like(weights)
    masked[:, columns] = found.weights
    put(graph, layer, masked, found.bias)


def columns_of(kept: Array, size: int) -> Array:
    """Return the indices of the inputs of some units, (kept * size,)."""
    columns: Array = (kept[:, None] * size + np.arange(size)).flatten()
    return columns


def _log_shares(logits: Array) -> Array:
    moved = logits - logits.max(1, keepdims=True)
    shares: Array = moved - np.log(np.exp(moved).sum(1, keepdims=True))
    return shares
