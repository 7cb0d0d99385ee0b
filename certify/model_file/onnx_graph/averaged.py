"""Work along axes over which its results are only averaged: the average of a linear operator's results is an average.

A blur of single channels, an enlargement or a product over the positions needs no more than a weighted average of its
input, if nothing but linear operators stands between it and an average over the same axes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import onnx

from certify.model_file.onnx_graph.constants import array_of
from certify.model_file.onnx_graph.operators import attribute, attribute_list, compute_of
from certify.model_file.onnx_graph.shapes import infer
from certify.model_file.onnx_graph.traffic import Value
from certify.model_file.onnx_graph.work import ELEMENT_MACS, macs_of

SAME = frozenset({"Add", "BatchNormalization", "Cast", "Div", "Dropout", "Identity", "Mul", "Sub"})
RESHAPING = frozenset({"Flatten", "Reshape", "Squeeze", "Unsqueeze"})
NONE: frozenset[int] = frozenset()

Values = Mapping[str, Value]


def averaged_work(model: onnx.ModelProto, sample: tuple[int, ...]) -> dict[str, int]:
    """Return the cost of linear operators along axes that are averaged behind them, by their output.

    Args:
        model: model without functions, whose weights are initializers.
        sample: shape of one sample without the batch.
    """
    graph, inferred = model.graph, infer(model, sample)
    values, weights = inferred.values, {tensor.name: tensor for tensor in graph.initializer}
    over: dict[str, frozenset[int]] = {value.name: NONE for value in graph.output}
    found: dict[str, int] = {}
    for node in reversed(graph.node):
        out = node.output[0]
        behind = over.get(out, NONE) if len(node.output) == 1 and out in values else NONE
        mixed = _mixed(node, values, weights)
        for name in filter(None, node.input):
            axes = NONE
            if name in values and out in values:
                axes = _averaged(node, name, behind, values, weights)
                if mixed is not None and name == node.input[0] and mixed <= behind:
                    axes = behind
            over[name] = over.get(name, axes) & axes
        if mixed and mixed <= behind:
            found[out] = (macs_of(node, values) or 0) + ELEMENT_MACS * math.prod(values[out].shape)
    return found


def _mixed(node: onnx.NodeProto, values: Values, weights: Mapping[str, onnx.TensorProto]) -> frozenset[int] | None:
    """Return the axes along which a linear operator mixes elements; None if it is not linear or mixes channels."""
    shapes = [values[name].shape if name in values else () for name in (node.input[0], node.output[0])]
    axes = len(shapes[1])
    if node.op_type in ("AveragePool", "Resize") and len(shapes[0]) == axes:
        same = [before == after for before, after in zip(*shapes, strict=True)]
        return frozenset(axis for axis in range(axes) if not same[axis]) or None
    compute = compute_of(node)
    if compute is None or compute.quantized or node.input[compute.weight] not in weights:
        return None
    if compute.kind == "conv" and len(shapes[0]) > 2 and attribute(node, "group", 1) == shapes[0][1] == shapes[1][1]:
        return frozenset(range(2, axes))
    # A product over the last axis; it also mixes channels if they are last, which averages nothing.
    return frozenset({axes - 1}) if compute.kind == "matmul" and axes else None


def _averaged(
    node: onnx.NodeProto, name: str, behind: frozenset[int], values: Values, weights: Mapping[str, onnx.TensorProto]
) -> frozenset[int]:
    """Return the axes of an input over which nothing but an average of it is read."""
    before, after = values[name].shape, values[node.output[0]].shape
    if node.op_type == "GlobalAveragePool":
        return frozenset(range(2, len(before)))
    if node.op_type in ("ReduceMean", "ReduceSum") and name == node.input[0]:
        axes = attribute_list(node, "axes")
        if len(node.input) > 1 and node.input[1] in weights:
            axes = array_of(weights[node.input[1]]).reshape(-1).tolist()
        return frozenset(axis % len(before) for axis in axes)
    if node.op_type in SAME and len(before) == len(after):
        linear = node.op_type not in ("Mul", "Div") or sum(other not in weights for other in node.input) == 1
        return frozenset(axis for axis in behind if before[axis] == after[axis]) if linear else NONE
    if node.op_type == "Transpose":
        order = attribute_list(node, "perm") or list(range(len(before)))[::-1]
        return frozenset(order[axis] for axis in behind)
    if node.op_type in RESHAPING and name == node.input[0]:
        # Trailing axes, all of which are averaged, may be written as others.
        kept = next((axis for axis in range(len(after)) if set(range(axis, len(after))) <= behind), len(after))
        if kept < len(after) and before[:kept] == after[:kept]:
            return frozenset(range(kept, len(before)))
    return NONE
