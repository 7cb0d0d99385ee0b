"""Channels that compute nothing: masked but not removed, which saves nothing on any hardware."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.numpy_helper
from onnx.reference import ReferenceEvaluator

from certify.model_file.onnx_graph.constants import array_of
from certify.model_file.onnx_graph.functions import inlined
from certify.model_file.onnx_graph.operators import Compute, attribute, compute_of

_Array = npt.NDArray[Any]

FOLDABLE = frozenset(
    {"Abs", "Add", "And", "Cast", "Ceil", "Clip", "Concat", "Constant", "ConstantOfShape", "Div", "Equal", "Expand",
     "Floor", "Greater", "GreaterOrEqual", "Identity", "Less", "LessOrEqual", "Max", "Min", "Mul", "Neg",
     "Not", "Or", "Relu", "Reshape", "Round", "ScatterND", "Shape", "Sign", "Slice", "Sqrt", "Squeeze", "Sub",
     "Transpose", "Unsqueeze", "Where"}
)  # fmt: skip
"""Operators through which weights and masks are traced back to constants."""
PASSED_ON = frozenset(
    {"AveragePool", "BatchNormalization", "Cast", "Clip", "DequantizeLinear", "Dropout", "Elu", "Gelu",
     "GlobalAveragePool", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "MaxPool", "PRelu", "QuantizeLinear",
     "Relu", "Selu", "Sigmoid", "Tanh"}
)  # fmt: skip
"""Operators that keep channels separate, so that a mask after them also silences channels before them."""
BROADCASTING = frozenset(
    {"Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mul", "Or", "Sub",
     "Where"}
)  # fmt: skip
LARGEST_CONSTANT = 1 << 28
"""Maximum number of elements of a computed constant."""
NEGLIGIBLE = 1e-6
"""Weights below this fraction of their tensor's largest weight, and factors below it, count as zero."""


@dataclass(frozen=True)
class ZeroChannels:
    """Output channels whose weights are all zero.

    Attributes:
        channels: number of output channels of all multiplying operators with constant weights.
        zero: number of them that are zero.
    """

    channels: int
    zero: int

    @property
    def share(self) -> float:
        """Fraction of zero channels; 0 if there are no channels."""
        return self.zero / self.channels if self.channels else 0.0


def zero_channels(model: onnx.ModelProto, folder: Path | None = None) -> ZeroChannels:
    """Count channels that compute nothing: masked but not removed.

    Masks are detected in the weight itself (zeros, negligible numbers, integers at their zero point, a scale of zero),
    multiplied with or selected into it in the graph, or applied to the operator's output, directly or after activations
    (a constant factor, a constant condition, or the scale of a BatchNormalization).

    Args:
        model: model with internal or external weights.
        folder: folder of its external data.

    Raises:
        ModelError: the model's functions are recursive, or expand to too many nodes.
    """
    # Functions first: a mask inside one would not be seen by a walk over the outer nodes.
    flat = inlined(model)
    constants = _Constants(flat, folder)
    consumers: dict[str, list[onnx.NodeProto]] = {}
    for node in flat.graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    channels = zero = 0
    for node in flat.graph.node:
        compute = compute_of(node)
        dead = None if compute is None else _dead_channels(node, compute, constants)
        # A mask after the layer silences its channels as zero weights do.
        if compute is not None and dead is not None:
            axis = -1 if compute.kind in ("gemm", "matmul") else 1
            dead = dead | _masked_after(node.output[0], consumers, constants, len(dead), axis)
            channels += len(dead)
            zero += int(dead.sum())
    return ZeroChannels(channels, zero)


class _Constants:
    """Values that do not depend on the input, folded on demand."""

    def __init__(self, model: onnx.ModelProto, folder: Path | None) -> None:
        self._model = model
        self._folder = folder
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._producers = {name: node for node in model.graph.node for name in node.output}

    def value(self, name: str) -> npt.NDArray[Any] | None:
        """Return the constant, or None if the value depends on the input (or on an operator that is not folded)."""
        if name in self._tensors:
            return array_of(self._tensors[name], self._folder)
        node = self._producers.get(name)
        # A value without producer is an input of the graph.
        if node is None:
            return None
        if node.op_type == "DequantizeLinear":
            return self.dequantized(node, 0, 1, 2, attribute(node, "axis", 1))
        if node.op_type not in FOLDABLE or node.domain not in ("", "ai.onnx"):
            return None
        feeds: dict[str, _Array] = {}
        for source in filter(None, node.input):
            array = self.value(source)
            if array is None:
                return None
            feeds[source] = array
        try:
            # The size is computed beforehand, because a tiny file can ask for a constant that fills the memory.
            return self._evaluate(node, feeds) if _size(node, list(feeds.values())) <= LARGEST_CONSTANT else None
        except (ValueError, TypeError, IndexError, RuntimeError, NotImplementedError):
            return None  # a runtime could not run it either

    def dequantized(
        self, node: onnx.NodeProto, data: int, scale: int | None, zero: int | None, axis: int
    ) -> _Array | None:
        """Return dequantized integers (minus zero point, times scale) from the inputs of a node at these indices.

        None if any of them is not a constant, or the scales are per block.
        """
        stored = self.value(node.input[data])
        if stored is None:
            return None
        real = stored.astype(np.float32)
        for index, apply in ((zero, np.subtract), (scale, np.multiply)):
            name = node.input[index] if index is not None and index < len(node.input) else ""
            if not name:
                continue
            parameter = self.value(name)
            # Only per-tensor and per-axis quantization; blocks are not folded here.
            if parameter is None or parameter.ndim > 1:
                return None
            real = apply(real, _along(parameter.astype(np.float32), stored.ndim, axis))
        return np.asarray(real)

    def _evaluate(self, node: onnx.NodeProto, feeds: Mapping[str, _Array]) -> _Array:
        ports = [
            onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in feeds.items()
        ]
        out = [onnx.ValueInfoProto(name=name) for name in node.output]
        graph = onnx.helper.make_graph([node], "constant", ports, out)
        single = onnx.helper.make_model(graph, opset_imports=self._model.opset_import)
        outputs: Any = ReferenceEvaluator(single).run(None, dict(feeds))
        return np.asarray(outputs[0])


