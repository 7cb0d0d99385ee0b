"""Operators of a quantized graph that a runtime really runs on integers, for the guard against fake savings."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import onnx

from certify.model_file.onnx_graph.operators import compute_of


@dataclass(frozen=True)
class Quantization:
    """Multiplying operators that should run on integers, and those that do.

    Attributes:
        intended: number of operators with integer weights in the file.
        fused: number of integer operators in the runtime's graph, at most ``intended``.
        unfused: names of intended operators that are not among the fused ones.
    """

    intended: int
    fused: int
    unfused: tuple[str, ...]


def quantization(model: onnx.ModelProto, optimised: onnx.ModelProto) -> Quantization:
    """Compare a file's quantized operators with the runtime's optimised graph.

    Q/DQ pairs save something only if the runtime fuses DequantizeLinear, operator and QuantizeLinear into one integer
    operator; otherwise the operator runs in float, after an extra dequantization.
    """
    integer = [node for node in optimised.graph.node if (found := compute_of(node)) is not None and found.quantized]
    return fused_quantization(model, [{n.name, n.name.split("_token_")[0], *n.output} for n in integer])


def fused_quantization(model: onnx.ModelProto, integer: Sequence[Collection[str]]) -> Quantization:
    """Compare a file's quantized operators with those that a runtime reports to run on integers.

    Args:
        model: the file.
        integer: for each of the runtime's integer operators, its possible names in the file.
    """
    wanted = _quantized_nodes(model)
    names = {name for aliases in integer for name in aliases}
    quantized_by = _quantize_outputs(model)
    missing = [
        node.name or node.output[0]
        for node in wanted
        if names.isdisjoint({node.name, *node.output, *quantized_by.get(node.output[0], ())})
    ]
    fused = min(len(wanted), len(integer))
    # The count decides; names only identify them, since optimisers may rename fused operators.
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
    outputs: dict[str, list[str]] = {}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            outputs.setdefault(node.input[0], []).append(node.output[0])
    return outputs
