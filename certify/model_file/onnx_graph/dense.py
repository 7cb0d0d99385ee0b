"""Weights of a layer that matter, of those that are constants."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx

from certify.model_file.onnx_graph.constants import array_of
from certify.model_file.onnx_graph.exempt import Mask, Masks
from certify.model_file.onnx_graph.operators import Compute, attribute

NEGLIGIBLE = 0.005
"""Weights below this fraction of the largest of their channel count as zero."""

Weights = Mapping[str, onnx.TensorProto]


def dense(node: onnx.NodeProto, compute: Compute, masks: Masks, weights: Weights) -> Mask | None:
    """Return which weights matter, (needed outputs, inputs, ...); None if they are unknown.

    Args:
        node: multiplying operator.
        compute: its description.
        masks: needed positions of its output, by axis.
        weights: weights of the graph, by name.
    """
    tensor = weights.get(node.input[compute.weight])
    if tensor is None or compute.kind not in ("conv", "conv_transpose", "gemm", "matmul"):
        return None
    if (zero := _zero(node, compute, weights)) is None:
        return None
    weight = np.abs(array_of(tensor).astype(np.float32) - zero)
    if compute.kind == "conv_transpose":
        if attribute(node, "group", 1) != 1:
            return None
        weight = weight.swapaxes(0, 1)
    elif compute.kind != "conv":
        while weight.ndim > 2 and len(weight) == 1:
            weight = weight[0]
        if weight.ndim != 2:
            return None
        weight = weight if compute.kind == "gemm" and attribute(node, "transB", 0) else weight.T
    outputs = masks[1] if compute.kind.startswith("conv") else masks[-1]
    if len(outputs) != len(weight) or not outputs.any():
        return None
    rows = weight[outputs]
    largest = rows.reshape(len(rows), -1).max(axis=1).reshape(-1, *[1] * (rows.ndim - 1))
    matters: Mask = rows > np.maximum(NEGLIGIBLE * largest, np.finfo(np.float32).tiny)
    return matters


def _zero(node: onnx.NodeProto, compute: Compute, weights: Weights) -> float | None:
    """Return the number that represents zero in the weights; None if it is unknown or differs by channel."""
    place = compute.weight_zero if compute.quantized else None
    if place is None or place >= len(node.input) or not node.input[place]:
        return 0.0
    tensor = weights.get(node.input[place])
    values = None if tensor is None else np.unique(array_of(tensor))
    return float(values[0]) if values is not None and len(values) == 1 else None
