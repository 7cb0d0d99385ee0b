"""Layers of an ONNX graph whose weights can be refitted: convolutions and products with constant matrices."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from compress.onnx_graph.graph import Array, Graph, attributes
from compress.pruning.saturation import Limits

STANDARD = ("", "ai.onnx")


@dataclass(frozen=True)
class FileLayer:
    """A layer, described by the names of its values.

    Attributes:
        name: name of its node.
        input: its input.
        product: output of its node.
        output: the same including the bias, if that is added by a following Add.
        dims: spatial dimensions of a convolution; 0 for a product, whose units are in the last dimension.
        groups: groups of a convolution.
        turned: whether the weight is stored as (inputs, outputs).
        shape: shape of the weight as (outputs, inputs of a group, *kernel).
        bias: value whose producer reads the bias, and the index of that input; None if there is no place for one.
    """

    name: str
    input: str
    product: str
    output: str
    dims: int
    groups: int
    turned: bool
    shape: tuple[int, ...]
    bias: tuple[str, int] | None

    @property
    def place(self) -> int:
        """Dimension of its units, counted from the end."""
        return self.dims + 1

    @property
    def depthwise(self) -> bool:
        """Whether each of its units is computed only from the same unit of its input."""
        return self.groups > 1 and self.groups == self.shape[0] and self.shape[1] == 1


def find_layers(graph: Graph) -> list[FileLayer]:
    """Return the layers with constant float weights, in the order of the graph.

    Args:
        graph: graph of a model whose constants are initializers.
    """
    found = (_layer(graph, node) for node in graph.nodes)
    return [layer for layer in found if layer is not None]


def _layer(graph: Graph, node: onnx.NodeProto) -> FileLayer | None:
    weight = graph.weight(node) if node.domain in STANDARD else None
    if weight is None or weight.dtype.kind != "f" or node.input[0] in graph.tensors:
        return None
    own = node.output[0]
    if node.op_type == "Conv":
        groups, dims = int(attributes(node).get("group", 1)), weight.ndim - 2
        bias = (own, 2) if _has_bias(graph, node, len(weight)) else None
        return FileLayer(node.name, node.input[0], own, own, dims, groups, False, weight.shape, bias)
    if node.op_type == "Gemm":
        settings = attributes(node)
        # Scaled weights would have to be unscaled before they are written back; exporters do not produce them.
        if settings.get("transA", 0) or settings.get("alpha", 1.0) != 1 or settings.get("beta", 1.0) != 1:
            return None
        turned = not settings.get("transB", 0)
        shape = weight.shape[::-1] if turned else weight.shape
        bias = (own, 2) if _has_bias(graph, node, shape[0]) else None
        return FileLayer(node.name, node.input[0], own, own, 0, 1, turned, shape, bias)
    if node.op_type == "MatMul" and weight.ndim == 2:
        # MatMul has no bias; exporters write it as a following Add.
        added = _addition(graph, node, weight.shape[1])
        output = own if added is None else graph.producers[added[0]].output[0]
        return FileLayer(node.name, node.input[0], own, output, 0, 1, True, weight.shape[::-1], added)
    return None


def limits_of(graph: Graph, layer: FileLayer) -> Limits | None:
    """Return the limits of the ReLU or clip that alone reads a layer's output, or None without one."""
    node = graph.only_consumer(layer.output)
    if node is None or node.domain not in STANDARD or node.op_type not in ("Relu", "Clip"):
        return None
    if node.op_type == "Relu":
        return Limits(0.0, np.inf)
    told, found = attributes(node), []
    # Before opset 11, limits were attributes.
    for index, (name, none) in enumerate((("min", -np.inf), ("max", np.inf)), 1):
        given = node.input[index] if index < len(node.input) else ""
        value = graph.constant(given) if given else np.asarray(told.get(name, none))
        if value is None:
            return None
        found.append(float(value.item()))
    return Limits(*found)


def _has_bias(graph: Graph, node: onnx.NodeProto, units: int) -> bool:
    """Return whether the third input holds, or could hold, a bias of that size."""
    # An optional input that is missing or empty can be added.
    if len(node.input) < 3 or not node.input[2]:
        return True
    bias = graph.constant(node.input[2])
    return bias is not None and bias.size == units


def _addition(graph: Graph, node: onnx.NodeProto, units: int) -> tuple[str, int] | None:
    """Return the addition of a constant after a product."""
    reader = graph.only_consumer(node.output[0])
    if reader is None or reader.op_type != "Add" or reader.domain not in STANDARD:
        return None
    for index, name in enumerate(reader.input):
        bias = graph.constant(name)
        if bias is not None and bias.size == units and bias.shape[-1:] == (units,):
            return reader.output[0], index
    return None


def weight_of(graph: Graph, layer: FileLayer) -> Array:
    """Return the weights (groups, outputs of a group, inputs), without groups if there is one."""
    weight = graph.constant(graph.producers[layer.product].input[1])
    if weight is None:
        raise ValueError(f"'{layer.name}' has no constant weight")
    weight = weight.T if layer.turned else weight
    inputs = int(np.prod(weight.shape[1:]))
    shape = (-1, inputs) if layer.groups == 1 else (layer.groups, len(weight) // layer.groups, inputs)
    return np.asarray(weight.reshape(shape), dtype=np.float64)


def bias_of(graph: Graph, layer: FileLayer) -> Array | None:
    """Return the bias (outputs,), or None without one."""
    if layer.bias is None:
        return None
    value, index = layer.bias
    node = graph.producers[value]
    bias = graph.constant(node.input[index]) if index < len(node.input) and node.input[index] else None
    return None if bias is None else np.asarray(bias.reshape(-1), dtype=np.float64)


def put(graph: Graph, layer: FileLayer, weights: Array, bias: Array | None) -> None:
    """Replace the weights (..., outputs, inputs) of a layer, and its bias (..., outputs) if it has one."""
    node = graph.producers[layer.product]
    now = graph.constant(node.input[1])
    if now is None:
        raise ValueError(f"'{layer.name}' has no constant weight")
    shape = now.shape[::-1] if layer.turned else now.shape
    shaped = weights.reshape(shape)
    graph.set(node, 1, np.ascontiguousarray(shaped.T if layer.turned else shaped).astype(now.dtype))
    if bias is None or layer.bias is None:
        return
    value, index = layer.bias
    holder = graph.producers[value]
    graph.set(holder, index, np.ascontiguousarray(bias.reshape(-1)).astype(now.dtype))
