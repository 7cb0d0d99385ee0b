"""Folding of small constants, from which shapes are computed."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.reference

from certify.core.errors import ModelError
from certify.model_file.onnx_graph.external_bytes import external_bytes, is_external

ELEMENTWISE = frozenset(
    {"Add", "And", "Div", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Max", "Min", "Mul", "Or", "Sub",
     "Where", "Xor"}
)  # fmt: skip
"""Operators whose output has the broadcast shape of their inputs."""
FOLDED = ELEMENTWISE | frozenset(
    {
        "Cast",
        "Concat",
        "ConstantOfShape",
        "Expand",
        "Gather",
        "Identity",
        "Not",
        "Range",
        "ReduceProd",
        "Reshape",
        "Shape",
        "Size",
        "Slice",
        "Squeeze",
        "Transpose",
        "Unsqueeze",
    }
)
"""Operators with which exporters compute pads, axes, sizes and positions; onnx's shape inference supports only some of
them."""
MAX_ELEMENTS = 4096


def array_of(tensor: onnx.TensorProto, folder: Path | None = None) -> npt.NDArray[Any]:
    """Return the values of a tensor.

    Args:
        tensor: tensor, not modified.
        folder: folder of its model, if it is external.

    Raises:
        ModelError: its data do not match its type and shape, its type or shape is invalid, or its bytes cannot be read.
    """
    try:
        stored: Any = _read_external(tensor, folder) if is_external(tensor) else onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, OverflowError, MemoryError) as error:
        raise ModelError(f"Tensor '{tensor.name}' does not match its type and shape: {error}.") from error
    return np.asarray(stored)


def _read_external(tensor: onnx.TensorProto, folder: Path | None) -> npt.NDArray[Any]:
    place = external_bytes(tensor, folder)
    # ONNX stores raw data in little-endian order on every machine.
    kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).newbyteorder("<")
    if place.length == math.prod(tensor.dims) * kind.itemsize:
        read = np.fromfile(place.path, kind, math.prod(tensor.dims), offset=place.offset)
        return np.asarray(read.reshape(tensor.dims))
    packed = onnx.TensorProto(data_type=tensor.data_type, dims=tensor.dims)  # several numbers per byte
    packed.raw_data = b"".join(place.chunks())
    return np.asarray(onnx.numpy_helper.to_array(packed))


def fold_small_constants(
    graph: onnx.GraphProto, sized: Mapping[str, list[int]] | None = None
) -> dict[str, npt.NDArray[Any]]:
    """Replace, in place, operators with only small constant inputs by their results.

    The shapes of graph inputs with fully stated sizes also count as constants.

    Operators that onnx's reference cannot evaluate, or with large results, are kept.

    Args:
        graph: graph in topological order, as ONNX requires.
        sized: shapes of further values, by name.

    Returns:
        All constants, by name.

    Raises:
        ModelError: a constant does not match its type and shape.
    """
    known: dict[str, npt.NDArray[Any]] = {tensor.name: array_of(tensor) for tensor in graph.initializer}
    sized = {**_stated_shapes(graph), **(sized or {})}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            known[node.output[0]] = array_of(node.attribute[0].t)
            continue
        taken = [name for name in node.input if name]
        if node.op_type == "Shape" and not node.domain and taken and taken[0] in sized:
            _make_constant(node, _part_of_shape(node, sized[taken[0]]), known)
            continue
        if node.op_type == "Size" and not node.domain and taken and taken[0] in sized:
            _make_constant(node, np.array(math.prod(sized[taken[0]]), dtype=np.int64), known)
            continue
        if node.op_type not in FOLDED or node.domain or not taken or not all(name in known for name in taken):
            continue
        if _grows(node.op_type, [known[name] for name in taken]):
            continue
        try:
            found = onnx.reference.ReferenceEvaluator(node).run(None, {name: known[name] for name in taken})
        # The evaluator runs NumPy on values from an untrusted file; what it cannot compute stays unknown.
        except (ValueError, TypeError, LookupError, ArithmeticError, AttributeError, RuntimeError):
            continue
        value: npt.NDArray[Any] = np.asarray(next(iter(found)))
        if value.size <= MAX_ELEMENTS:
            _make_constant(node, value, known)
    return known


def _make_constant(node: onnx.NodeProto, value: npt.NDArray[Any], known: dict[str, npt.NDArray[Any]]) -> None:
    known[node.output[0]] = value
    tensor = onnx.numpy_helper.from_array(value, node.output[0])
    node.CopyFrom(onnx.helper.make_node("Constant", [], [node.output[0]], node.name, value=tensor))


def _stated_shapes(graph: onnx.GraphProto) -> dict[str, list[int]]:
    """Return the shapes of inputs with fully stated sizes."""
    stated = {value.name: value.type.tensor_type.shape.dim for value in graph.input}
    return {
        name: [int(dim.dim_value) for dim in dims]
        for name, dims in stated.items()
        if dims and all(dim.HasField("dim_value") for dim in dims)
    }


def _part_of_shape(node: onnx.NodeProto, shape: list[int]) -> npt.NDArray[Any]:
    """Return the result of the operator Shape; its attributes work like the bounds of Python slices."""
    bounds = {attribute.name: int(attribute.i) for attribute in node.attribute}
    return np.array(shape[bounds.get("start", 0) : bounds.get("end")], dtype=np.int64)


def _grows(operator: str, values: Sequence[npt.NDArray[Any]]) -> bool:
    """Return whether the result may be large: sizes and bounds come from an untrusted file."""
    if any(value.size > MAX_ELEMENTS for value in values):
        return True
    if operator in ("ConstantOfShape", "Expand"):
        return values[0].size * math.prod(int(size) for size in values[-1].flat) > MAX_ELEMENTS
    if operator in ELEMENTWISE:
        return math.prod(max(sizes) for sizes in _sizes_by_axis(values)) > MAX_ELEMENTS
    if operator == "Range" and all(value.size == 1 for value in values) and len(values) == 3:
        start, limit, step = (float(value.flat[0]) for value in values)
        # Written so that NaN counts as large.
        return not abs(limit - start) <= MAX_ELEMENTS * abs(step)
    return False


def _sizes_by_axis(values: Sequence[npt.NDArray[Any]]) -> list[tuple[int, ...]]:
    """Return the sizes of several arrays along each broadcast axis."""
    return list(itertools.zip_longest(*(reversed(value.shape) for value in values), fillvalue=1))
