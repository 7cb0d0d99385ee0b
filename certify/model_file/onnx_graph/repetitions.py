"""Repetitions within the values of a graph: channels, rows, pixels or samples that equal others up to a factor.

A network may be widened by copies of its channels, run on copies of its sample, or fed with an enlarged image: no whole
value then equals an earlier one. Some elements of every slice of a multiplying operator's output are read while the
graph runs on real samples, along each axis.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import onnx

from certify.model_file.onnx_graph.equal_values import OBSERVED
from certify.model_file.onnx_graph.operators import RECURRENT, STANDARD_DOMAINS, compute_of

POINTS = 32
"""Number of elements of each slice that are read per run, possibly with repetition."""
IMAGE_KIND, LARGE_SHARE = 5, 0.05
"""Length of the kind of images (n, C, H, W), and share of all elements from which other operators' results are read."""
JOINING = frozenset({"Concat", "Expand", "Tile"})
"""Operators that may make channels out of copies."""
LARGEST = 2048
"""Maximum number of slices of an axis to compare."""
PIXEL_TOLERANCE = 0.01
"""Tolerance along the axes of an image, whose neighbouring rows are alike."""
ACTIVE = 0.05
"""Share of a slice's elements that must not be zero to compare it."""
CONSTANT = 1e-3
"""Spread of a constant channel, relative to that of the whole value."""

Kinds = Mapping[str, tuple[int, ...]]
Array = npt.NDArray[np.float64]


