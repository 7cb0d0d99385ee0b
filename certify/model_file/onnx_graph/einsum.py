"""Einsums that mix channels by constant weights, written as the layers that they are."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from certify.model_file.onnx_graph.constants import array_of
from certify.model_file.onnx_graph.operators import STANDARD_DOMAINS

IMAGE = 4
"""Number of axes of images, whose channels are on axis 1."""


def as_layers(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy in which a pointwise Conv or a MatMul replaces each Einsum over channels with constant weights.

    Args:
        model: model without functions, whose weights are initializers; not modified.
    """
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    weights = {tensor.name: tensor for tensor in plain.graph.initializer}
    for node in plain.graph.node:
        if node.op_type == "Einsum" and node.domain in STANDARD_DOMAINS and len(node.input) == 2:
            layer = _layer(node, weights, plain.graph)
            if layer is not None:
                node.CopyFrom(layer)
    return plain


def _layer(
    node: onnx.NodeProto, weights: Mapping[str, onnx.TensorProto], graph: onnx.GraphProto
) -> onnx.NodeProto | None:
    equation = next((a.s.decode() for a in node.attribute if a.name == "equation"), "").replace(" ", "")
    terms, _, result = equation.partition("->")
    pairs = list(zip(node.input, terms.split(","), strict=False))
    if len(pairs) != 2 or pairs[0][0] in weights or pairs[1][0] not in weights:
        pairs.reverse()
    (data, read), (weight, factors) = pairs if len(pairs) == 2 else (("", ""), ("", ""))
    if data in weights or weight not in weights or len(factors) != 2 or len(weights[weight].dims) != 2:
        return None
    into = next((index for index in factors if index not in read), "")
    mixed = next((index for index in factors if index != into), "")
    if not into or not mixed or "." in equation or len(set(read)) != len(read) or read.replace(mixed, into) != result:
        return None
    matrix = array_of(weights[weight])
    matrix = matrix if factors == into + mixed else matrix.T
    name, axis = f"{node.output[0]}.as_layer", read.index(mixed)
    if axis == len(read) - 1:
        graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(matrix.T), name))
        return onnx.helper.make_node("MatMul", [data, name], list(node.output))
    if axis != 1 or len(read) != IMAGE:
        return None
    graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(matrix)[:, :, None, None], name))
    return onnx.helper.make_node("Conv", [data, name], list(node.output))
