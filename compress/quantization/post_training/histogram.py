"""A histogram of fixed size over a stream of values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

SIDE = 2048
"""Bins on each side of 0: at least half of them lie inside the values' range, eight per 8-bit step."""


class Histogram:
    """Counts of values in bins of equal width around 0, in constant memory.

    The width is a power of two. If a value lies outside, the width doubles and neighbouring bins are merged, so the
    counts do not depend on the order or grouping in which the values came.
    """

    def __init__(self) -> None:
        self.counts = np.zeros(2 * SIDE, dtype=np.int64)
        self.width = 0.0
        """Width of a bin; 0 before the first nonzero value."""
        self._zeros = 0

    def add(self, values: npt.NDArray[Any]) -> None:
        """Count finite values of any shape."""
        flat = np.asarray(values, dtype=np.float64).ravel()
        largest = float(np.abs(flat).max(initial=0.0))
        if largest == 0.0:
            # No width is known yet; a tensor of zeros must not fix one.
            self._zeros += flat.size
        else:
            self._widen(largest)
            # Division by a power of two is exact, so a value always falls into the same bin.
            places = np.floor(flat / self.width).astype(np.int64) + SIDE
            self.counts += np.bincount(places, minlength=2 * SIDE)
        if self.width and self._zeros:
            self.counts[SIDE] += self._zeros
            self._zeros = 0

    def _widen(self, largest: float) -> None:
        # the smallest power of two for which |value| / width stays below SIDE
        needed = math.ldexp(1.0, math.frexp(largest)[1]) / SIDE
        if not self.width:
            self.width = needed
        while self.width < needed:
            merged = self.counts[::2] + self.counts[1::2]
            self.counts[:] = 0
            # Neighbours merge in pairs around 0, which stays an edge, so signs never mix.
            self.counts[SIDE // 2 : SIDE // 2 + SIDE] = merged
            self.width *= 2

    @property
    def total(self) -> int:
        """Number of values counted."""
        return int(self.counts.sum()) + self._zeros

    @property
    def centres(self) -> npt.NDArray[np.float64]:
        """Centre of each bin."""
        return np.asarray((np.arange(-SIDE, SIDE) + 0.5) * self.width, dtype=np.float64)

    @property
    def edges(self) -> npt.NDArray[np.float64]:
        """Lower end of each bin, and the upper end of the last."""
        return np.asarray(np.arange(-SIDE, SIDE + 1) * self.width, dtype=np.float64)
