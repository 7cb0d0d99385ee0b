"""Masked but not removed output channels of an exported program."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from certify.core.errors import ModelError
from certify.model_file.onnx_graph.zero_channels import ZeroChannels
from certify.model_file.pt2.archive import Exported
from certify.model_file.pt2.facts import DTYPES, PRODUCTS, Operator, operators, positions_of, reading, shape_of, sources

RESHAPES = frozenset({"reshape", "view", "squeeze", "unsqueeze"})
NORMALISATIONS = frozenset({"batch_norm", "_native_batch_norm_legit_no_training", "cudnn_batch_norm"})


def exported_zero_channels(exported: Exported) -> ZeroChannels:
    """Count output channels that compute nothing: zero weights, masked weights, or a masked output.

    A mask on the output is a stored factor, or the scale of a normalisation.
    """
    channels = zero = 0
    with reading(exported):
        nodes = list(operators(exported))
        stored = _folded(exported, nodes)
        consumers: dict[str, list[Operator]] = {}
        for node in nodes:
            for name in filter(None, node.inputs):
                consumers.setdefault(name, []).append(node)
        for node in nodes:
            weight = _weight(node, stored)
            if weight is None or weight.ndim < 2:
                continue
            axis = 1 if node.transposed or (node.kind in PRODUCTS and node.kind != "linear") else 0
            dead = ~np.any(weight != 0, axis=tuple(a for a in range(weight.ndim) if a != axis))
            for after in consumers.get(node.outputs[0], []):
                dead = dead | _masked(after, stored, len(dead))
            channels, zero = channels + len(dead), zero + int(dead.sum())
    return ZeroChannels(channels, zero)


def _folded(exported: Exported, nodes: list[Operator]) -> dict[str, npt.NDArray[Any]]:
    """Return the stored tensors and their products with stored masks, through reshapes."""
    found = _stored(exported)
    for node in nodes:
        known = [found[name] for name in node.inputs if name in found]
        if node.kind in RESHAPES and known:
            found[node.outputs[0]] = known[0].reshape(shape_of(exported, node.outputs[0]) or ())
        elif node.kind == "mul" and len(known) == 2:
            shapes = {factor.shape for factor in known}
            if np.broadcast_shapes(*shapes) in shapes:  # an outer product could have any size
                found[node.outputs[0]] = known[0] * known[1]
    return found


def _masked(after: Operator, stored: Mapping[str, npt.NDArray[Any]], channels: int) -> npt.NDArray[Any]:
    """Return the channels that an operator multiplies by a stored zero."""
    names = after.inputs[1:2] if after.kind in NORMALISATIONS else after.inputs if after.kind == "mul" else ()
    factor = next((stored[name] for name in names if name is not None and name in stored), None)
    if factor is None or factor.size != channels:
        return np.zeros(channels, dtype=bool)
    return np.asarray(factor.reshape(-1) == 0)


def _stored(exported: Exported) -> dict[str, npt.NDArray[Any]]:
    """Return the values of stored tensors of NumPy types, by name in the graph."""
    found = {}
    for name, member, entry in sources(exported):
        meta = entry["tensor_meta"]
        kind = DTYPES.get(meta["dtype"])
        if kind is None or kind == "bfloat16":
            continue
        flat = np.frombuffer(exported.members[member], dtype=kind)
        shape = tuple(size["as_int"] for size in meta["sizes"])
        strides = tuple(stride["as_int"] * flat.itemsize for stride in meta["strides"])
        offset = meta["storage_offset"]["as_int"]
        last = offset + sum((n - 1) * s // flat.itemsize for n, s in zip(shape, strides, strict=True))
        # as_strided checks nothing, so sizes beyond the stored bytes would read other memory of this process.
        fits = 0 <= offset <= last < flat.size and min(strides, default=0) >= 0 and math.prod(shape) <= flat.size
        if math.prod(shape) and not fits:
            raise ModelError(
                f"{exported.path}: the weight '{name}' extends beyond its stored bytes; export the program again."
            )
        found[name] = np.lib.stride_tricks.as_strided(flat[offset:], shape, strides)
    return found


def _weight(node: Operator, stored: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[Any] | None:
    positions = positions_of(node)
    return None if positions is None else stored.get(node.inputs[positions[1]] or "")
