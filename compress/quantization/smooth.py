"""SmoothQuant: outliers in single channels of activations are moved into the weights behind them.

Xiao, Lin, Seznec, Wu, Demouth and Han, "SmoothQuant: Accurate and Efficient Post-Training Quantization for Large
Language Models", ICML 2023 (arXiv 2211.10438), equation 4: channel j of an activation X is divided by
s_j = max|X_j|^alpha / max|W_j|^(1 - alpha) and row j of the weights W multiplied by it. The division is done by the
scale and shift of the LayerNorm in front, so that the float model computes the same at the same cost.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from compress.passes.base import Declined
from compress.quantization.graph import Array, Feed, Graph, attributes, integer_tensors, over_first_axis, probe

NORMALISING = frozenset({"LayerNormalization", "SimplifiedLayerNormalization", "RMSNormalization"})
PASSED = frozenset({"Identity", "Transpose", "Reshape"})
"""Operators between a LayerNorm and a matrix product that may leave the last axis where it is."""
SMALLEST = 1e-5


@dataclass(frozen=True)
class Site:
    """A LayerNorm and the matrix products that are all that reads it."""

    norm: onnx.NodeProto
    readers: tuple[onnx.NodeProto, ...]


def smooth(graph: Graph, sites: Sequence[Site], feeds: Iterable[Feed], alpha: float) -> None:
    """Smooth behind LayerNorms that feed matrix products alone, in place.

    Args:
        graph: the float model; it computes the same afterwards.
        sites: of :func:`find_sites`.
        feeds: calibration samples.
        alpha: how much of the difficulty is moved, 0 to 1.

    Raises:
        ModelError: the model does not run.
    """
    if not sites:
        return
    largest = _largest_by_channel(graph, sites, feeds)
    for site in sites:
        rows = np.max([_largest_rows(graph, reader) for reader in site.readers], axis=0)
        seen = np.maximum(largest[site.norm.output[0]], SMALLEST)
        factors = np.maximum(seen**alpha / np.maximum(rows, SMALLEST) ** (1 - alpha), SMALLEST)
        for index in range(1, len(site.norm.input)):
            values = graph.constant(site.norm.input[index])
            if values is not None:
                graph.set(site.norm, index, (values / factors).astype(values.dtype))
        for reader in site.readers:
            _scale_rows(graph, reader, factors)


def find_sites(graph: Graph) -> tuple[list[Site], tuple[Declined, ...]]:
    """LayerNorms that can be smoothed, and why others can't."""
    sites, declined = [], []
    for node in graph.nodes:
        if node.op_type not in NORMALISING:
            continue
        readers = _readers(graph, node)
        if isinstance(readers, str):
            declined.append(Declined(node.name, f"not smoothed: {readers}"))
        else:
            sites.append(Site(node, tuple(readers)))
    return sites, tuple(declined)


def _readers(graph: Graph, norm: onnx.NodeProto) -> list[onnx.NodeProto] | str:
    """Matrix products behind a LayerNorm, or why it is left alone."""
    constants = [graph.constant(name) for name in norm.input[1:] if name]
    if attributes(norm).get("axis", -1) not in (-1, len(graph.shape(norm.input[0]) or ()) - 1):
        return "it normalises more than the last axis"
    if not constants or any(values is None or values.ndim != 1 for values in constants):
        return "its scale is no constant vector"
    channels = int(graph.tensors[norm.input[1]].dims[0])
    found: list[onnx.NodeProto] = []
    waiting = [norm.output[0]]
    while waiting:
        name = waiting.pop()
        if name in graph.outputs:
            return "it is an output of the graph"
        for reader in graph.consumers.get(name, []):
            if reader.op_type in PASSED and _keeps_last_axis(graph, reader, channels):
                waiting.append(reader.output[0])
            elif (
                reader.op_type in ("MatMul", "Gemm") and reader.input[0] == name and _sums_over(graph, reader, channels)
            ):
                found.append(reader)
            else:
                return f"{reader.op_type} reads it too"
    return found or "nothing reads it"


def _keeps_last_axis(graph: Graph, node: onnx.NodeProto, channels: int) -> bool:
    if node.op_type == "Transpose":
        order = attributes(node).get("perm", [])
        return bool(order) and order[-1] == len(order) - 1
    shape = graph.shape(node.output[0])
    return node.op_type == "Identity" or (bool(shape) and shape is not None and shape[-1] == channels)


def _sums_over(graph: Graph, node: onnx.NodeProto, channels: int) -> bool:
    weight = graph.weight(node) if node.op_type in ("MatMul", "Gemm") else None
    if weight is None or weight.ndim != 2 or attributes(node).get("transA", 0):
        return False
    return bool(weight.shape[1 if attributes(node).get("transB", 0) else 0] == channels)


def _rows(graph: Graph, node: onnx.NodeProto) -> Array:
    """Weight (K, N) of a matrix product."""
    weight = graph.weight(node)
    if weight is None:
        raise ValueError(f"'{node.name}' has no constant weight")
    return weight.T if attributes(node).get("transB", 0) else weight


def _largest_rows(graph: Graph, node: onnx.NodeProto) -> Array:
    return np.asarray(np.abs(_rows(graph, node)).max(axis=1), dtype=np.float64)


def _scale_rows(graph: Graph, node: onnx.NodeProto, factors: Array) -> None:
    weight = _rows(graph, node)
    scaled = (weight * factors[:, None]).astype(weight.dtype)
    graph.set(node, 1, np.ascontiguousarray(scaled.T if attributes(node).get("transB", 0) else scaled))


def _largest_by_channel(graph: Graph, sites: Sequence[Site], feeds: Iterable[Feed]) -> dict[str, Array]:
    """Largest absolute value that each channel (last axis) of a LayerNorm's output takes over all samples."""
    nodes, outputs = [], []
    tensors = {"leanmark.first": np.array([0])}
    for site in sites:
        name = f"leanmark.{site.norm.output[0]}"
        tensors[f"{name}.shape"] = np.array([-1, graph.tensors[site.norm.input[1]].dims[0]])
        nodes.append(onnx.helper.make_node("Abs", [site.norm.output[0]], [f"{name}.size"]))
        nodes.append(onnx.helper.make_node("Reshape", [f"{name}.size", f"{name}.shape"], [f"{name}.rows"]))
        nodes.append(over_first_axis(graph.model, "ReduceMax", f"{name}.rows", f"{name}.largest"))
        outputs.append(f"{name}.largest")
    largest = {site.norm.output[0]: np.zeros(()) for site in sites}
    for found in probe(graph.model, outputs, feeds, nodes, integer_tensors(tensors)):
        for name, output in zip(largest, outputs, strict=True):
            largest[name] = np.maximum(largest[name], found[output].ravel())
    return largest
