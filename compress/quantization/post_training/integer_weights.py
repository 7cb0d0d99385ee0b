"""Reading and shifting the integers of a quantized file: weights, their scales, and biases."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from compress.onnx_graph.graph import Array, Graph, attributes


@dataclass(frozen=True)
class IntegerWeights:
    """Weight of a quantized operator.

    Attributes:
        codes: integers, in the shape of the weight.
        scale: factor of the codes, shaped for broadcasting.
    """

    codes: Array
    scale: Array

    @property
    def values(self) -> Array:
        """The dequantized weight."""
        return (self.codes.astype(np.float32) * self.scale).astype(np.float32, copy=False)


def integer_weights(graph: Graph) -> dict[str, IntegerWeights]:
    """Return the weights of operators that read one through DequantizeLinear, by the operator's name.

    Weights are symmetric: their zero point is 0.
    """
    found = {}
    for node in graph.nodes:
        source = graph.producers.get(node.input[1]) if len(node.input) > 1 else None
        if source is None or source.op_type != "DequantizeLinear":
            continue
        codes, scale = graph.constant(source.input[0]), graph.constant(source.input[1])
        if codes is None or scale is None:
            continue
        # Scales per channel are along the DequantizeLinear's axis, which is not always the first.
        if scale.size > 1:
            axis = attributes(source).get("axis", 1) % codes.ndim
            scale = scale.reshape([-1 if i == axis else 1 for i in range(codes.ndim)])
        found[node.name] = IntegerWeights(codes, scale)
    return found


def bias_of(graph: Graph, node: onnx.NodeProto) -> tuple[onnx.NodeProto, int] | None:
    """Return the place of a quantized operator's constant bias: a node and the index of its input, or None.

    The bias of a MatMul is the constant vector that is added after it.
    """
    if node.op_type == "MatMul":
        reader = graph.only_consumer(node.output[0])
        if reader is None or reader.op_type != "Add":
            return None
        index = 1 if reader.input[0] == node.output[0] else 0
        return (reader, index) if _is_vector(graph, reader.input[index]) else None
    if len(node.input) < 3 or not node.input[2]:
        return None
    source = graph.producers.get(node.input[2])
    name = node.input[2] if source is None else source.input[0]
    return (node, 2) if _is_vector(graph, name) else None


def _is_vector(graph: Graph, name: str) -> bool:
    return name in graph.tensors and len(graph.tensors[name].dims) == 1


def shift_bias(graph: Graph, node: onnx.NodeProto, index: int, shift: Array) -> None:
    """Add to a bias from :func:`bias_of`, in place, whether in floats or 32-bit integers."""
    bias = graph.constant(node.input[index])
    if bias is not None:
        graph.set(node, index, (bias + shift).astype(bias.dtype))
        return
    source = graph.producers[node.input[index]]
    codes, scale = graph.constant(source.input[0]), graph.constant(source.input[1])
    if codes is None or scale is None:
        raise ValueError(f"the bias of '{node.name}' is not a constant")
    limits = np.iinfo(np.int32)
    # In double: float32 has 24 bits, fewer than a 32-bit bias.
    moved = np.clip(codes.astype(np.float64) + np.round(shift / scale), limits.min, limits.max)
    tensor = onnx.numpy_helper.from_array(moved.astype(np.int32), source.input[0])
    graph.tensors[source.input[0]].CopyFrom(tensor)
