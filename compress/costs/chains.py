"""Copies of a float block in a chain, and what is around each copy in a file of integers."""

from __future__ import annotations

import numpy as np
import onnx

from compress.costs.shipped_form import Shipping
from compress.onnx_graph.graph import sort_nodes

BORDER_STEP = 1 / 32


def stacked(model: onnx.ModelProto, copies: int) -> onnx.ModelProto:
    """Chain copies of a block; each takes the output of the previous one.

    Args:
        model: maps a tensor to one of the same shape.
        copies: number of copies, at least 1.
    """
    # Names of values must be unique in the chain.
    chained = onnx.compose.add_prefix(model, "0.")
    for number in range(1, copies):
        following = onnx.compose.add_prefix(model, f"{number}.")
        chained = onnx.compose.merge_models(
            chained, following, [(chained.graph.output[0].name, following.graph.input[0].name)]
        )
    del chained.opset_import[:]  # merging writes each twice
    chained.opset_import.extend(model.opset_import)
    return chained


def rounded_before(model: onnx.ModelProto, shipping: Shipping) -> onnx.ModelProto:
    """Return a copy of a float model whose input comes from integers, if values between blocks are integers."""
    return _with_border(model, shipping, model.graph.input[0].name, inputs=True)


def rounded_after(model: onnx.ModelProto, shipping: Shipping) -> onnx.ModelProto:
    """Return a copy of a float model whose output becomes integers, if values between blocks are integers."""
    return _with_border(model, shipping, model.graph.output[0].name, inputs=False)


def _with_border(model: onnx.ModelProto, shipping: Shipping, name: str, *, inputs: bool) -> onnx.ModelProto:
    """Return a copy that rounds an input or output to codes and back; the step does not affect costs."""
    bordered = onnx.ModelProto()
    bordered.CopyFrom(model)
    if not shipping.rounds_values:
        return bordered
    before, after = _opened(bordered.graph, name, inputs=inputs)
    codes = np.dtype(shipping.target.activation_type)
    # The zero point in the middle of the codes suits both signed and unsigned types; values never matter for the time.
    parameters = {f"{name}.scale": np.float32(BORDER_STEP), f"{name}.zero": codes.type(np.iinfo(codes).max // 2)}
    bordered.graph.initializer.extend(onnx.numpy_helper.from_array(np.array(v), n) for n, v in parameters.items())
    bordered.graph.node.extend(
        (
            onnx.helper.make_node("QuantizeLinear", [before, *parameters], [f"{name}.codes"], f"{name}.quantize"),
            onnx.helper.make_node("DequantizeLinear", [f"{name}.codes", *parameters], [after], f"{name}.dequantize"),
        )
    )
    sort_nodes(bordered.graph)
    return bordered


def between_layers(model: onnx.ModelProto, sides: tuple[bool, bool]) -> onnx.ModelProto:
    """Return a copy of a float model on images with a convolution of one tap per channel before and after it.

    Args:
        model: maps images to images, (n, channels, height, width).
        sides: whether to put one before it, and after it.
    """
    between = onnx.ModelProto()
    between.CopyFrom(model)
    graph = between.graph
    for port, inputs in ((graph.input[0], True), (graph.output[0], False)):
        if not sides[0 if inputs else 1]:
            continue
        channels = port.type.tensor_type.shape.dim[1].dim_value
        before, after = _opened(graph, port.name, inputs=inputs)
        weight = onnx.numpy_helper.from_array(np.ones((channels, 1, 1, 1), np.float32), f"{port.name}.taps")
        graph.initializer.append(weight)
        made = onnx.helper.make_node("Conv", [before, weight.name], [after], f"{port.name}.layer", group=channels)
        graph.node.append(made)
    sort_nodes(graph)
    return between


def _opened(graph: onnx.GraphProto, name: str, *, inputs: bool) -> tuple[str, str]:
    """Give an input or output another name inside; return what a node between the two must read and write."""
    port = next(each for each in (graph.input if inputs else graph.output) if each.name == name)
    inner = graph.value_info.add()
    inner.CopyFrom(port)
    inner.name = f"{name}.inner"
    for node in graph.node:
        for names in (node.input,) if inputs else (node.input, node.output):
            names[:] = [inner.name if each == name else each for each in names]
    return (name, inner.name) if inputs else (inner.name, name)
