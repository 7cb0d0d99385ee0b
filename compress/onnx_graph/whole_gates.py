"""HardSwish and HardSigmoid in the form that OpenVINO fuses into the preceding convolution.

ONNX Runtime's preparation splits HardSwish into HardSigmoid and a product. OpenVINO has kernels for HardSwish and for
HSigmoid(x) = min(max(x + 3, 0), 6) / 6 that run inside a convolution; ONNX's HardSigmoid, with an arbitrary slope, uses
its reference code (https://docs.openvino.ai/2025/documentation/openvino-ir-format/operation-sets/
operation-specs/activation/hsigmoid-5.html).
"""

from __future__ import annotations

import math

import numpy as np
import onnx

from compress.core.onnx_reads import drop_unread
from compress.onnx_graph.graph import Graph, attributes, opset

SINCE = 14
"""Operator set that introduced HardSwish."""
# alpha and beta of the HardSigmoid in a HardSwish: x * clip(x / 6 + 1 / 2, 0, 1).
SLOPE, HEIGHT = 1 / 6, 1 / 2
# An attribute holds 1 / 6 as a float32.
CLOSE = 1e-6


def join_hard_swishes(model: onnx.ModelProto) -> int:
    """Write each product of a value with its own HardSigmoid as a HardSwish, in place.

    Args:
        model: model of operator set 14 or later; others are not modified.

    Returns:
        The number of joined operators.
    """
    if opset(model) < SINCE:
        return 0
    graph, joined = Graph(model), 0
    for node in graph.nodes:
        product = graph.only_consumer(node.output[0])
        if not _is_gate(node) or product is None or product.op_type != "Mul":
            continue
        # Only a product with its own input is a HardSwish; the gate of a squeeze-and-excitation block scales another
        # value.
        if sorted(product.input) != sorted([node.input[0], node.output[0]]):
            continue
        whole = onnx.helper.make_node("HardSwish", node.input, product.output, product.name)
        product.CopyFrom(whole)
        model.graph.node.remove(node)
        joined += 1
    return joined


def write_as_clips(model: onnx.ModelProto) -> int:
    """Write each HardSigmoid of slope 1/6 as an Add, a Clip and a Mul, in place.

    Returns:
        The number of rewritten operators.
    """
    gates = [node for node in model.graph.node if _is_gate(node)]
    for node in gates:
        position, name = list(model.graph.node).index(node), node.output[0]
        raised, cut = f"{name}.raised", f"{name}.cut"
        constants = {f"{name}.{key}": value for key, value in (("three", 3), ("zero", 0), ("six", 6), ("sixth", SLOPE))}
        # In the order of HSigmoid's definition, relu6(x + 3) / 6, from which OpenVINO recognises it.
        three, zero, six, sixth = constants
        nodes = [
            onnx.helper.make_node("Add", [node.input[0], three], [raised], f"{node.name}.raised"),
            onnx.helper.make_node("Clip", [raised, zero, six], [cut], f"{node.name}.cut"),
            onnx.helper.make_node("Mul", [cut, sixth], [name], node.name),
        ]
        model.graph.node.remove(node)
        for offset, each in enumerate(nodes):
            model.graph.node.insert(position + offset, each)
        model.graph.initializer.extend(
            onnx.numpy_helper.from_array(np.float32(value), key) for key, value in constants.items()
        )
    return len(gates)


def leave_to_convolutions(model: onnx.ModelProto) -> int:
    """Remove the rounding between a convolution and a gate that is its only reader, in place.

    Args:
        model: model with Q/DQ pairs.

    Returns:
        The number of removed pairs.
    """
    graph, freed = Graph(model), 0
    for node in graph.nodes:
        if node.op_type not in ("HardSwish", "HardSigmoid"):
            continue
        restored = graph.producers.get(node.input[0])
        rounded = None if restored is None else graph.producers.get(restored.input[0])
        source = None if rounded is None else graph.producers.get(rounded.input[0])
        if restored is None or rounded is None or source is None:
            continue
        if (source.op_type, rounded.op_type, restored.op_type) != ("Conv", "QuantizeLinear", "DequantizeLinear"):
            continue
        # Another reader of the rounded values would see floats instead.
        if any(graph.only_consumer(each.output[0]) is None for each in (source, rounded, restored)):
            continue
        node.input[0] = source.output[0]
        model.graph.node.remove(rounded)
        model.graph.node.remove(restored)
        freed += 1
    if freed:
        drop_unread(model.graph)
    return freed


def _is_gate(node: onnx.NodeProto) -> bool:
    settings = attributes(node)
    return (
        node.op_type == "HardSigmoid"
        and math.isclose(settings.get("alpha", 0.2), SLOPE, abs_tol=CLOSE)
        and math.isclose(settings.get("beta", 0.5), HEIGHT, abs_tol=CLOSE)
    )
