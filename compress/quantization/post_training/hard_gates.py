"""HardSigmoid on integers: with a suitable range, the codes of its input are also the codes of its output.

HardSigmoid(x) = max(0, min(1, alpha x + beta)) is a clipped straight line. With x = s (q - z) it is
alpha s (q - (z - beta / (alpha s))), clipped at 1. If z = beta / (alpha s), so that the lowest code represents
-beta / alpha, the zero point of the line is the lowest code itself: the same bytes, read with the scale alpha s and
clipped at the code of 1, are the gate. Nothing is computed or rounded. Otherwise, runtimes without an integer kernel
for HardSigmoid convert to floats and back around each one.

Clipping x below -beta / alpha does not matter: the gate is 0 there, and so is the product x * HardSigmoid(x), which is
HardSwish (Howard et al., "Searching for MobileNetV3", ICCV 2019, arXiv 1905.02244, section 5.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from compress.core.onnx_reads import drop_unread
from compress.core.targets import Target
from compress.onnx_graph.graph import Graph, attributes

Range = tuple[float, float]

CODES = 255
"""Number of steps between the lowest and the highest 8-bit code."""
EXACT = 0.01
"""Tolerance of a zero point, in codes, relative to the start of the line: 32-bit floats are more precise than that."""
ALPHA, BETA = 0.2, 0.5
"""Defaults of the operator's attributes (https://onnx.ai/onnx/operators/onnx__HardSigmoid.html)."""


def fit_ranges(graph: Graph, ranges: Mapping[str, Range], target: Target) -> dict[str, Range]:
    """Move the low end of the ranges of gate inputs to the point where the gates leave 0.

    Args:
        graph: the float model.
        ranges: low and high end of the values that are quantized.
        target: nothing is moved if zero points are not free, or if gates are left to convolutions.

    Returns:
        All ranges. Values that other operators than the gate and its product with x read are unchanged.

    Example:
        A value from -7 to 9 that HardSwish reads gets the range [-3, 9.14]: code 63 of 255 stands for 0.
    """
    fitted = dict(ranges)
    # Symmetric types fix the zero point; fused gates never become single operators.
    if target.symmetric or target.fuses_gates:
        return fitted
    for node in graph.nodes:
        if node.op_type != "HardSigmoid" or node.input[0] not in ranges or not _only_gated(graph, node):
            continue
        alpha, beta = _line(node)
        if alpha <= 0 or not 0 < beta < 1:
            continue
        low, high = -beta / alpha, max(ranges[node.input[0]][1], 0.0)
        # Only the gate reads the value, and the gate is 1 from there on.
        if graph.only_consumer(node.input[0]) is not None:
            high = min(high, (1 - beta) / alpha)
        # Round down, so that the range grows at the top and clips nothing.
        zero = int(CODES * -low / (high - low))
        if zero > 0:
            fitted[node.input[0]] = low, -low / zero * (CODES - zero)
    return fitted


def read_codes_as_gates(model: onnx.ModelProto) -> int:
    """Remove each HardSigmoid between integers whose zero point fits, in place.

    Args:
        model: model with Q/DQ pairs, quantized to ranges from :func:`fit_ranges`.

    Returns:
        The number of removed operators.
    """
    graph, removed = Graph(model), 0
    for node in graph.nodes:
        if node.op_type != "HardSigmoid" or (gate := _gate(graph, node)) is None:
            continue
        _rewrite(model.graph, node, gate)
        removed += 1
    if removed:
        drop_unread(model.graph)
    return removed


@dataclass(frozen=True)
class _Gate:
    """A HardSigmoid between integers.

    Attributes:
        before: the DequantizeLinear before it.
        alone: whether nothing else reads that.
        rounded: the QuantizeLinear after it.
        after: readers of the codes.
        scale: scale of the codes, read as the gate.
        lowest: code of 0, in the type of all codes.
        top: code of 1; None if it lies beyond the largest.
    """

    before: onnx.NodeProto
    alone: bool
    rounded: onnx.NodeProto
    after: tuple[onnx.NodeProto, ...]
    scale: float
    lowest: np.generic
    top: np.generic | None


def _gate(graph: Graph, node: onnx.NodeProto) -> _Gate | None:
    """Return the integer context of a HardSigmoid, or None without one or if it begins at another code."""
    before, rounded = graph.producers.get(node.input[0]), graph.only_consumer(node.output[0])
    if before is None or before.op_type != "DequantizeLinear" or before.input[0] in graph.tensors:
        return None
    if rounded is None or rounded.op_type != "QuantizeLinear" or rounded.output[0] in graph.outputs:
        return None
    after = tuple(graph.consumers.get(rounded.output[0], ()))
    scale, zero = graph.constant(before.input[1]), graph.constant(before.input[2])
    if (
        scale is None
        or zero is None
        or scale.size != 1
        or any(reader.op_type != "DequantizeLinear" for reader in after)
    ):
        return None
    alpha, beta = _line(node)
    step = alpha * float(scale.item())
    limits = np.iinfo(zero.dtype)
    if step <= 0 or abs(int(zero.item()) - limits.min - beta / step) > EXACT:
        return None
    top = limits.min + round(1 / step)
    return _Gate(
        before,
        graph.only_consumer(node.input[0]) is not None,
        rounded,
        after,
        step,
        zero.dtype.type(limits.min),
        zero.dtype.type(top) if top < limits.max else None,
    )


def _rewrite(graph: onnx.GraphProto, node: onnx.NodeProto, gate: _Gate) -> None:
    """Let the readers of the gate read the codes before it."""
    # Only the scale changes: codes of x are read as the gate by s' = alpha s.
    codes, name = gate.before.input[0], node.output[0]
    parameters = [f"{name}.scale", f"{name}.zero"]
    constants = [np.float32(gate.scale), gate.lowest]
    if gate.top is not None:
        cut = onnx.helper.make_node("Clip", [codes, "", f"{name}.top"], [f"{name}.codes"], f"{node.name}.codes")
        graph.node.insert(list(graph.node).index(node), cut)
        parameters.append(f"{name}.top")
        constants.append(gate.top)
        codes = cut.output[0]
    for reader in gate.after:
        reader.input[:] = [codes, *parameters[:2]]
    for dropped in (node, gate.rounded, *((gate.before,) if gate.alone else ())):
        graph.node.remove(dropped)
    graph.initializer.extend(
        onnx.numpy_helper.from_array(np.array(value), parameter)
        for parameter, value in zip(parameters, constants, strict=True)
    )


def _line(node: onnx.NodeProto) -> tuple[float, float]:
    """Return slope and intercept of a HardSigmoid."""
    settings = attributes(node)
    return float(settings.get("alpha", ALPHA)), float(settings.get("beta", BETA))


def _only_gated(graph: Graph, gate: onnx.NodeProto) -> bool:
    """Return whether the input of a gate is read only by the gate and by products with it."""
    name = gate.input[0]
    return name not in graph.outputs and all(
        reader is gate or (reader.op_type == "Mul" and sorted(reader.input) == sorted([name, gate.output[0]]))
        for reader in graph.consumers.get(name, ())
    )
