"""Statistics of weights that stay nearly the same when these are scaled, reordered, or changed by next to nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import onnx

LEAST = 64
"""Fewest values of a tensor to include; smaller ones are biases, scales and shapes."""
STEP = 1e-3
"""Smallest difference of a statistic that counts."""
SHIFTS = (0.0, 0.5)
"""Shifts of the steps: a small change crosses the border of a step in at most one of two grids."""


class WeightSketch:
    """Statistics of one tensor, computed part by part.

    Args:
        tensor: its type and shape.
    """

    def __init__(self, tensor: onnx.TensorProto) -> None:
        try:
            self._dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type))
        except (KeyError, ValueError, TypeError):
            self._dtype = np.dtype(object)
        self._count, self._largest, self._sums = 0, 0.0, np.zeros(4)
        self._sizes = sorted(size for size in tensor.dims if size > 1)

    def add(self, chunk: bytes) -> None:
        """Add the values of a chunk of bytes."""
        if self._dtype.kind not in "fiu" or self._dtype.itemsize not in (1, 2, 4, 8):
            return
        whole = chunk[: len(chunk) // self._dtype.itemsize * self._dtype.itemsize]
        values = np.frombuffer(whole, dtype=self._dtype.newbyteorder("<")).astype(np.float64)
        if not len(values) or not np.isfinite(values).all():
            return
        squares = values * values
        self._count += len(values)
        self._largest = max(self._largest, float(np.abs(values).max()))
        self._sums += (values.sum(), np.abs(values).sum(), squares.sum(), (squares * values).sum())

    def words(self) -> tuple[str, ...] | None:
        """Return a description on each grid; None if the tensor is small or holds no numbers."""
        if self._count < LEAST or not self._sums[2] > 0:
            return None
        mean, size, square, cube = self._sums / self._count
        rms = float(np.sqrt(square))
        ratios = np.array([mean / rms, size / rms, self._largest / rms, cube / rms**3])
        # Numbers far from 1 vary more.
        steps = STEP * np.maximum(1.0, 10.0 ** np.ceil(np.log10(np.maximum(np.abs(ratios), 1.0))))
        return tuple(f"{self._sizes} {np.floor(ratios / steps + shift).tolist()}" for shift in SHIFTS)


def sketched(words: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the hex SHA-256 of all tensors' descriptions, in any order, for each grid; none without tensors."""
    if not words:
        return []
    return [hashlib.sha256(f"sketch {sorted(each)}".encode()).hexdigest() for each in zip(*words, strict=True)]
