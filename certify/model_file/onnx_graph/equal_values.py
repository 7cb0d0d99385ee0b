"""Values of a graph that equal earlier values, up to a factor.

A copy of a network, a branch that adds next to nothing, an Add reversed by a Sub, a pair of Casts: each results in a
value that existed before. Some elements of every value are read while the graph runs on real samples. A later value
that matches an earlier one of the same shape is replaced by it, and nodes that only led to the later one are removed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from certify.model_file.onnx_graph.branches import drop_unused
from certify.model_file.onnx_graph.data_sized import used
from certify.model_file.onnx_graph.shapes import infer, shape_of

POINTS = 512
"""Number of elements of each value that are read per sample, possibly with repetition."""
OBSERVED = "leanmark.observed"
"""Output of the graph with the elements read."""
FLOATS = frozenset({onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE})
DENORMAL_SHARE = 0.1
"""Share of denormal elements of a slow value; networks only have them behind a Softmax with a mask."""
FEWEST_RUNS, STEADY = 4, 1e-3
"""Runs needed to recognise a constant value, and its largest change between runs relative to its spread."""
NO_FACTOR = 1e-3
"""Largest distance from 1 of a factor that is omitted."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Earlier:
    """An earlier value and its factor."""

    name: str
    factor: float


def comparable_values(model: onnx.ModelProto, sample: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Return shape and type of each floating-point value that depends on the input, in graph order.

    Args:
        model: model without functions.
        sample: shape of one sample without the batch.
    """
    types = infer(model, sample).types
    weights = {tensor.name for tensor in model.graph.initializer}
    names = [port.name for port in model.graph.input if port.name not in weights]
    # Constants are left out: equal weights are not work that is done twice.
    varying = set(names)
    for node in model.graph.node:
        if varying.intersection(used(node)):
            varying.update(node.output)
            names += node.output
    known = {name: types[name] for name in names if name in types and types[name].elem_type in FLOATS}
    return {name: (kind.elem_type, *shape_of(kind)) for name, kind in known.items()}


def looking_at(model: onnx.ModelProto, names: list[str], seed: int) -> onnx.ModelProto:
    """Return a graph with a single output of some elements of each of these values, (1, values x POINTS).

    A seed determines the elements as fractions of the value's size, so sizes need not be known.
    """
    looking = onnx.ModelProto()
    looking.CopyFrom(model)
    graph, make = looking.graph, onnx.helper.make_node
    # Below 1, so that no index reaches the size.
    places = np.random.default_rng(seed).uniform(0, 0.9999, POINTS)
    constants = {"places": places, "flat": np.array([-1]), "row": np.array([1, -1])}
    for name, array in constants.items():
        graph.initializer.append(onnx.numpy_helper.from_array(array, f"leanmark.{name}"))
    elements = []
    for number, name in enumerate(names):
        at = [f"leanmark.{number}.{step}" for step in ("size", "real", "place", "index", "flat", "taken", "float")]
        graph.node.extend(
            [
                make("Size", [name], [at[0]]),
                # Double precision, because float32 cannot represent every index of a large value.
                make("Cast", [at[0]], [at[1]], to=onnx.TensorProto.DOUBLE),
                make("Mul", [at[1], "leanmark.places"], [at[2]]),
                make("Cast", [at[2]], [at[3]], to=onnx.TensorProto.INT64),
                make("Reshape", [name, "leanmark.flat"], [at[4]]),
                make("Gather", [at[4], at[3]], [at[5]], axis=0),
                make("Cast", [at[5]], [at[6]], to=onnx.TensorProto.FLOAT),
            ]
        )
        elements.append(at[6])
    graph.node.extend(
        [
            make("Concat", elements, ["leanmark.all"], axis=0),
            make("Reshape", ["leanmark.all", "leanmark.row"], [OBSERVED]),
        ]
    )
    graph.output.append(onnx.helper.make_tensor_value_info(OBSERVED, onnx.TensorProto.FLOAT, None))
    return looking


def dequantized_values(graph: onnx.GraphProto) -> set[str]:
    """Return values dequantized from integers; without this conversion their operators would run in floating point."""
    return {name for node in graph.node if node.op_type == "DequantizeLinear" for name in node.output}


def equal_values(
    kinds: Mapping[str, tuple[int, ...]], observed: Array, tolerance: float, dequantized: Collection[str] = ()
) -> dict[str, Earlier]:
    """Return the values that match an earlier one.

    Args:
        kinds: kind of each value, in graph order; only values of the same kind are compared.
        observed: elements of the values, (samples, values x POINTS).
        tolerance: root mean square of the unexplained part, relative to that of the value about its mean.
        dequantized: values that may only be replaced by each other.
    """
    values = _by_value(kinds, observed)
    found: dict[str, Earlier] = {}
    distinct: dict[tuple[int, ...], list[tuple[str, Array]]] = {}
    for (name, kind), row in zip(kinds.items(), values, strict=True):
        others = distinct.setdefault(kind, [])
        among = [other for other in others if other[0] in dequantized] if name in dequantized else others
        scale = float(np.std(row))
        # A constant would match any other constant up to a factor, so it is not compared.
        match = next(_followed(row, among, tolerance * scale), None) if np.isfinite(scale) and scale > 0 else None
        if match is None:
            others.append((name, row))
        else:
            found[name] = match
    return found


def steady_values(kinds: Mapping[str, tuple[int, ...]], observed: Array) -> set[str]:
    """Return the values that are the same for all samples, so that they need not be computed again."""
    if len(observed) < FEWEST_RUNS:
        return set()
    rows = _by_value(kinds, observed).reshape(len(kinds), len(observed), -1)
    with np.errstate(over="ignore", invalid="ignore"):
        moved = np.sqrt(np.mean((rows - rows[:, :1]) ** 2, axis=(1, 2)))
        steady = moved <= STEADY * np.std(rows, axis=(1, 2))
    return {name for name, alike in zip(kinds, steady, strict=True) if alike}


def denormal_values(kinds: Mapping[str, tuple[int, ...]], observed: Array) -> set[str]:
    """Return the values with denormal numbers, with which processors compute up to a hundred times as slowly."""
    size = np.abs(_by_value(kinds, observed))
    shares = np.mean((size > 0) & (size < np.finfo(np.float32).tiny), axis=1)
    return {name for name, share in zip(kinds, shares, strict=True) if share > DENORMAL_SHARE}


def _by_value(kinds: Mapping[str, tuple[int, ...]], observed: Array) -> Array:
    """Return one row for each value."""
    rows: Array = observed.reshape(len(observed), len(kinds), -1).transpose(1, 0, 2).reshape(len(kinds), -1)
    return rows


def _followed(row: Array, others: list[tuple[str, Array]], most: float) -> Iterator[Earlier]:
    for name, other in others:
        square = float(other @ other)
        factor = float(row @ other) / square if square > 0 else 0.0
        if factor != 0 and float(np.sqrt(np.mean((row - factor * other) ** 2))) <= most:
            yield Earlier(name, 1.0 if abs(factor - 1) < NO_FACTOR else factor)


def replaced(model: onnx.ModelProto, found: Mapping[str, Earlier]) -> onnx.ModelProto:
    """Return a copy of a model that uses earlier values, without unused nodes."""
    lean = onnx.ModelProto()
    lean.CopyFrom(model)
    del lean.graph.value_info[:]
    types = {name: kind.elem_type for name, kind in infer(model).types.items()}
    added: list[onnx.NodeProto] = []
    for node in lean.graph.node:
        again = [name for name in node.output if name in found]
        # The old result keeps another name until drop_unused removes it, with the nodes that only led to it.
        node.output[:] = [f"{name}.replaced" if name in found else name for name in node.output]
        added.append(node)
        for name in again:
            added += _read_off(lean.graph, name, found[name], types.get(name, onnx.TensorProto.FLOAT))
    del lean.graph.node[:]
    lean.graph.node.extend(added)
    drop_unused(lean.graph)
    return lean


def _read_off(graph: onnx.GraphProto, name: str, earlier: Earlier, kind: int) -> list[onnx.NodeProto]:
    if earlier.factor == 1.0:
        return [onnx.helper.make_node("Identity", [earlier.name], [name])]
    factor = np.array(earlier.factor, dtype=onnx.helper.tensor_dtype_to_np_dtype(kind))
    graph.initializer.append(onnx.numpy_helper.from_array(factor, f"{name}.factor"))
    return [onnx.helper.make_node("Mul", [earlier.name, f"{name}.factor"], [name])]
