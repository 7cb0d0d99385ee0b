"""Values that shapes are computed from: small constants, and what cheap operators make of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.reference

FOLDED = frozenset(
    {"Cast", "Concat", "ConstantOfShape", "Gather", "Range", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze"}
)
"""Operators with which exporters compute pads, axes and sizes; onnx's own shape inference follows only some of them."""
MAX_ELEMENTS = 4096


def fold_small_constants(graph: onnx.GraphProto) -> None:
    """Replace, in place, operators whose inputs are all small constants by the constants that they give.

    What onnx's reference can't evaluate, or what would grow large, stays as it is.

    Args:
        graph: in topological order, as ONNX demands.
    """
    known: dict[str, npt.NDArray[Any]] = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            known[node.output[0]] = onnx.numpy_helper.to_array(node.attribute[0].t)
            continue
        taken = [name for name in node.input if name]
        if node.op_type not in FOLDED or node.domain or not taken or not all(name in known for name in taken):
            continue
        if node.op_type == "ConstantOfShape" and known[taken[0]].prod() > MAX_ELEMENTS:
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
