"""Hidden units of a recurrence that its results need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import onnx

from certify.model_file.onnx_graph.constants import array_of
from certify.model_file.onnx_graph.dense import NEGLIGIBLE
from certify.model_file.onnx_graph.exempt import Mask, Masks

X, W, R = range(3)
"""Indices of the inputs."""
CELL = 2
"""Index of the output with the state of an LSTM's cells, which is not a multiple of the hidden state."""


@dataclass(frozen=True)
class Needed:
    """What a recurrence needs.

    Attributes:
        share: fraction (0 to 1) of its multiply-adds.
        inputs: needed elements of each step.
    """

    share: float
    inputs: Mask


def needed_units(
    node: onnx.NodeProto,
    weights: Mapping[str, onnx.TensorProto],
    masks: Mapping[str, Masks],
    repeats: Mapping[str, npt.NDArray[np.int64]],
) -> Needed | None:
    """Return what a recurrence needs: units that are read, and units on which these depend.

    Units whose weights are all zero are constant, and of units that repeat each other one is enough.

    Args:
        node: GRU, LSTM or RNN.
        weights: weights of the graph, by name.
        masks: needed positions of its outputs, by name; each has its units on the last axis.
        repeats: for its outputs, the unit that each unit repeats: its own if none, -1 if it is constant.

    Returns:
        None if its weights are not constants.
    """
    if not all(name in weights for name in node.input[W : R + 1]):
        return None
    inward, across = (np.abs(array_of(weights[name]).astype(np.float32)) for name in node.input[W : R + 1])
    if inward.ndim != 3 or across.ndim != 3 or not inward.size or not across.size:
        return None
    directions, _, units = across.shape
    read = [masks[name][-1] for name in node.output if name in masks]
    if any(len(mask) != units for mask in read):
        return None
    first = _first(node.output, repeats, units)
    kept = inputs = 0
    fed: Mask = np.zeros(inward.shape[2], dtype=bool)
    for one in range(directions):
        # By gate, unit and weight; each row has its own scale.
        gates, past = (_matters(array[one]).reshape(-1, units, array.shape[2]) for array in (inward, across))
        alive = gates.any(axis=(0, 2)) | past.any(axis=(0, 2))
        wanted: Mask = np.logical_or.reduce(read)
        needed: Mask = np.zeros(units, dtype=bool)
        while (new := _distinct(wanted, first) & alive & ~needed).any():
            needed |= new
            wanted = np.asarray(past[:, new].any(axis=(0, 1)))
        fed |= gates[:, needed].any(axis=(0, 1))
        kept += int(needed.sum()) ** 2
        inputs += int(needed.sum())
    whole = directions * units * (units + inward.shape[2])
    return Needed((kept + inputs * int(fed.sum())) / whole, fed)


def _matters(weight: npt.NDArray[np.float32]) -> Mask:
    largest = max(float(weight.max()), float(np.finfo(np.float32).tiny))
    matters: Mask = weight > NEGLIGIBLE * np.maximum(weight.max(axis=1, keepdims=True), NEGLIGIBLE * largest)
    return matters


def _first(
    outputs: Sequence[str], repeats: Mapping[str, npt.NDArray[np.int64]], units: int
) -> npt.NDArray[np.int64] | None:
    """Return the unit that each unit repeats, if an output of hidden states was compared."""
    found = next((repeats[name] for name in outputs[:CELL] if name in repeats), None)
    return found if found is not None and len(found) == units else None


def _distinct(wanted: Mask, first: npt.NDArray[np.int64] | None) -> Mask:
    if first is None:
        return wanted
    found = np.zeros_like(wanted)
    found[first[wanted & (first >= 0)]] = True
    return found
