"""Unrolling of Loops with a fixed trip count."""

from __future__ import annotations

import numpy as np
import onnx

from certify.model_file.onnx_graph.constants import fold_small_constants
from certify.model_file.onnx_graph.data_sized import subgraphs
from certify.model_file.onnx_graph.operators import STANDARD_DOMAINS

MAX_NODES = 20_000
"""Maximum number of nodes of all trips of a Loop."""


def unroll(graph: onnx.GraphProto) -> list[str]:
    """Unroll Loops, in place; Loops with a data-dependent end, or that collect results, are kept.

    Returns:
        The first output of each unrolled Loop.
    """
    known = graph_constants(graph)
    unrolled: list[onnx.NodeProto] = []
    gone = []
    for node in graph.node:
        for body in subgraphs(node):
            unroll(body)
        trips = _trips(node, known)
        if trips is None:
            unrolled.append(node)
            continue
        gone.append(node.output[0])
        unrolled += _unrolled(node, subgraphs(node)[0], trips, graph)
    del graph.node[:]
    graph.node.extend(unrolled)
    return gone


def graph_constants(graph: onnx.GraphProto) -> dict[str, np.ndarray]:
    """Return small constants of a graph, including results of cheap operators on them; the graph is not changed."""
    copy = onnx.GraphProto()
    copy.CopyFrom(graph)
    return fold_small_constants(copy)


def _trips(node: onnx.NodeProto, known: dict[str, np.ndarray]) -> int | None:
    """Return the data-independent trip count of a Loop; None if unknown, or for any other node."""
    if node.op_type != "Loop" or node.domain not in STANDARD_DOMAINS or len(node.input) < 3:
        return None
    body, trips = subgraphs(node)[0], known.get(node.input[0])
    starts = not node.input[1] or bool(np.all(known.get(node.input[1], False)))
    carries = len(body.output) - 1 == len(body.input) - 2 == len(node.output)
    if trips is None or not starts or not carries:
        return None
    if int(trips.flat[0]) * len(body.node) > MAX_NODES or any(subgraphs(inner) for inner in body.node):
        return None
    again = onnx.GraphProto()
    again.CopyFrom(body)
    again.initializer.append(onnx.numpy_helper.from_array(np.array(True), body.input[1].name))
    return int(trips.flat[0]) if np.all(fold_small_constants(again).get(body.output[0].name, False)) else None


def _unrolled(node: onnx.NodeProto, body: onnx.GraphProto, trips: int, graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    """Return the nodes of all trips; the body's weights are added to the graph once."""
    prefix = f"{node.output[0]}.trip"
    weights = {tensor.name: f"{prefix}.{tensor.name}" for tensor in body.initializer}
    for tensor in body.initializer:
        graph.initializer.add().CopyFrom(tensor)
        graph.initializer[-1].name = weights[tensor.name]
    carried, nodes = list(node.input[2:]), []
    for trip in range(trips):
        number, going = f"{prefix}{trip}.number", f"{prefix}{trip}.going"  # unused as a name in the body
        for name, value in ((number, np.int64(trip)), (going, np.bool_(True))):
            graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
        taken = (number, going, *carried)
        names = {**weights, **{port.name: name for port, name in zip(body.input, taken, strict=True)}}
        for inner in body.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(inner)
            names |= {name: f"{prefix}.{trip}.{name}" for name in inner.output if name}
            copy.input[:] = [names.get(name, name) for name in inner.input]
            copy.output[:] = [names.get(name, name) for name in inner.output]
            copy.ClearField("name")  # it would occur once per trip
            nodes.append(copy)
        carried = [names.get(port.name, port.name) for port in body.output[1:]]
    pairs = zip(carried, node.output, strict=True)
    return nodes + [onnx.helper.make_node("Identity", [inside], [name]) for inside, name in pairs if name]
