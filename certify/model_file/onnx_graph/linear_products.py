"""Consecutive linear layers that cost more than the single layer that is their product.

Operators between them must commute with a layer over channels: constants, averages over pixels, reordering, slices.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping

import onnx

from certify.model_file.onnx_graph.data_sized import used
from certify.model_file.onnx_graph.operators import attribute, compute_of
from certify.model_file.onnx_graph.shapes import infer
from certify.model_file.onnx_graph.traffic import Value
from certify.model_file.onnx_graph.work import multiply_adds

SCALING = frozenset({"Add", "BatchNormalization", "Cast", "Div", "Dropout", "Identity", "Mul", "Sub"})
"""Operators that keep a layer linear if they join it with constants."""
AVERAGING = frozenset({"AveragePool", "GlobalAveragePool"})
CUTTING = frozenset({"Gather", "Slice"})
RESHAPING = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})


def linear_products(model: onnx.ModelProto, sample: tuple[int, ...]) -> dict[str, int]:
    """Return, by the output of the second of two layers, the multiply-adds that their product would save.

    Args:
        model: model without functions, whose weights are initializers.
        sample: shape of one sample without the batch.
    """
    graph = model.graph
    values = infer(model, sample).values
    weights = {tensor.name for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    readers = Counter(name for node in graph.node for name in used(node))
    readers.update(value.name for value in graph.output)
    found: dict[str, int] = {}
    for node in graph.node:
        if not _is_linear(node, weights):
            continue
        name, axis = node.input[0], _channels(node, values, node.input[0])
        beside = False
        while axis is not None and readers[name] == 1 and name in makers and not _is_linear(makers[name], weights):
            between = makers[name]
            varying = [each for each in between.input if each and each not in weights]
            axis = _axis_before(between, varying[0], values, axis) if len(varying) == 1 else None
            beside = beside or between.op_type not in SCALING
            name = varying[0] if varying else ""
        first = makers.get(name)
        if first is None or axis is None or readers[name] != 1 or not _is_linear(first, weights):
            continue
        if axis == _channels(first, values, name) and (saved := _saved(first, node, values, beside)) > 0:
            found[node.output[0]] = saved
    return found


def _channels(layer: onnx.NodeProto, values: Mapping[str, Value], name: str) -> int | None:
    """Return the axis of the channels in a value that a layer reads or writes."""
    known = values.get(name)
    return None if known is None else (1 if layer.op_type == "Conv" else len(known.shape) - 1)


def _axis_before(node: onnx.NodeProto, read: str, values: Mapping[str, Value], axis: int) -> int | None:
    """Return the axis of the channels before an operator; None if it does not commute with a layer over them."""
    kinds = [values.get(name) for name in (read, node.output[0])]
    if kinds[0] is None or kinds[1] is None:
        return None
    before, after = kinds[0].shape, kinds[1].shape
    if node.op_type in SCALING | CUTTING:
        return axis if len(before) == len(after) else None
    if node.op_type in AVERAGING:
        return axis if axis == 1 else None
    if node.op_type == "Transpose":
        order = _ints(node, "perm") or list(range(len(before)))[::-1]
        return order[axis]
    if node.op_type in RESHAPING and [size for size in before if size != 1] == [size for size in after if size != 1]:
        real = sum(size != 1 for size in after[:axis])
        places = [place for place, size in enumerate(before) if size != 1]
        return places[real] if after[axis] != 1 and real < len(places) else None
    return None


def _is_linear(node: onnx.NodeProto, weights: set[str]) -> bool:
    compute = compute_of(node)
    return (
        compute is not None
        and compute.kind in ("conv", "gemm", "matmul")
        and not compute.quantized
        and node.input[compute.weight] in weights
        and attribute(node, "group", 1) == 1
        and not attribute(node, "transA", 0)
    )


def _saved(first: onnx.NodeProto, second: onnx.NodeProto, values: Mapping[str, Value], beside: bool) -> int:
    """Return the multiply-adds of both, less those of their product, if one of them is pointwise.

    Args:
        first: first layer.
        second: second layer.
        values: shapes by name.
        beside: whether an operator between them commutes only with pointwise layers.
    """
    macs = []
    for node in (first, second):
        compute = compute_of(node)
        count = None if compute is None else multiply_adds(node, compute, values)
        if count is None:
            return 0
        macs.append(count)
    outputs = [math.prod(values[node.output[0]].shape) for node in (first, second)]
    if beside and not _is_pointwise(first, values):
        return 0
    if _is_pointwise(second, values):
        product = macs[0] * outputs[1] / max(1, outputs[0])
    elif _is_pointwise(first, values) and max(_ints(first, "strides"), default=1) == 1:
        product = macs[1] * values[first.input[0]].shape[1] / values[second.input[0]].shape[1]
    else:
        return 0
    return round(sum(macs) - product)


def _is_pointwise(node: onnx.NodeProto, values: Mapping[str, Value]) -> bool:
    if node.op_type != "Conv":
        return True
    return math.prod(values[node.input[1]].shape[2:]) == 1 and not any(_ints(node, "pads"))


def _ints(node: onnx.NodeProto, name: str) -> list[int]:
    return next((list(a.ints) for a in node.attribute if a.name == name), [])
