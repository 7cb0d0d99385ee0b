"""What the guards against fake savings want to know of a graph: fused quantization, zeroed channels, interfaces."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.inliner
import onnx.numpy_helper
from onnx.reference import ReferenceEvaluator

from certify.graph.load import InputContract, sample_shape
from certify.graph.operators import Compute, attribute, compute_of

FOLDABLE = frozenset(
    {"Add", "Cast", "Constant", "ConstantOfShape", "Identity", "Mul", "Reshape", "Squeeze", "Transpose", "Unsqueeze",
     "Where"}
)  # fmt: skip
"""Operators through which a weight is followed back to constants, so that a mask is seen wherever it is applied."""


@dataclass(frozen=True)
class Quantization:
    """Which multiplying operators are meant to run on integers, and which of them do.

    Attributes:
        intended: number of those whose weights are integers in the file.
        fused: number of integer ones in the graph that the runtime made of it, at most ``intended``.
        unfused: names of those that were not found among the latter.
    """

    intended: int
    fused: int
    unfused: tuple[str, ...]


def quantization(model: onnx.ModelProto, optimised: onnx.ModelProto) -> Quantization:
    """Compare a file's quantized operators with the runtime's optimised graph.

    Q/DQ pairs only save anything where the runtime replaces DequantizeLinear, operator, QuantizeLinear by one integer
    operator; what it leaves apart runs in float, after an extra dequantization.
    """
    wanted = _quantized_nodes(model)
    integer = [node for node in optimised.graph.node if (found := compute_of(node)) is not None and found.quantized]
    names = {name for node in integer for name in (node.name, node.name.split("_token_")[0], *node.output)}
    quantized_by = _quantize_outputs(model)
    missing = [
        node.name or node.output[0]
        for node in wanted
        if names.isdisjoint({node.name, *node.output, *quantized_by.get(node.output[0], ())})
    ]
    fused = min(len(wanted), len(integer))
    # The count decides; names only tell which, since an optimiser may rename what it fuses.
    return Quantization(len(wanted), fused, tuple(missing[: len(wanted) - fused]))


def _quantized_nodes(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    constants = {tensor.name for tensor in model.graph.initializer}
    constants.update(node.output[0] for node in model.graph.node if node.op_type == "Constant")
    dequantized = {
        node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear" and node.input[0] in constants
    }
    found = []
    for node in model.graph.node:
        compute = compute_of(node)
        if compute is not None and (compute.quantized or node.input[compute.weight] in dequantized):
            found.append(node)
    return found


def _quantize_outputs(model: onnx.ModelProto) -> dict[str, list[str]]:
    made: dict[str, list[str]] = {}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            made.setdefault(node.input[0], []).append(node.output[0])
    return made


@dataclass(frozen=True)
class ZeroChannels:
    """Output channels whose weights are all zero.

    Attributes:
        channels: output channels of all multiplying operators with constant weights.
        zero: how many of them are zero.
    """

    channels: int
    zero: int

    @property
    def share(self) -> float:
        """Zero ones per channel, 0 where there are none at all."""
        return self.zero / self.channels if self.channels else 0.0


def zero_channels(model: onnx.ModelProto) -> ZeroChannels:
    """Count output channels that compute nothing: masked, but not removed.

    A mask is found in the weight itself, multiplied onto it in the graph, or multiplied onto the operator's output
    (a constant factor, or the scale of a BatchNormalization).
    """
    flat = onnx.inliner.inline_local_functions(model) if model.functions else model
    constants = _Constants(flat)
    consumers: dict[str, list[onnx.NodeProto]] = {}
    for node in flat.graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    channels = zero = 0
    for node in flat.graph.node:
        compute = compute_of(node)
        dead = None if compute is None else _dead_channels(node, compute, constants)
        if dead is not None:
            dead = dead | _masked_after(node, consumers.get(node.output[0], []), constants, len(dead))
            channels += len(dead)
            zero += int(dead.sum())
    return ZeroChannels(channels, zero)


class _Constants:
    """Values that do not depend on the input, folded on demand."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._made_by = {name: node for node in model.graph.node for name in node.output}

    def value(self, name: str) -> npt.NDArray[Any] | None:
        """The constant, or None where the value depends on the input (or on an operator that is not folded)."""
        if name in self._tensors:
            stored: Any = onnx.numpy_helper.to_array(self._tensors[name])
            return np.asarray(stored)
        node = self._made_by.get(name)
        if node is None:
            return None
        if node.op_type == "DequantizeLinear":
            return self._centred(node)
        if node.op_type not in FOLDABLE or node.domain not in ("", "ai.onnx"):
            return None
        feeds = {source: self.value(source) for source in node.input if source}
        if any(array is None for array in feeds.values()):
            return None
        return self._evaluate(node, feeds)

    def _centred(self, node: onnx.NodeProto) -> npt.NDArray[Any] | None:
        """Integers minus their zero point: zero where the dequantized value is (the scale is left out)."""
        stored = self.value(node.input[0])
        if stored is None:
            return None
        if len(node.input) < 3 or not node.input[2]:
            return stored.astype(np.int32)
        zero_point = self.value(node.input[2])
        if zero_point is None:
            return None
        offset = _along(zero_point.astype(np.int32), stored.ndim, attribute(node, "axis", 1))
        return np.asarray(stored.astype(np.int32) - offset)

    def _evaluate(self, node: onnx.NodeProto, feeds: Mapping[str, npt.NDArray[Any] | None]) -> npt.NDArray[Any]:
        ports = [
            onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in feeds.items()
            if array is not None
        ]
        out = [onnx.ValueInfoProto(name=name) for name in node.output]
        graph = onnx.helper.make_graph([node], "constant", ports, out)
        single = onnx.helper.make_model(graph, opset_imports=self._model.opset_import)
        made: Any = ReferenceEvaluator(single).run(None, dict(feeds))
        return np.asarray(made[0])


