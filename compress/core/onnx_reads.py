"""The names that a graph reads, in its branches and loops too, and the constants that it does not."""

from __future__ import annotations

import onnx


def names_read(graph: onnx.GraphProto) -> set[str]:
    """Return the names of values read by a graph's nodes, their branches and loops, or its outputs."""
    names = {value.name for value in graph.output}
    return names.union(*map(reads, graph.node))


def subgraphs(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """Return the branches or the body of a control flow node."""
    return [graph for a in node.attribute for graph in (*((a.g,) if a.HasField("g") else ()), *a.graphs)]


def reads(node: onnx.NodeProto) -> list[str]:
    """Return the names of values that a node reads, including those read by its branches or body."""
    return [*node.input, *(name for inner in subgraphs(node) for name in sorted(names_read(inner)))]


def readers_of(graph: onnx.GraphProto) -> dict[str, list[onnx.NodeProto]]:
    """Return the nodes that read each value, once for each time."""
    readers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in reads(node):
            readers.setdefault(name, []).append(node)
    return readers


def drop_unread(graph: onnx.GraphProto) -> None:
    """Remove the initializers that nothing reads, in place."""
    read = names_read(graph)
    for index in reversed(range(len(graph.initializer))):
        if graph.initializer[index].name not in read:
            del graph.initializer[index]
