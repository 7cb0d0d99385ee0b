"""Branches of a graph: values beside the main path, and a graph without one of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import onnx

from certify.model_file.onnx_graph.data_sized import used
from certify.model_file.onnx_graph.work import multiplies


def branches(graph: onnx.GraphProto) -> list[str]:
    """Return values that are joined with others, have multiplying operators of their own, and are not the only path.

    Those with the most of their own are first. A branch may be joined in several places: what one Add adds before a
    linear layer, a Sub may take off again behind it.
    """
    whole = _products(_needed(graph))
    found: dict[str, int] = {}
    for name in dict.fromkeys(_joined(graph)):
        rest = _needed(graph, name)
        if _reads_input(graph, rest):
            found[name] = whole - _products(rest)
    return sorted((name for name, alone in found.items() if alone > 0), key=lambda name: -found[name])


def without(model: onnx.ModelProto, branch: str, shape: Sequence[int], kind: int) -> onnx.ModelProto:
    """Return a copy with zeros in place of a value, and without the nodes that only it needs.

    Args:
        model: model, not modified.
        branch: name of the value.
        shape: shape of the value.
        kind: type of the value.
    """
    lean = onnx.ModelProto()
    lean.CopyFrom(model)
    name = f"{branch}.nothing"
    zeros = np.zeros(shape, onnx.helper.tensor_dtype_to_np_dtype(kind))
    lean.graph.initializer.append(onnx.numpy_helper.from_array(zeros, name))
    for node in lean.graph.node:
        node.input[:] = [name if read == branch else read for read in node.input]
    drop_unused(lean.graph)
    return lean


def _joined(graph: onnx.GraphProto) -> Iterator[str]:
    """Yield the computed inputs of operators with several of them."""
    computed = {name for node in graph.node for name in node.output}
    varying = computed | {value.name for value in graph.input} - {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if len(varying.intersection(node.input)) > 1:
            yield from (name for name in node.input if name in computed)


def _reads_input(graph: onnx.GraphProto, nodes: Sequence[onnx.NodeProto]) -> bool:
    weights = {tensor.name for tensor in graph.initializer}
    inputs = {value.name for value in graph.input} - weights
    return any(inputs.intersection(used(node)) for node in nodes)


def drop_unused(graph: onnx.GraphProto) -> None:
    """Drop operators and weights that no output needs, in place."""
    nodes = _needed(graph)
    read = {name for node in nodes for name in used(node)} | {value.name for value in graph.output}
    # Collected before any field is cleared, because messages of a cleared field are gone.
    weights = [tensor for tensor in graph.initializer if tensor.name in read]
    gone = {tensor.name for tensor in graph.initializer} - read
    ports = [port for port in graph.input if port.name not in gone]
    for name, left in (("node", nodes), ("initializer", weights), ("input", ports)):
        graph.ClearField(name)
        getattr(graph, name).extend(left)


def _needed(graph: onnx.GraphProto, besides: str | None = None) -> list[onnx.NodeProto]:
    """Return the operators that lead to an output, other than through a value."""
    needed = {value.name for value in graph.output}
    nodes = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            nodes.append(node)
            needed.update(name for name in used(node) if name != besides)
    return nodes[::-1]


def _products(nodes: Sequence[onnx.NodeProto]) -> int:
    return sum(multiplies(node) for node in nodes)