def _size(node: onnx.NodeProto, arrays: list[_Array]) -> int:
    """Return the number of output elements of an operator on constants if it may exceed its inputs'; otherwise 0.

    Raises:
        ValueError: the shapes are incompatible.
    """
    shapes = [array.shape for array in arrays] if node.op_type in BROADCASTING else []
    if node.op_type in ("ConstantOfShape", "Expand"):
        shapes = [tuple(arrays[-1].tolist()), *(array.shape for array in arrays[:-1])]
    return math.prod(np.broadcast_shapes(*shapes)) if shapes else 0


def _along(values: _Array, rank: int, axis: int) -> _Array:
    if values.ndim != 1 or values.size == 1:
        return values
    return values.reshape([-1 if position == axis % rank else 1 for position in range(rank)])


def _dead_channels(node: onnx.NodeProto, compute: Compute, constants: _Constants) -> _Array | None:
    weight = constants.value(node.input[compute.weight])
    if weight is None or weight.ndim < 2 or compute.kind == "blocks":  # packed weights are not supported here
        return None
    # Convolutions store outputs first, transposed ones second, matrix products last.
    axis = {"conv": 0, "conv_transpose": 1, "matmul": weight.ndim - 1}.get(compute.kind)
    if axis is None:
        axis = 0 if attribute(node, "transB", 0) else 1
    if compute.quantized:
        weight = constants.dequantized(node, compute.weight, compute.weight_scale, compute.weight_zero, axis)
        if weight is None:
            return None
    others = tuple(a for a in range(weight.ndim) if a != axis)
    ends = np.max(weight, axis=others).astype(np.float64), np.min(weight, axis=others).astype(np.float64)
    largest = np.maximum(ends[0], -ends[1])  # the largest absolute value, without a copy of the weight
    return np.asarray(largest <= NEGLIGIBLE * np.max(largest, initial=0.0))


def _masked_after(
    output: str, consumers: Mapping[str, list[onnx.NodeProto]], constants: _Constants, channels: int, axis: int
) -> _Array:
    """Return the channels silenced by a constant on the only path of an output."""
    dead = np.zeros(channels, dtype=bool)
    # A value with several readers may be used unmasked by one of them.
    while len(readers := consumers.get(output, [])) == 1:
        factor = _factor(readers[0], output, constants)
        if factor is not None:
            dead = dead | _silent(factor, channels, axis)
        elif readers[0].op_type not in PASSED_ON:
            break
        output = readers[0].output[0]
    return dead


def _factor(node: onnx.NodeProto, masked: str, constants: _Constants) -> _Array | None:
    """Return the factor or the condition that a node applies to a value; None for any other node."""
    if node.op_type == "BatchNormalization":
        return constants.value(node.input[1])
    if node.op_type == "Mul":
        return constants.value(next((name for name in node.input if name != masked), ""))
    if node.op_type == "Where" and masked in node.input[1:]:
        condition = constants.value(node.input[0])
        alternative = constants.value(node.input[2 if node.input[1] == masked else 1])
        # Masked channels are silent only if zeros replace them.
        if condition is None or alternative is None or np.any(alternative):
            return None
        return condition if node.input[1] == masked else np.logical_not(condition)
    return None


def _silent(factor: _Array, channels: int, axis: int) -> _Array:
    """Return the channels in which a factor is zero throughout."""
    size = np.abs(factor.astype(np.float64))
    if size.size == 1:
        size = np.full(channels, size.reshape(-1)[0])
    elif size.size == channels:
        size = size.reshape(-1)
    elif size.ndim > abs(axis) and size.shape[axis] == channels:
        size = np.max(size, axis=tuple(a for a in range(size.ndim) if a != axis % size.ndim))
    else:
        return np.zeros(channels, dtype=bool)
    # Relative to at least 1, so that a factor that is tiny for all channels silences all of them.
    return np.asarray(size <= NEGLIGIBLE * np.max(size, initial=1.0))
