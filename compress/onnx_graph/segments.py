"""Segments of a graph: runs of operators between values that are on all paths.

A residual block is one segment, because its shortcut bypasses every value inside it. So is each layer of a plain chain.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from compress.core.onnx_reads import reads
from compress.onnx_graph.graph import Graph

MOST_STATED = 64
"""Elements up to which the values of an integer constant, such as a shape or axes, are part of a signature."""


@dataclass(frozen=True)
class Segment:
    """Consecutive operators with one input and one output.

    Attributes:
        nodes: names of the operators, in the order of the graph.
        input: value that they read.
        output: value that they compute.
    """

    nodes: tuple[str, ...]
    input: str
    output: str


def find_segments(graph: Graph) -> list[Segment]:
    """Return the shortest segments that each contain a layer with weights, in the order of the graph.

    Operators without weights belong to the segment before them. Operators after the last value that is on all paths
    are in no segment; neither are those before the first such value if the graph has several inputs.
    """
    weighted = {node.name for node in graph.weighted()}
    found: list[Segment] = []
    for piece in _pieces(graph):
        if found and (weighted.isdisjoint(piece.nodes) or weighted.isdisjoint(found[-1].nodes)):
            found[-1] = Segment((*found[-1].nodes, *piece.nodes), found[-1].input, piece.output)
        else:
            found.append(piece)
    return [segment for segment in found if not weighted.isdisjoint(segment.nodes)]


def _pieces(graph: Graph) -> list[Segment]:
    """Return the operators between two neighbouring values that are on all paths."""
    last = {name: place for place, node in enumerate(graph.nodes) for name in reads(node)}
    # Outputs are live until the end, so no value is the only live one while an earlier output is pending.
    last |= dict.fromkeys((value.name for value in graph.model.graph.output), len(graph.nodes))
    live = {value.name for value in graph.model.graph.input if value.name in last and value.name not in graph.tensors}
    pieces: list[Segment] = []
    inside: list[str] = []
    before = _only_float(graph, live)
    for place, node in enumerate(graph.nodes):
        inside.append(node.name)
        live = {name for name in (*live, *node.output) if last.get(name, -1) > place}
        if (value := _only_float(graph, live)) is not None:
            if before is not None:
                pieces.append(Segment(tuple(inside), before, value))
            # A cut before the first single value is dropped: several inputs cannot be fed to a segment of one.
            inside, before = [], value
    return pieces


def _only_float(graph: Graph, live: Collection[str]) -> str | None:
    """Return the only value that later operators read, if it is a float tensor."""
    return next((value for value in live if graph.is_float(value)), None) if len(live) == 1 else None


def cut_out(graph: Graph, segment: Segment) -> onnx.ModelProto:
    """Return a segment as a separate model."""
    nodes = [node for node in graph.nodes if node.name in segment.nodes]
    names = {name for node in nodes for name in (*reads(node), *node.output)}
    piece = onnx.ModelProto(ir_version=graph.model.ir_version)
    piece.opset_import.extend(graph.model.opset_import)
    piece.graph.name = "segment"
    piece.graph.node.extend(nodes)
    piece.graph.initializer.extend(tensor for name, tensor in graph.tensors.items() if name in names)
    for values, wanted in (
        (piece.graph.input, [segment.input]),
        (piece.graph.output, [segment.output]),
        (piece.graph.value_info, sorted(names - {segment.input, segment.output})),
    ):
        values.extend(_value(graph, name) for name in wanted if name in graph.types)
    return piece


def signature(model: onnx.ModelProto, shape: Sequence[int]) -> str:
    """Return a hex digest of what the cost of a model depends on: operators, settings and shapes, but no names.

    Args:
        model: model with one input.
        shape: shape of its input.
    """
    numbers: dict[str, int] = {}

    def number(names: Collection[str]) -> list[int]:
        return [numbers.setdefault(name, len(numbers)) for name in names]

    nodes: list[Any] = [
        [node.op_type, node.domain, sorted(a.SerializeToString().hex() for a in node.attribute), number(node.input),
         number(node.output)]
        for node in model.graph.node
    ]  # fmt: skip
    constants = sorted(_described(tensor, number([tensor.name])) for tensor in model.graph.initializer)
    return hashlib.sha256(json.dumps([nodes, constants, list(shape)]).encode()).hexdigest()


def _described(tensor: onnx.TensorProto, number: list[int]) -> list[Any]:
    values = onnx.numpy_helper.to_array(tensor)
    # Shapes and axes change what is computed, weights do not change the time.
    stated = values.ravel().tolist() if values.dtype.kind == "i" and values.size <= MOST_STATED else []
    return [number, str(values.dtype), list(values.shape), stated]


def _value(graph: Graph, name: str) -> onnx.ValueInfoProto:
    value = onnx.ValueInfoProto(name=name)
    value.type.tensor_type.CopyFrom(graph.types[name])
    return value
