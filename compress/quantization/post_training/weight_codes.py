"""Rounding of constants for ONNX Runtime's quantizer, all channels of a weight at a time.

The quantizer computes scale and codes of one channel after the other, in Python: ViT-B/16 has 84,712. Here it gets the
scales, and a stand-in of one element per channel for each weight. An option lets it leave constants as floats before a
QuantizeLinear, which is then replaced by the codes. The result is the same, bit for bit.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from compress.core import onnx_file
from compress.core.onnx_reads import names_read
from compress.core.targets import Target
from compress.onnx_graph.graph import Array, Graph, attributes

OPTIONS = {"AddQDQPairToWeight": True}
"""Options of the quantizer by which it leaves constants as floats."""
CODES = "_quantized"
"""What the quantizer appends to the name of a constant for its codes."""


@dataclass(frozen=True)
class StandIns:
    """A model whose weights have one element per channel.

    Attributes:
        model: the model, with inferred shapes; it is the caller's.
        scales: for the option TensorQuantOverrides: the scale of each channel, by the weight's name.
        weights: the weights themselves, by name.
    """

    model: onnx.ModelProto
    scales: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    weights: dict[str, onnx.TensorProto] = field(default_factory=dict)


def with_stand_ins(model: onnx.ModelProto, kinds: Collection[str], target: Target, *, per_channel: bool) -> StandIns:
    """Return a copy of a model for the quantizer.

    Args:
        model: prepared float model; not modified.
        kinds: types of the operators that are quantized.
        target: type and range of the weights.
        per_channel: whether each output channel of a weight has its own scale; weights are kept if not.
    """
    graph = Graph(model)
    # Inferred without large constants, since inference copies what it gets.
    light, large = onnx_file.split(model, onnx_file.SMALL_BYTES)
    found = StandIns(onnx.shape_inference.infer_shapes(light))
    axes = _channel_axes(graph, kinds) if per_channel and target.weight_type == "int8" else {}
    for tensor in found.model.graph.initializer:
        if tensor.name not in large:
            continue
        whole = graph.tensors[tensor.name]
        if (axis := axes.get(tensor.name)) is None:
            tensor.CopyFrom(whole)
            continue
        scale = _scales(onnx.numpy_helper.to_array(whole), axis, target)
        found.weights[tensor.name] = whole
        found.scales[tensor.name] = [{"axis": axis, "scale": each, "zero_point": 0} for each in scale]
        shape = [len(scale) if place == axis else 1 for place in range(len(whole.dims))]
        tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros(shape, np.float32), tensor.name))
    return found


def with_codes(quantized: onnx.ModelProto, weights: Mapping[str, onnx.TensorProto]) -> onnx.ModelProto:
    """Return a copy of a quantized model with codes instead of constants before a QuantizeLinear.

    Args:
        quantized: what the quantizer made with :data:`OPTIONS`; not modified.
        weights: the weights that have stand-ins.
    """
    # Copied, because a message only frees memory as a whole: what is removed would stay allocated.
    model = onnx.ModelProto()
    model.CopyFrom(quantized)
    graph = Graph(quantized)
    constants = {**graph.tensors, **weights}
    rounded = {
        node.output[0]: node for node in graph.nodes
        if node.op_type == "QuantizeLinear" and node.input[0] in graph.tensors
    }  # fmt: skip
    for position in reversed(range(len(graph.nodes))):
        node = model.graph.node[position]
        if node.output[0] in rounded:
            del model.graph.node[position]
        elif node.op_type == "DequantizeLinear" and node.input[0] in rounded:
            node.input[0] = f"{rounded[node.input[0]].input[0]}{CODES}"
    read = names_read(model.graph)
    before = {node.input[1]: node for node in rounded.values()}  # scales come last
    del model.graph.initializer[:]
    for tensor in quantized.graph.initializer:
        if tensor.name in read:
            model.graph.initializer.append(weights.get(tensor.name, tensor))
        if (node := before.get(tensor.name)) is not None:
            name, scale, zero = (constants[each] for each in node.input)
            model.graph.initializer.append(_codes(name, scale, zero, attributes(node).get("axis")))
    return model


def _channel_axes(graph: Graph, kinds: Collection[str]) -> dict[str, int]:
    """Return the axis of the output channels of weights that only products read, all along the same axis."""
    found: dict[str, set[int | None]] = {}
    for node in graph.nodes:
        for place, name in enumerate(node.input):
            if name in graph.tensors:
                found.setdefault(name, set()).add(_axis(node) if place == 1 and node.op_type in kinds else None)
    axes = {name: axis for name, (axis, *others) in found.items() if axis is not None and not others}
    kept = {name for name in axes if name in graph.outputs or not _plain(graph.tensors[name], axes[name])}
    return {name: axis for name, axis in axes.items() if name not in kept}


def _axis(node: onnx.NodeProto) -> int | None:
    if node.op_type == "Gemm":
        return 0 if attributes(node).get("transB", 0) else 1
    return {"Conv": 0, "MatMul": 1}.get(node.op_type)


def _plain(tensor: onnx.TensorProto, axis: int) -> bool:
    return tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > axis


def _scales(weight: Array, axis: int, target: Target) -> Array:
    """Return the symmetric scale of each channel, as the quantizer computes it."""
    largest = np.abs(weight).max(axis=tuple(each for each in range(weight.ndim) if each != axis), initial=0.0)
    # In doubles, which are exact here: twice the largest value over twice the largest code.
    scales = largest.astype(np.float64) / (64 if target.reduce_range else 127)
    return np.where(scales < np.finfo(np.float32).tiny, 1.0, scales).astype(np.float32)


def _codes(tensor: onnx.TensorProto, scale: onnx.TensorProto, zero: onnx.TensorProto, axis: int | None) -> Any:
    """Return the codes of a constant."""
    values, by, zeros = (onnx.numpy_helper.to_array(each) for each in (tensor, scale, zero))
    if by.ndim and axis is not None:
        shape = [-1 if place == axis % values.ndim else 1 for place in range(values.ndim)]
        by, zeros = by.reshape(shape), zeros.reshape(shape)
    limits = np.iinfo(zeros.dtype)
    codes = np.asarray(values.astype(np.float32) / by)  # of a scalar, NumPy's operators make no array
    np.rint(codes, out=codes)
    codes += zeros
    np.clip(codes, limits.min, limits.max, out=codes)
    return onnx.numpy_helper.from_array(codes.astype(zeros.dtype), f"{tensor.name}{CODES}")
