"""Values that shapes are computed from: small constants, and what cheap operators make of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.reference

from certify.errors import ModelError

FOLDED = frozenset(
    {"Cast", "Concat", "ConstantOfShape", "Gather", "Range", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
)
"""Operators with which exporters compute pads, axes and sizes; onnx's own shape inference follows only some of them."""
MAX_ELEMENTS = 4096


def array_of(tensor: onnx.TensorProto) -> npt.NDArray[Any]:
    """The values of a tensor.

    Raises:
        ModelError: it holds more or less than its type and shape say, or they are none.
    """
    try:
        stored: Any = onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        raise ModelError(f"Tensor '{tensor.name}' does not hold what its type and shape say: {error}.") from error
    return np.asarray(stored)


def fold_small_constants(graph: onnx.GraphProto) -> None:
    """Replace, in place, operators whose inputs are all small constants by the constants that they give.

    What onnx's reference can't evaluate, or what would grow large, stays as it is.

    Args:
        graph: in topological order, as ONNX demands.

    Raises:
        ModelError: a constant does not hold what its type and shape say.
    """
    known: dict[str, npt.NDArray[Any]] = {tensor.name: array_of(tensor) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            known[node.output[0]] = array_of(node.attribute[0].t)
            continue
        taken = [name for name in node.input if name]
        if node.op_type not in FOLDED or node.domain or not taken or not all(name in known for name in taken):
            continue
        if _grows(node.op_type, [known[name] for name in taken]):
            continue
        try:
            found = onnx.reference.ReferenceEvaluator(node).run(None, {name: known[name] for name in taken})
        except (ValueError, TypeError, IndexError, RuntimeError, NotImplementedError):
            continue
        value: npt.NDArray[Any] = np.asarray(next(iter(found)))
        if value.size <= MAX_ELEMENTS:
            known[node.output[0]] = value
            tensor = onnx.numpy_helper.from_array(value, node.output[0])
            node.CopyFrom(onnx.helper.make_node("Constant", [], [node.output[0]], node.name, value=tensor))


def _grows(operator: str, values: Sequence[npt.NDArray[Any]]) -> bool:
    """Whether the outcome may be large: sizes and bounds are what a file says, and any memory is too small for some."""
    if any(value.size > MAX_ELEMENTS for value in values):
        return True
    if operator == "ConstantOfShape":
        return math.prod(int(size) for size in values[0].flat) > MAX_ELEMENTS
    if operator == "Range" and all(value.size == 1 for value in values) and len(values) == 3:
        start, limit, step = (float(value.flat[0]) for value in values)
        return not abs(limit - start) <= MAX_ELEMENTS * abs(step)
    return False
