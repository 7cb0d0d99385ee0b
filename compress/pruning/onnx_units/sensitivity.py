"""Error of a graph's outputs for errors of single layers, which makes the errors of different layers comparable.

Relative errors of layers do not have the same price: in EfficientNet-Lite0, noise of a twentieth of the variance behind
the first block changes the outputs several hundred times as much as behind a block in the middle.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from compress.onnx_graph.graph import Array, Feed, Graph, probe
from compress.pruning.onnx_units.groups import UnitGroup
from compress.pruning.onnx_units.layers import FileLayer

NOISE = 0.05
"""Variance of the noise, as a share of that of the layer's output: the error at which units are usually removed."""


def output_error(wanted: Array, found: Array) -> float:
    """Return the mean squared difference of two models' outputs, as a share of the variance of the first one's."""
    variance = max(float(np.square(wanted - wanted.mean(0)).mean()), float(np.finfo(np.float32).tiny))
    return float(np.square(wanted - found).mean()) / variance


def sensitivities(graph: Graph, groups: Sequence[UnitGroup], feeds: Sequence[Feed], output: str) -> dict[str, float]:
    """Return, by group, the relative error of the outputs divided by that of the layer that reads the group last.

    Noise is added to one layer at a time.

    Args:
        graph: graph of the original.
        groups: groups of units.
        feeds: a few dozen samples.
        output: value of the graph that is compared.

    Raises:
        ModelError: ONNX Runtime cannot run the graph.
    """
    noisy = onnx.ModelProto()
    noisy.CopyFrom(graph.model)
    gains = {group.name: f"leanmark.gain.{index}" for index, group in enumerate(groups)}
    for group in groups:
        _add_noise(noisy.graph, group.taker.output, gains[group.name])
    spreads = _spreads(graph, [group.taker for group in groups], feeds)
    # One session for all layers: gains are inputs, and all but one are 0.
    quiet = dict.fromkeys(gains.values(), np.zeros((), np.float32))
    loud = {group.name: np.float32(np.sqrt(NOISE * spreads[group.taker.output])) for group in groups}
    runs = [quiet, *({**quiet, gains[name]: np.asarray(gain)} for name, gain in loud.items())]
    found = [each[output] for each in probe(noisy, [output], ({**feed, **gain} for gain in runs for feed in feeds))]
    answers = [np.concatenate(found[i : i + len(feeds)]).astype(float) for i in range(0, len(found), len(feeds))]
    return {name: output_error(answers[0], each) / NOISE for name, each in zip(loud, answers[1:], strict=True)}


def _add_noise(graph: onnx.GraphProto, value: str, gain: str) -> None:
    """Add normal noise to a value, times a gain that becomes an input of the graph."""
    place = next(index for index, node in enumerate(graph.node) if value in node.output)
    producer = graph.node[place]
    producer.output[list(producer.output).index(value)] = plain = f"{value}.plain"
    make_node = onnx.helper.make_node
    nodes = [
        make_node("RandomNormalLike", [plain], [f"{value}.noise"], dtype=onnx.TensorProto.FLOAT, seed=1.0),
        make_node("Mul", [f"{value}.noise", gain], [f"{value}.gained"]),
        make_node("Add", [plain, f"{value}.gained"], [value]),
    ]
    for offset, node in enumerate(nodes, 1):
        graph.node.insert(place + offset, node)
    graph.input.append(onnx.helper.make_tensor_value_info(gain, onnx.TensorProto.FLOAT, []))


def _spreads(graph: Graph, layers: Sequence[FileLayer], feeds: Sequence[Feed]) -> dict[str, float]:
    """Return the variance of each layer's output, each unit about its own mean, by the name of the value."""
    names = [layer.output for layer in layers]
    sums: dict[str, list[Array]] = {}
    for found in probe(graph.model, names, feeds):
        for layer in layers:
            values = np.moveaxis(found[layer.output], -layer.place, 0).astype(float)
            rows = values.reshape(len(values), -1)
            added = np.stack([np.full(len(rows), rows.shape[1]), rows.sum(1), np.square(rows).sum(1)])
            sums.setdefault(layer.output, []).append(added)
    totals = {name: np.sum(parts, axis=0) for name, parts in sums.items()}
    return {name: float((square / n - np.square(total / n)).mean()) for name, (n, total, square) in totals.items()}
