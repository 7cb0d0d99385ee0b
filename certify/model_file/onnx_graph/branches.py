"""Parallel branches joined by a Concat: the nodes of one branch, and a graph without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from certify.model_file.onnx_graph.data_sized import used
from certify.model_file.onnx_graph.operators import compute_of


@dataclass(frozen=True)
class Branch:
    """An input of a Concat: the first output of that node, and the index of the input."""

    joined: str
    place: int


def branches(graph: onnx.GraphProto) -> list[Branch]:
    """Return inputs of Concats with multiplying operators of their own, those with the most first."""
    whole = _products(_needed(graph))
    found = {
        branch: whole - _products(_needed(graph, branch))
        for node in graph.node
        if node.op_type == "Concat"
        for branch in (Branch(node.output[0], place) for place in range(len(node.input)))
    }
    return sorted((branch for branch, alone in found.items() if alone > 0), key=lambda branch: -found[branch])


def without(model: onnx.ModelProto, branch: Branch, shape: Sequence[int], kind: int) -> onnx.ModelProto:
    """Return a copy with zeros in place of a branch, and without the nodes that only it needs.

    Args:
        model: model, not modified.
        branch: branch of its graph.
        shape: shape of the branch's values.
        kind: type of the branch's values.
    """
    lean = onnx.ModelProto()
    lean.CopyFrom(model)
    name = f"{branch.joined}.nothing{branch.place}"
    zeros = np.zeros(shape, onnx.helper.tensor_dtype_to_np_dtype(kind))
    lean.graph.initializer.append(onnx.numpy_helper.from_array(zeros, name))
    next(node for node in lean.graph.node if branch.joined in node.output).input[branch.place] = name
    drop_unused(lean.graph)
    return lean


def drop_unused(graph: onnx.GraphProto) -> None:
    """Drop operators and weights that no output needs, in place."""
    kept = _needed(graph)
    read = {name for node in kept for name in used(node)} | {value.name for value in graph.output}
    weights = [tensor for tensor in graph.initializer if tensor.name in read]
    gone = {tensor.name for tensor in graph.initializer} - read
    ports = [port for port in graph.input if port.name not in gone]
    for name, left in (("node", kept), ("initializer", weights), ("input", ports)):
        graph.ClearField(name)
        getattr(graph, name).extend(left)


def _needed(graph: onnx.GraphProto, besides: Branch | None = None) -> list[onnx.NodeProto]:
    """Return the operators that lead to an output, ignoring a branch."""
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            taken = list(used(node))
            if besides is not None and besides.joined in node.output:
                taken = [name for place, name in enumerate(node.input) if place != besides.place]
            needed.update(taken)
    return kept[::-1]


def _products(nodes: Sequence[onnx.NodeProto]) -> int:
    return sum(compute_of(node) is not None for node in nodes)
