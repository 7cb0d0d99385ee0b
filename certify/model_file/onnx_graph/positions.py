"""Positions of an operator's input that its needed outputs hold.

Operators that only select or move elements are run on the numbers of the positions in place of the elements.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.reference

from certify.model_file.onnx_graph.exempt import Mask, Masks
from certify.model_file.onnx_graph.operators import attribute, attribute_list

TRACED = frozenset(
    {"Compress", "DepthToSpace", "GatherElements", "GatherND", "Pad", "ReverseSequence", "SpaceToDepth", "Split"}
)
LARGEST = 20_000_000
"""Maximum number of elements to trace."""

Arrays = Mapping[str, npt.NDArray[Any]]


def traced(node: onnx.NodeProto, shape: Sequence[int], needed: Mapping[int, Masks], arrays: Arrays) -> Masks | None:
    """Return the positions of an operator's first input that are needed; None if unknown.

    Args:
        node: operator whose type is in TRACED.
        shape: shape of its first input.
        needed: needed positions of its outputs, by their place.
        arrays: its other inputs, by name.
    """
    if math.prod(shape) > LARGEST or not set(filter(None, node.input[1:])) <= arrays.keys():
        return None
    numbers = np.arange(1, 1 + math.prod(shape)).reshape(shape)  # 0 stands for none
    try:
        outputs: Any = _padded(node, numbers, arrays) if node.op_type == "Pad" else _run(node, numbers, arrays)
        read = [outputs[place][np.ix_(*masks)] for place, masks in needed.items()]
    except (ValueError, TypeError, LookupError, RuntimeError, NotImplementedError):
        return None
    found = np.zeros(1 + numbers.size, dtype=bool)
    for each in read:
        found[each] = True
    return _projected(found[1:].reshape(shape))


def selected(node: onnx.NodeProto, name: str, masks: Masks, arrays: Arrays) -> Masks:
    """Return needed outputs of an elementwise operator without those to which a value of its inputs adds nothing.

    Args:
        node: elementwise operator.
        name: the input.
        masks: needed outputs.
        arrays: constant inputs, by name.
    """
    if list(node.input).count(name) > 1:
        return masks
    if node.op_type == "Mul":
        keeps = [np.asarray(arrays[other] != 0) for other in node.input if other != name and other in arrays]
    elif node.op_type == "Where" and node.input[0] in arrays and name in node.input[1:]:
        keeps = [arrays[node.input[0]] == (name == node.input[1])]
    else:
        return masks
    for keep in keeps:
        if keep.ndim <= len(masks):
            whole = _projected(keep.reshape(*[1] * (len(masks) - keep.ndim), *keep.shape))
            masks = [m & w if len(w) == len(m) else m & w.any() for m, w in zip(masks, whole, strict=True)]
    return masks


def sliced(node: onnx.NodeProto, shape: Sequence[int], masks: Masks, arrays: Arrays) -> Masks | None:
    """Return the needed positions of the input of a Slice, of any size; None if unknown."""
    bounds = [arrays.get(name) for name in node.input[1:]]
    if len(bounds) < 2 or any(bound is None for bound in bounds):
        return None
    starts, ends, *more = (np.asarray(bound).reshape(-1).tolist() for bound in bounds)
    axes = more[0] if more else list(range(len(starts)))
    steps = more[1] if len(more) > 1 else [1] * len(starts)
    found = list(masks)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        positions = range(shape[axis])[slice(start, end, step)] if step > 0 else range(0)
        if len(positions) != len(masks[axis]):
            return None
        found[axis % len(shape)] = _placed(shape[axis], list(positions), masks[axis])
    return found


def gathered(node: onnx.NodeProto, shape: Sequence[int], masks: Masks, arrays: Arrays) -> Masks | None:
    """Return the needed positions of the input of a Gather, of any size; None if unknown."""
    indices = arrays.get(node.input[1])
    axis = attribute(node, "axis", 0) % len(shape)
    if indices is None or indices.ndim > 1:
        return None
    own: Mask = masks[axis] if indices.ndim else np.ones(1, dtype=bool)
    return [
        *masks[:axis],
        _placed(shape[axis], indices.reshape(-1).tolist(), own),
        *masks[axis + indices.ndim :],
    ]


def _placed(size: int, positions: Sequence[int], mask: Mask) -> Mask:
    """Return a mask with those of some positions that are needed."""
    found = np.zeros(size, dtype=bool)
    found[np.array(positions, dtype=np.int64)[mask]] = True
    return found


def _projected(found: Mask) -> Masks:
    """Return for each axis the positions at which anything is set."""
    axes = range(found.ndim)
    return [np.asarray(found.any(axis=tuple(other for other in axes if other != axis))) for axis in axes]


def _run(node: onnx.NodeProto, numbers: npt.NDArray[np.int64], arrays: Arrays) -> Any:
    feeds = {node.input[0]: numbers, **{name: arrays[name] for name in node.input[1:] if name}}
    return onnx.reference.ReferenceEvaluator(node).run(None, feeds)


def _padded(node: onnx.NodeProto, numbers: npt.NDArray[np.int64], arrays: Arrays) -> list[npt.NDArray[np.int64]]:
    """Run a Pad, which may also cut; the evaluator of onnx cannot."""
    pads = arrays[node.input[1]].tolist() if len(node.input) > 1 else attribute_list(node, "pads")
    axes = arrays[node.input[3]].tolist() if len(node.input) > 3 and node.input[3] else range(numbers.ndim)
    half = len(pads) // 2
    mode: Any = next((a.s.decode() for a in node.attribute if a.name == "mode"), "constant")
    for axis, before, after in zip(axes, pads[:half], pads[half:], strict=True):
        cut = [slice(None)] * numbers.ndim
        cut[axis] = slice(max(0, -before), numbers.shape[axis] - max(0, -after))
        wide = [(0, 0)] * numbers.ndim
        wide[axis] = (max(0, before), max(0, after))
        numbers = np.pad(numbers[tuple(cut)], wide, mode=mode)
    return [numbers]