def sliced_values(model: onnx.ModelProto, kinds: Kinds) -> dict[str, tuple[int, ...]]:
    """Return the axes to compare of each output of a multiplying operator with constant weights, its channels last.

    Of other large images only rows, columns and samples are compared, as a channel behind a ReLU may be active for few
    samples.

    Args:
        model: model without functions, whose weights are initializers.
        kinds: element type and shape, by value.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    found = {}
    whole = sum(math.prod(kind[1:]) for kind in kinds.values())
    for node in model.graph.node:
        name = next(filter(None, node.output))
        compute, kind = compute_of(node), kinds.get(name)
        if kind is None or len(kind) < 3:
            continue
        axes: tuple[int, ...] = (0, *range(2, len(kind) - 1), 1)
        if node.op_type in RECURRENT and node.domain in STANDARD_DOMAINS:
            axes = (len(kind) - 2,)
        elif compute is None or node.input[compute.weight] not in weights:
            large = len(kind) == IMAGE_KIND and math.prod(kind[1:]) >= LARGE_SHARE * whole
            # Heads of an attention are the axes of a product before its rows.
            heads = () if compute is None or compute.kind != "matmul" else range(1, len(kind) - 3)
            joined = (1,) if node.op_type in JOINING and len(kind) >= IMAGE_KIND else ()
            axes = (*joined, *((2, 3, 0) if large else (0,) if joined else ()), *heads)
        elif compute.kind != "conv":
            axes = (0, len(kind) - 2)
        found[name] = tuple(axis for axis in axes if axis == 0 or 1 < kind[axis + 1] <= LARGEST)
    return {name: axes for name, axes in found.items() if axes}


def looking_at_slices(
    model: onnx.ModelProto, axes: Mapping[str, tuple[int, ...]], kinds: Kinds, seed: int
) -> onnx.ModelProto:
    """Return a graph with a single output of elements of all slices, (1, n), the size of each axis before them."""
    looking = onnx.ModelProto()
    looking.CopyFrom(model)
    graph, make, rng = looking.graph, onnx.helper.make_node, np.random.default_rng(seed)
    float_ = onnx.TensorProto.FLOAT

    def put(name: str, array: npt.NDArray[np.int64]) -> str:
        graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        return name

    flat, rows, row = (
        put(f"leanmark.{name}", np.array(value))
        for name, value in (("flat", [-1]), ("rows", [0, -1]), ("row", [1, -1]))
    )
    elements = []
    for name, axis in ((name, axis) for name, those in axes.items() for axis in those):
        rank, at = len(kinds[name]) - 1, f"leanmark.{name}.{axis}"
        columns = math.prod(kinds[name][1:]) // kinds[name][axis + 1]
        chosen = put(f"{at}.chosen", rng.integers(0, columns, POINTS))
        order = [axis, *(other for other in range(rank) if other != axis)]
        graph.node.extend(
            [
                make("Transpose", [name], [f"{at}.first"], perm=order),
                make("Reshape", [f"{at}.first", rows], [f"{at}.slices"]),
                make("Gather", [f"{at}.slices", chosen], [f"{at}.taken"], axis=1),
                make("Shape", [f"{at}.taken"], [f"{at}.shape"]),
                make("Cast", [f"{at}.shape"], [f"{at}.sizes"], to=float_),
                make("Cast", [f"{at}.taken"], [f"{at}.float"], to=float_),
                make("Reshape", [f"{at}.float", flat], [f"{at}.flat"]),
            ]
        )
        elements += [f"{at}.sizes", f"{at}.flat"]
    graph.node.extend(
        [make("Concat", elements, ["leanmark.all"], axis=0), make("Reshape", ["leanmark.all", row], [OBSERVED])]
    )
    graph.output.append(onnx.helper.make_tensor_value_info(OBSERVED, float_, None))
    return looking


def repetitions(
    axes: Mapping[str, tuple[int, ...]], observed: Array, tolerance: float
) -> dict[str, dict[int, npt.NDArray[np.int64]]]:
    """Return, by value and axis, which earlier slice each slice repeats: itself if none, -1 if it is constant.

    Args:
        axes: axes of each value, in the order of the graph's output.
        observed: elements of the slices, (runs, n).
        tolerance: root mean square of the unexplained part, relative to that of the slice about its mean.
    """
    found: dict[str, dict[int, npt.NDArray[np.int64]]] = {}
    pieces = _pieces(observed)
    for name, those in axes.items():
        found[name] = {}
        for axis in those:
            slices = next(pieces)
            channels = axis == those[-1]
            most = tolerance if channels or axis == 0 else min(tolerance, PIXEL_TOLERANCE)
            found[name][axis] = _first_alike(slices, most, constant=channels)
    return found


def _pieces(observed: Array) -> Iterator[Array]:
    """Yield the slices of each axis, (slices, runs x POINTS)."""
    start = 0
    while start < observed.shape[1]:
        slices, points = (int(size) for size in observed[0, start : start + 2])
        start += 2
        piece = observed[:, start : start + slices * points].reshape(len(observed), slices, points)
        start += slices * points
        yield piece.transpose(1, 0, 2).reshape(slices, -1)


def _first_alike(slices: Array, tolerance: float, constant: bool) -> npt.NDArray[np.int64]:
    lengths, spread = np.linalg.norm(slices, axis=1), np.std(slices, axis=1) * math.sqrt(slices.shape[1])
    varies = spread > CONSTANT * (np.std(slices) * math.sqrt(slices.shape[1]))
    unit = slices / np.maximum(lengths, 1e-30)[:, None]
    alike = unit @ unit.T
    # Distance from the line through the other slice: the length times the sine of their angle.
    apart = np.sqrt(np.maximum(0.0, 1 - alike**2)) * lengths[:, None]
    # Behind a ReLU, slices that are active at few points may be so at the same ones by chance.
    varies_enough = varies & (np.mean(slices != 0, axis=1) > ACTIVE)
    same = (apart <= tolerance * spread[:, None]) & (alike > 0) & varies_enough[:, None] & varies_enough[None]
    np.fill_diagonal(same, True)
    # argmax gives the first True, and so the earliest slice.
    first = np.argmax(same, axis=1).astype(np.int64)
    return np.where(varies, first, -1) if constant else first
