"""Weights that add next to nothing to a layer's results, and a graph without them.

A weight matters by its product with what it is multiplied by: the largest absolute value of its input channel. Channels
may be read with small weights, or hold small values.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx

from certify.model_file.onnx_graph.constants import array_of
from certify.model_file.onnx_graph.equal_values import OBSERVED
from certify.model_file.onnx_graph.operators import STANDARD_DOMAINS, Compute, attribute, compute_of

LAYERS = frozenset({"conv", "gemm", "matmul"})
REDUCED_BY_INPUT = 18
"""First operator set in which reductions take their axes as an input."""

Array = npt.NDArray[np.float64]
Kinds = Mapping[str, tuple[int, ...]]


def read_channels(model: onnx.ModelProto, kinds: Kinds) -> dict[str, int]:
    """Return the values that layers with constant weights read, and the axis of their channels.

    Args:
        model: model without functions, whose weights are initializers.
        kinds: element type and shape, by value.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    found = {}
    for node in model.graph.node:
        compute = compute_of(node)
        if (
            compute is None
            or compute.quantized
            or compute.kind not in LAYERS
            or node.input[compute.weight] not in weights
        ):
            continue
        name = node.input[compute.data]
        if name in kinds and not attribute(node, "transA", 0):
            found[name] = 1 if compute.kind == "conv" else len(kinds[name]) - 2
    return found


def looking_at_channels(model: onnx.ModelProto, axes: Mapping[str, int], kinds: Kinds) -> onnx.ModelProto:
    """Return a graph with a single output of the largest absolute value of each channel of each value, (1, n)."""
    looking = onnx.ModelProto()
    looking.CopyFrom(model)
    graph, make, float_ = looking.graph, onnx.helper.make_node, onnx.TensorProto.FLOAT
    opset = max(entry.version for entry in model.opset_import if entry.domain in STANDARD_DOMAINS)
    graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, -1]), "leanmark.row"))
    largest = []
    for number, (name, axis) in enumerate(axes.items()):
        at = [f"leanmark.{number}.{step}" for step in ("float", "size", "largest", "row")]
        others = [other for other in range(len(kinds[name]) - 1) if other != axis]
        graph.node.extend([make("Cast", [name], [at[0]], to=float_), make("Abs", [at[0]], [at[1]])])
        if opset < REDUCED_BY_INPUT:
            graph.node.append(make("ReduceMax", [at[1]], [at[2]], axes=others, keepdims=0))
        else:
            graph.initializer.append(onnx.numpy_helper.from_array(np.array(others), f"{at[2]}.axes"))
            graph.node.append(make("ReduceMax", [at[1], f"{at[2]}.axes"], [at[2]], keepdims=0))
        graph.node.append(make("Reshape", [at[2], "leanmark.row"], [at[3]]))
        largest.append(at[3])
    graph.node.append(make("Concat", largest, [OBSERVED], axis=1))
    graph.output.append(onnx.helper.make_tensor_value_info(OBSERVED, float_, None))
    return looking


def channel_sizes(axes: Mapping[str, int], kinds: Kinds, observed: Array) -> dict[str, Array]:
    """Return the largest absolute value of each channel, by value.

    Args:
        axes: axis of the channels, by value.
        kinds: element type and shape, by value.
        observed: output of the graph, (runs, n).
    """
    found, start = {}, 0
    for name, axis in axes.items():
        size = kinds[name][axis + 1]
        found[name] = observed[:, start : start + size].max(axis=0)
        start += size
    return found


def without_weak(model: onnx.ModelProto, sizes: Mapping[str, Array], anywhere: float, whole: float) -> onnx.ModelProto:
    """Return a copy with zeros in place of weak weights.

    Args:
        model: model without functions, whose weights are initializers.
        sizes: largest absolute value of each channel, by value.
        anywhere: weights that add less than this fraction of the largest share of their output channel are weak.
        whole: likewise for weights of input channels and kernel positions in which all are weak.
    """
    lean = onnx.ModelProto()
    lean.CopyFrom(model)
    weights = {tensor.name: tensor for tensor in lean.graph.initializer}
    for node in lean.graph.node:
        compute = compute_of(node)
        if compute is None or compute.quantized or compute.kind not in LAYERS:
            continue
        tensor, size = weights.get(node.input[compute.weight]), sizes.get(node.input[compute.data])
        if tensor is None or size is None or len(tensor.dims) < 2:
            continue
        weight = array_of(tensor)
        weak = _weak(weight, node, compute, size, anywhere, whole)
        if weak is not None and weak.any():
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.where(weak, 0, weight).astype(weight.dtype), tensor.name))
    return lean


def _weak(
    weight: npt.NDArray[np.generic], node: onnx.NodeProto, compute: Compute, size: Array, anywhere: float, whole: float
) -> npt.NDArray[np.bool_] | None:
    groups = attribute(node, "group", 1) if compute.kind == "conv" else 1
    outputs_first = compute.kind == "conv" or bool(compute.kind == "gemm" and attribute(node, "transB", 0))
    rows = np.abs(weight.astype(np.float32))
    rows = rows if outputs_first else rows.swapaxes(-1, -2)
    if rows.ndim > 2 and compute.kind != "conv" or len(rows) % groups or rows.shape[1] * groups != len(size):
        return None
    # Of each output, the channels of its group.
    read = size.astype(np.float32).reshape(groups, -1).repeat(len(rows) // groups, axis=0)
    rows = rows * read.reshape(*read.shape, *[1] * (rows.ndim - 2))
    others = tuple(range(1, rows.ndim))
    share = rows / np.maximum(rows.max(axis=others, keepdims=True), np.finfo(np.float32).tiny)
    weak = np.asarray(share < anywhere)
    weak |= (share < whole).all(axis=(0, 1), keepdims=True)
    if groups == 1:
        weak |= (share < whole).all(axis=(0, *range(2, rows.ndim)), keepdims=True)
    return weak if outputs_first else weak.swapaxes(-1, -2)