def _along(values: npt.NDArray[Any], rank: int, axis: int) -> npt.NDArray[Any]:
    if values.ndim != 1 or values.size == 1:
        return values
    return values.reshape([-1 if position == axis % rank else 1 for position in range(rank)])


def _dead_channels(node: onnx.NodeProto, compute: Compute, constants: _Constants) -> npt.NDArray[Any] | None:
    weight = constants.value(node.input[compute.weight])
    if weight is None or weight.ndim < 2:
        return None
    axis = {"conv": 0, "conv_transpose": 1, "matmul": weight.ndim - 1}.get(compute.kind)
    if axis is None:
        axis = 0 if attribute(node, "transB", 0) else 1
    if compute.quantized and len(compute.parameters) > 1:
        position = compute.weight + 2 if node.op_type.startswith("Q") else 3
        name = node.input[position] if position < len(node.input) else ""
        zero_point = constants.value(name) if name else None
        if zero_point is not None:
            weight = weight.astype(np.int32) - _along(zero_point.astype(np.int32), weight.ndim, axis)
    return np.asarray(~np.any(weight != 0, axis=tuple(a for a in range(weight.ndim) if a != axis)))


def _masked_after(
    node: onnx.NodeProto, consumers: list[onnx.NodeProto], constants: _Constants, channels: int
) -> npt.NDArray[Any]:
    """Channels that the only consumer multiplies by a constant zero."""
    nothing = np.zeros(channels, dtype=bool)
    if len(consumers) != 1:
        return nothing
    after = consumers[0]
    if after.op_type == "BatchNormalization":
        factor = constants.value(after.input[1])
    elif after.op_type == "Mul":
        factor = constants.value(next((name for name in after.input if name != node.output[0]), ""))
    else:
        return nothing
    if factor is None or factor.size != channels:
        return nothing
    return np.asarray(factor.reshape(-1) == 0)


def interface(contract: InputContract, output_width: int, scored: int) -> dict[str, object]:
    """What goes in and comes out, for the guard that both models do the same work.

    Args:
        contract: how the model is fed.
        output_width: number of classes that the model puts out.
        scored: number of them that the test set's classes are read from.
    """
    return {"input": list(sample_shape(contract)), "outputs": output_width, "scored": scored}
