"""Spatial means: written as the operator that has an integer kernel, or left out where they do nothing."""

from __future__ import annotations

from collections.abc import Mapping

import onnx

from compress.onnx_graph.graph import drop_unread, subgraphs


def means_as_pools(model: onnx.ModelProto) -> int:
    """Turn each ReduceMean over height and width into a GlobalAveragePool, in place.

    Both compute the same; torch exports adaptive average pooling as the former, which runtimes quantize around and
    not through, so that the end of a network goes back to floats.

    Args:
        model: with inferred shapes.

    Returns:
        How many were turned.
    """
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in (*model.graph.input, *model.graph.value_info)
        if value.type.tensor_type.HasField("shape")
    }
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    turned = 0
    for index, node in reversed(list(enumerate(model.graph.node))):
        if node.op_type != "ReduceMean" or not _is_spatial(node, ranks, constants):
            continue
        keeps = next((a.i for a in node.attribute if a.name == "keepdims"), 1)
        pooled = node.output[0] if keeps else f"{node.output[0]}.pooled"
        made = [onnx.helper.make_node("GlobalAveragePool", node.input[:1], [pooled], f"{node.name}.pool")]
        if not keeps:
            made.append(onnx.helper.make_node("Flatten", [pooled], node.output[:1], f"{node.name}.flatten", axis=1))
        model.graph.node.remove(node)
        for offset, new in enumerate(made):
            model.graph.node.insert(index + offset, new)
        turned += 1
    drop_unread(model.graph)  # the axes, which runtimes would warn of
    return turned


def drop_idle_means(model: onnx.ModelProto) -> list[str]:
    """Take out each mean over height and width that has one value to go over, in place.

    Args:
        model: with inferred shapes.

    Returns:
        Names of the nodes.
    """
    shapes = {
        value.name: [int(dim.dim_value) for dim in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.value_info)
    }
    ranks = {name: len(shape) for name, shape in shapes.items()}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    outputs = {value.name for value in model.graph.output}
    dropped = []
    for index, node in reversed(list(enumerate(model.graph.node))):
        mean = node.op_type == "GlobalAveragePool" or (
            node.op_type == "ReduceMean" and _is_spatial(node, ranks, constants)
        )
        if not mean or shapes.get(node.input[0], [])[2:] != [1, 1] or node.output[0] in outputs:
            continue
        model.graph.node.remove(node)
        if next((a.i for a in node.attribute if a.name == "keepdims"), 1):
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


def _is_spatial(node: onnx.NodeProto, ranks: Mapping[str, int], constants: Mapping[str, onnx.TensorProto]) -> bool:
    """Whether a mean goes over exactly the last two of four axes."""
    axes = next((list(a.ints) for a in node.attribute if a.name == "axes"), None)
    if axes is None and len(node.input) > 1 and node.input[1] in constants:
        axes = onnx.numpy_helper.to_array(constants[node.input[1]]).tolist()
    return ranks.get(node.input[0]) == 4 and axes is not None and sorted(axis % 4 for axis in axes) == [2, 3]
