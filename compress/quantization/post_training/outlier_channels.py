"""Outlier channels of a product's input are multiplied apart, in floats, so that they do not widen the range of others.

Dettmers, Lewis, Belkada and Zettlemoyer, "LLM.int8()", NeurIPS 2022 (arXiv 2208.07339): X W = X' W' + X_j W_j for few
channels j with outliers. In networks like BERT the second layer of an MLP often reads one channel that is several times
as large as all others, for one token, with weights as large: in MiniLM 25 beside 6, and weights of 7.9 beside 0.14.
SmoothQuant cannot help, because these weights would grow further. A LayerNorm's output is smoothed instead.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np
import onnx

from compress.onnx_graph.graph import Array, Graph

LEAST_GAIN = 2.0
"""Smallest factor by which the range of the other channels is narrower: one bit."""


def products_with_outliers(
    graph: Graph, largest: Mapping[str, Array], most: int, smoothed: Sequence[str]
) -> dict[str, list[int]]:
    """Return the outlier channels of each matrix product's input, by the product's name.

    Args:
        graph: the float model.
        largest: by value, (channels,) the largest absolute values.
        most: largest number of channels per product.
        smoothed: names of products whose inputs are smoothed.
    """
    found = {}
    for node in readers_of_rows(graph):
        sizes = largest.get(node.input[0])
        # Another reader would need the whole range.
        if sizes is None or node.name in smoothed or graph.only_consumer(node.input[0]) is None:
            continue
        order = np.argsort(-sizes, kind="stable")
        for count in range(1, min(most, len(order) - 1) + 1):
            if sizes[order[0]] >= LEAST_GAIN * sizes[order[count]] > 0:
                found[node.name] = sorted(order[:count].tolist())
                break
    return found


def readers_of_rows(graph: Graph) -> list[onnx.NodeProto]:
    """Return the matrix products with a constant matrix, whose input has its channels last."""
    return [
        node for node in graph.weighted() if node.op_type == "MatMul" and len(graph.tensors[node.input[1]].dims) == 2
    ]


def split_off(graph: Graph, channels: Mapping[str, Sequence[int]]) -> tuple[str, ...]:
    """Let products leave out some channels, whose share is added in floats, in place.

    Args:
        graph: the float model; it computes the same afterwards, but its index does not include the inserted nodes.
        channels: result of :func:`products_with_outliers`.

    Returns:
        Names of the inserted nodes, which must stay float.
    """
    inserted: list[str] = []
    for node in [node for node in graph.nodes if node.name in channels]:
        weight = graph.weight(node)
        if weight is None:
            raise ValueError(f"'{node.name}' has no constant weight")
        others = weight.copy()
        others[list(channels[node.name])] = 0
        graph.set(node, 1, others)
        last = _with_bias(graph, node)
        parts = [_part(graph, node, weight, channel) for channel in channels[node.name]]
        inserted += _add(graph, last, [new for part in parts for new in part])
    return tuple(inserted)


def read_floats(model: onnx.ModelProto, inserted: Collection[str]) -> None:
    """Let inserted nodes of a quantized model read what was rounded for others, from before the rounding, in place."""
    makers = {name: node for node in model.graph.node for name in node.output}
    for node in model.graph.node:
        rounded = makers.get(node.input[0]) if node.name in inserted and node.op_type == "Gather" else None
        if rounded is not None and rounded.op_type == "DequantizeLinear":
            node.input[0] = makers[rounded.input[0]].input[0]


def _with_bias(graph: Graph, node: onnx.NodeProto) -> onnx.NodeProto:
    """Return the addition of a constant after a product, which runtimes compute with it, or else the product."""
    reader = graph.only_consumer(node.output[0])
    if reader is not None and reader.op_type == "Add" and any(name in graph.tensors for name in reader.input):
        return reader
    return node


def _part(graph: Graph, node: onnx.NodeProto, weight: Array, channel: int) -> list[onnx.NodeProto]:
    """Return the operators that multiply one channel by its row of the weight."""
    name = f"{node.output[0]}.outlier.{channel}"
    constants = {f"{name}.place": np.array([channel], np.int64), f"{name}.row": np.ascontiguousarray(weight[channel])}
    for each, values in constants.items():
        graph.model.graph.initializer.append(onnx.numpy_helper.from_array(values, each))
    # Not a MatMul, whose constant weight would count as a layer.
    take = onnx.helper.make_node(
        "Gather", [node.input[0], f"{name}.place"], [f"{name}.values"], f"{name}.take", axis=-1
    )
    return [take, onnx.helper.make_node("Mul", [f"{name}.values", f"{name}.row"], [name], f"{name}.multiply")]


def _add(graph: Graph, last: onnx.NodeProto, parts: list[onnx.NodeProto]) -> list[str]:
    """Insert operators after a node, and add their products to its output, whose name the sum takes over."""
    main, output = graph.model.graph, last.output[0]
    last.output[0] = total = f"{output}.others"
    for value in [value for value in main.value_info if value.name == output]:
        main.value_info.add().CopyFrom(value)  # the quantizer skips values without a type
        main.value_info[-1].name = total
    nodes = list(parts)
    products = [part for part in parts if part.op_type == "Mul"]
    for place, part in enumerate(products):
        result = output if place == len(products) - 1 else f"{part.output[0]}.added"
        nodes.append(onnx.helper.make_node("Add", [total, part.output[0]], [result], f"{part.output[0]}.add"))
        total = result
    position = [node.name for node in main.node].index(last.name) + 1
    for offset, node in enumerate(nodes):
        main.node.insert(position + offset, node)
    return [node.name for node in nodes]
