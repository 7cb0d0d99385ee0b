"""Consecutive linear layers that cost more than the single layer that is their product.

Operators between them must commute with a layer over channels: constants, averages over pixels, reordering, slices.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import onnx

from certify.model_file.onnx_graph.data_sized import reader_counts
from certify.model_file.onnx_graph.operators import attribute, attribute_list, compute_of
from certify.model_file.onnx_graph.shapes import infer
from certify.model_file.onnx_graph.traffic import Value
from certify.model_file.onnx_graph.work import multiply_adds

SCALING = frozenset({"Add", "BatchNormalization", "Cast", "Div", "Dropout", "Identity", "Mul", "Sub"})
"""Operators that keep a layer linear if they join it with constants."""
AVERAGING = frozenset({"AveragePool", "GlobalAveragePool"})
CUTTING = frozenset({"Gather", "Slice"})
RESHAPING = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})


@dataclass(frozen=True)
class _Layer:
    """A linear layer, or the product of several.

    Attributes:
        macs: its multiply-adds.
        inputs: number of channels that it reads.
        outputs: number of elements that it writes.
        pointwise: whether each output reads a single position.
        strided: whether it skips positions.
    """

    macs: int
    inputs: int
    outputs: int
    pointwise: bool
    strided: bool


def linear_products(model: onnx.ModelProto, sample: tuple[int, ...]) -> dict[str, int]:
    """Return, by the output of the second of two layers, the multiply-adds that their product would save.

    Of more layers in a row, each is compared with the product of those before it.

    Args:
        model: model without functions, whose weights are initializers.
        sample: shape of one sample without the batch.
    """
    graph = model.graph
    values = infer(model, sample).values
    weights = {tensor.name for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    readers = reader_counts(graph)
    found: dict[str, int] = {}
    layers: dict[str, _Layer] = {}
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
        one, other = layers.get(name) or _layer(first, values), _layer(node, values)
        product = _product(one, other, beside) if axis == _channels(first, values, name) else None
        if product is not None and one is not None and other is not None:
            saved = one.macs + other.macs - product.macs
            if saved > 0:
                found[node.output[0]] = saved
                # The next layer is compared with the product, or what both pairs save would count twice.
                layers[node.output[0]] = product
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
        order = attribute_list(node, "perm") or list(range(len(before)))[::-1]
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


def _layer(node: onnx.NodeProto, values: Mapping[str, Value]) -> _Layer | None:
    """Describe a layer; None if its shapes are unknown."""
    compute, axis = compute_of(node), _channels(node, values, node.input[0])
    macs = None if compute is None else multiply_adds(node, compute, values)
    if macs is None or axis is None:
        return None
    inputs, outputs = values[node.input[0]].shape[axis], math.prod(values[node.output[0]].shape)
    return _Layer(
        macs, inputs, outputs, _is_pointwise(node, values), max(attribute_list(node, "strides"), default=1) > 1
    )


def _product(first: _Layer | None, second: _Layer | None, beside: bool) -> _Layer | None:
    """Return the layer in place of two; None if neither is pointwise.

    Args:
        first: first layer, or product of layers.
        second: second layer.
        beside: whether an operator between them commutes only with pointwise layers.
    """
    if first is None or second is None or beside and not first.pointwise:
        return None
    if second.pointwise:
        macs = first.macs * second.outputs / max(1, first.outputs)
    elif first.pointwise and not first.strided:
        macs = second.macs * first.inputs / second.inputs
    else:
        return None
    pointwise, strided = first.pointwise and second.pointwise, first.strided or second.strided
    return _Layer(round(macs), first.inputs, second.outputs, pointwise, strided)


def _is_pointwise(node: onnx.NodeProto, values: Mapping[str, Value]) -> bool:
    if node.op_type != "Conv":
        return True
    return math.prod(values[node.input[1]].shape[2:]) == 1 and not any(attribute_list(node, "pads"))
