"""HardSigmoid on integers: the codes of what it reads are its own codes, once they begin where it leaves 0.

HardSigmoid(x) = max(0, min(1, alpha x + beta)) is a straight line with two ends. With x = s (q - z) it is
alpha s (q - (z - beta / (alpha s))), cut off at 1. Where z = beta / (alpha s), so that the lowest code stands for
-beta / alpha, the zero point of the line is the lowest code itself: the same bytes, read with the scale alpha s and cut
off at the code of 1, are the gate. Nothing is computed and nothing rounded. Runtimes without an integer kernel for
HardSigmoid otherwise go to floats and back around each.

What x loses below -beta / alpha never mattered: the gate is 0 there, and so is the product x * HardSigmoid(x) that
HardSwish is (Howard et al., "Searching for MobileNetV3", ICCV 2019, arXiv 1905.02244, section 5.2).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import onnx

from compress.core.targets import Target
from compress.onnx_graph.graph import Graph, attributes, drop_unread

Range = tuple[float, float]

CODES = 255
"""Steps between the lowest and the highest code of 8 bits."""
EXACT = 0.01
"""Part of a code by which a zero point may miss the place where the line begins: 32-bit floats miss it by less."""
ALPHA, BETA = 0.2, 0.5
"""What the operator's attributes are by default (https://onnx.ai/onnx/operators/onnx__HardSigmoid.html)."""


def fit_ranges(graph: Graph, ranges: Mapping[str, Range], target: Target) -> dict[str, Range]:
    """Move the low end of what gates read to where they leave 0.

    Args:
        graph: the float model.
        ranges: low and high end of the values that are quantized.
        target: nothing is moved where zero points are not free, or gates are left to convolutions.

    Returns:
        All ranges. What operators other than the gate and its product with x read stays as it was.

    Example:
        A value from -7 to 9 that HardSwish reads gets the range [-3, 9.14]: code 63 of 255 stands for 0.
    """
    fitted = dict(ranges)
    if target.symmetric or target.fuses_gates:
        return fitted
    for node in graph.nodes:
        if node.op_type != "HardSigmoid" or node.input[0] not in ranges or not _only_gated(graph, node):
            continue
        alpha, beta = _line(node)
        if alpha <= 0 or not 0 < beta < 1:
            continue
        low, high = -beta / alpha, max(ranges[node.input[0]][1], 0.0)
        if graph.only_consumer(node.input[0]) is not None:
            high = min(high, (1 - beta) / alpha)
        zero = int(CODES * -low / (high - low))
        if zero > 0:
            fitted[node.input[0]] = low, -low / zero * (CODES - zero)
    return fitted


def read_codes_as_gates(model: onnx.ModelProto) -> int:
    """Take each HardSigmoid between integers out, in place, where its zero point fits.

    Args:
        model: with Q/DQ pairs, quantized to ranges of :func:`fit_ranges`.

    Returns:
        How many were taken out.
    """
    graph, taken = Graph(model), 0
    for node in graph.nodes:
        if node.op_type != "HardSigmoid" or (gate := _gate(graph, node)) is None:
            continue
        _rewrite(model.graph, node, gate)
        taken += 1
    if taken:
        drop_unread(model.graph)
    return taken


@dataclass(frozen=True)
class _Gate:
    """A HardSigmoid between integers.

    Attributes:
        before: the DequantizeLinear that it reads.
        alone: whether nothing else reads that.
        rounded: the QuantizeLinear that reads it.
        after: those that read the codes.
        scale: of the codes, read as the gate.
        lowest: code of 0, and the type of all codes.
        top: code of 1; None where that lies beyond the largest.
    """

    before: onnx.NodeProto
    alone: bool
    rounded: onnx.NodeProto
    after: tuple[onnx.NodeProto, ...]
    scale: float
    lowest: np.generic
    top: np.generic | None


def _gate(graph: Graph, node: onnx.NodeProto) -> _Gate | None:
    """How a HardSigmoid stands between integers; None where it does not, or begins at another code."""
    before, rounded = graph.producers.get(node.input[0]), graph.only_consumer(node.output[0])
    if before is None or before.op_type != "DequantizeLinear" or before.input[0] in graph.tensors:
        return None
    if rounded is None or rounded.op_type != "QuantizeLinear" or rounded.output[0] in graph.outputs:
        return None
    after = tuple(graph.consumers.get(rounded.output[0], ()))
    scale, zero = graph.constant(before.input[1]), graph.constant(before.input[2])
    if scale is None or zero is None or scale.size != 1 or any(one.op_type != "DequantizeLinear" for one in after):
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
    """Let what reads the gate read the codes before it."""
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
    """Slope and height at 0 of a HardSigmoid."""
    given = attributes(node)
    return float(given.get("alpha", ALPHA)), float(given.get("beta", BETA))


def _only_gated(graph: Graph, gate: onnx.NodeProto) -> bool:
    """Whether what a gate reads goes into it and into products with it alone."""
    name = gate.input[0]
    return name not in graph.outputs and all(
        reader is gate or (reader.op_type == "Mul" and sorted(reader.input) == sorted([name, gate.output[0]]))
        for reader in graph.consumers.get(name, ())
    )
