"""Spatial means: written as the operator with an integer kernel, or removed where they have no effect."""

from __future__ import annotations

import onnx

from compress.core.onnx_reads import drop_unread, subgraphs
from compress.onnx_graph.graph import Graph, attributes


def means_as_pools(model: onnx.ModelProto) -> int:
    """Turn each ReduceMean over height and width into a GlobalAveragePool, in place.

    Both compute the same; torch exports adaptive average pooling as the former, which runtimes do not quantize, so that
    the end of a network would return to floats.

    Args:
        model: model with inferred shapes.

    Returns:
        The number of replaced operators.
    """
    # Nodes are visited backwards, so that positions in front stay valid while nodes are replaced.
    graph, turned = Graph(model), 0
    for index, node in reversed(list(enumerate(model.graph.node))):
        if node.op_type != "ReduceMean" or not is_spatial_mean(node, graph):
            continue
        keeps = attributes(node).get("keepdims", 1)
        pooled = node.output[0] if keeps else f"{node.output[0]}.pooled"
        nodes = [onnx.helper.make_node("GlobalAveragePool", node.input[:1], [pooled], f"{node.name}.pool")]
        if not keeps:
            nodes.append(onnx.helper.make_node("Flatten", [pooled], node.output[:1], f"{node.name}.flatten", axis=1))
        model.graph.node.remove(node)
        for offset, new in enumerate(nodes):
            model.graph.node.insert(index + offset, new)
        turned += 1
    drop_unread(model.graph)  # the axes, about which runtimes would warn
    return turned


def drop_idle_means(model: onnx.ModelProto) -> list[str]:
    """Remove each mean over height and width that has a single value, in place.

    Args:
        model: model with inferred shapes.

    Returns:
        Names of the removed nodes.
    """
    graph, dropped = Graph(model), []
    outputs = {value.name for value in model.graph.output}  # names in branches are changed too
    for index, node in reversed(list(enumerate(model.graph.node))):
        mean = node.op_type == "GlobalAveragePool" or (node.op_type == "ReduceMean" and is_spatial_mean(node, graph))
        if not mean or (graph.shape(node.input[0]) or ())[2:] != (1, 1) or node.output[0] in outputs:
            continue
        model.graph.node.remove(node)
        if attributes(node).get("keepdims", 1):
            _rename(model.graph, node.output[0], node.input[0])
        else:
            flat = onnx.helper.make_node("Flatten", node.input[:1], node.output[:1], f"{node.name}.flatten", axis=1)
            model.graph.node.insert(index, flat)
        dropped.append(node.name)
    return dropped[::-1]


def _rename(graph: onnx.GraphProto, old: str, new: str) -> None:
    for node in graph.node:
        for index, name in enumerate(node.input):
            if name == old:
                node.input[index] = new
        for inner in subgraphs(node):
            _rename(inner, old, new)


def is_spatial_mean(node: onnx.NodeProto, graph: Graph) -> bool:
    """Return whether a mean is over exactly the last two of four axes."""
    axes = attributes(node).get("axes")
    if axes is None and len(node.input) > 1:
        axes = graph.constant(node.input[1])
    rank = len(graph.shape(node.input[0]) or ())
    return rank == 4 and axes is not None and sorted(axis % 4 for axis in axes) == [2, 3]
