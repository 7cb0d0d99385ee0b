"""Static knowledge of the values that enter and leave the subgraphs of If, Loop and Scan."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import onnx

from certify.model_file.onnx_graph.data_sized import subgraphs, used
from certify.model_file.onnx_graph.operators import attribute_list
from certify.model_file.onnx_graph.shapes import Inferred, constants, shape_of, tensor_type

Type = onnx.TypeProto.Tensor
Array = npt.NDArray[Any]
Known = Type | Array | None
"""Knowledge of a value: its constant, its type and shape, or nothing."""


class Slices(NamedTuple):
    """Slices that a Scan takes from an input: their number and type."""

    length: int
    kind: Type


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy of a model from which operators can be removed."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def tensors(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Return initializers and constants by name; constants without their values."""
    return {tensor.name: tensor for tensor in constants(model.graph)}


def next_operators(graph: onnx.GraphProto) -> tuple[list[onnx.NodeProto], bool]:
    """Return the operators with subgraphs that do not depend on others, and whether there are dependent ones."""
    blocked: set[str] = set()
    ready, waiting = [], False
    for node in graph.node:
        waits = not blocked.isdisjoint(used(node))
        holds = bool(subgraphs(node))
        if holds and not waits:
            ready.append(node)
        waiting = waiting or (holds and waits)
        # An operator after one with a subgraph may need a result that is not known yet.
        if holds or waits:
            blocked.update(node.output)
    return ready, waiting


def take_out(graph: onnx.GraphProto, operators: list[onnx.NodeProto]) -> None:
    """Remove operators from a graph."""
    gone = {id(node) for node in operators}
    places = [place for place, node in enumerate(graph.node) if id(node) in gone]
    # From the end, so that positions before a removed operator stay valid.
    for place in reversed(places):
        del graph.node[place]


def give(graph: onnx.GraphProto, name: str, known: Known) -> None:
    """Give a graph a value from outside, as a constant or an input."""
    if not name:
        return
    if isinstance(known, np.ndarray):
        graph.initializer.append(onnx.numpy_helper.from_array(known, name))
        return
    value = graph.input.add(name=name)
    if known is not None:
        value.type.tensor_type.CopyFrom(known)


def sized(outer: Inferred, name: str) -> Type | None:
    """Return the type and shape of a value, without its constant."""
    return outer.types.get(name)


def scalar(outer: Inferred, name: str) -> int | None:
    """Return a constant number; None if unknown."""
    found = outer.constants.get(name)
    return int(found.flat[0]) if found is not None and found.size == 1 and found.dtype.kind in "biu" else None


def integers(node: onnx.NodeProto, name: str, count: int) -> list[int]:
    """Return an attribute with one integer per value; zeros if absent."""
    return attribute_list(node, name) or [0] * count


def common(left: Known, right: Known) -> Known:
    """Return what is known of a value that is one or the other."""
    if isinstance(left, np.ndarray) and isinstance(right, np.ndarray) and np.array_equal(left, right):
        return left
    first, second = _type_of(left), _type_of(right)
    # Compared as bytes, because protobuf messages cannot be ordered but their serialisation can.
    if first is None or second is None or first.SerializeToString() != second.SerializeToString():
        return None
    return first


def _type_of(known: Known) -> Type | None:
    if not isinstance(known, np.ndarray):
        return None if known is None else tensor_type(known.elem_type, shape_of(known))
    return tensor_type(onnx.helper.np_dtype_to_tensor_dtype(known.dtype), known.shape)


def sliced(kind: Type | None, axis: int) -> Slices | None:
    """Return the slices that a Scan takes along an axis of an input."""
    shape = () if kind is None else shape_of(kind)
    if kind is None or not -len(shape) <= axis < len(shape):
        return None
    rest = list(shape)
    length = rest.pop(axis)
    return Slices(length, tensor_type(kind.elem_type, rest))


def stacked(known: Known, times: int, axis: int) -> Known:
    """Return what a loop collects of a value over all its trips."""
    kind = _type_of(known)
    if kind is None:
        return None
    shape = list(shape_of(kind))
    shape.insert(axis if axis >= 0 else len(shape) + 1 + axis, times)
    return tensor_type(kind.elem_type, shape)
