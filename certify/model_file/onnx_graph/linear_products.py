"""Linear layers in a row that cost more than the single layer that is their product."""

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

SCALING = frozenset({"Add", "Cast", "Div", "Dropout", "Identity", "Mul", "Sub"})
"""Operators that keep a layer linear if they join it with constants."""


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
        before = makers.get(node.input[0])
        while before is not None and readers[before.output[0]] == 1 and before.op_type in SCALING:
            varying = [name for name in before.input if name and name not in weights]
            before = makers.get(varying[0]) if len(varying) == 1 else None
        if before is not None and readers[before.output[0]] == 1 and _is_linear(before, weights):
            saved = _saved(before, node, values)
            if saved > 0:
                found[node.output[0]] = saved
    return found


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


def _saved(first: onnx.NodeProto, second: onnx.NodeProto, values: Mapping[str, Value]) -> int:
    """Return the multiply-adds of both, less those of their product, if one of them looks at single positions."""
    macs = []
    for node in (first, second):
        compute = compute_of(node)
        count = None if compute is None else multiply_adds(node, compute, values)
        if count is None:
            return 0
        macs.append(count)
    outputs = [math.prod(values[node.output[0]].shape) for node in (first, second)]
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
