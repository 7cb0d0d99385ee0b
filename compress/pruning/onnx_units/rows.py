"""Data of a file's layer for least squares: inputs and targets at some positions of each sample."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from compress.onnx_graph.graph import Array, attributes
from compress.pruning.onnx_units.layers import FileLayer


class FileRows:
    """Samples positions, different ones for each batch.

    Args:
        node: node of the layer.
        layer: layer that reads them.
        random: random generator.
        most: maximum number of positions per sample.
    """

    def __init__(self, node: onnx.NodeProto, layer: FileLayer, random: np.random.Generator, most: int) -> None:
        self._node, self._layer, self._random, self._most = node, layer, random, most

    def of(self, taken: Array, wanted: Array) -> tuple[Array, Array]:
        """Return inputs (groups, rows, inputs) and targets (groups, rows, outputs), without groups if there is one.

        Args:
            taken: (n, channels, *places) input of a convolution, or (..., inputs).
            wanted: targets, in the shape of its output.
        """
        # Files may compute in float16, in which squares of activations overflow.
        taken, wanted = (each.astype(np.float32, copy=False) for each in (taken, wanted))
        if not self._layer.dims:
            return self._of_product(taken, wanted)
        kernel, places = self._layer.shape[2:], wanted.shape[2:]
        at = np.unravel_index(self._chosen(math.prod(places)), places)
        seen = windows(self._node, taken, kernel, places)
        groups = self._layer.groups
        x = _at(seen, at).reshape(-1, groups, taken.shape[1] // groups * math.prod(kernel))
        y = _at(wanted, at).reshape(-1, groups, wanted.shape[1] // groups)
        return (x[:, 0], y[:, 0]) if groups == 1 else (np.moveaxis(x, 1, 0), np.moveaxis(y, 1, 0))

    def _of_product(self, taken: Array, wanted: Array) -> tuple[Array, Array]:
        x, y = taken.reshape(-1, taken.shape[-1]), wanted.reshape(-1, wanted.shape[-1])
        most = self._most * len(taken)
        if len(x) <= most:
            return x, y
        # Sorted, so that the rows of a sample stay together.
        chosen = np.sort(self._random.permutation(len(x))[:most])
        return x[chosen], y[chosen]

    def _chosen(self, count: int) -> Array:
        return self._random.permutation(count)[: self._most] if count > self._most else np.arange(count)


def _at(values: Array, at: Sequence[Array]) -> Array:
    """Return (n, positions, channels, ...) from values (n, channels, *places, ...) at some places."""
    everywhere: tuple[Any, ...] = (slice(None), slice(None), *at)
    chosen: Array = np.moveaxis(values[everywhere], 1, 2)
    return chosen


def windows(node: onnx.NodeProto, taken: Array, kernel: Sequence[int], places: Sequence[int]) -> Array:
    """Return the receptive field of each position of a convolution: (n, channels, *positions, *kernel), a view.

    Args:
        node: the convolution, with its strides, pads and dilations.
        taken: (n, channels, *sizes).
        kernel: sizes of its kernel.
        places: sizes of its output.
    """
    message, dims = attributes(node), len(kernel)
    strides = list(message.get("strides", [1] * dims))
    dilations = list(message.get("dilations", [1] * dims))
    reaches = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, kernel, strict=True)]
    pads = list(message.get("pads", [0] * (2 * dims)))
    rule = message.get("auto_pad", b"NOTSET")
    # As ONNX defines it: the output has ceil(size / stride) places; UPPER pads an odd rest at the end.
    if rule in (b"SAME_UPPER", b"SAME_LOWER"):
        needed = [
            max(0, (place - 1) * stride + reach - size)
            for place, stride, reach, size in zip(places, strides, reaches, taken.shape[2:], strict=True)
        ]
        less, more = [each // 2 for each in needed], [each - each // 2 for each in needed]
        pads = less + more if rule == b"SAME_UPPER" else more + less
    elif rule == b"VALID":
        pads = [0] * (2 * dims)
    padded = np.pad(taken, [(0, 0), (0, 0), *zip(pads[:dims], pads[dims:], strict=True)])
    seen = np.lib.stride_tricks.sliding_window_view(padded, reaches, axis=tuple(range(2, 2 + dims)))
    steps = (
        slice(None),
        slice(None),
        *(slice(None, None, s) for s in strides),
        *(slice(None, None, d) for d in dilations),
    )
    view: Array = seen[steps]
    return view
