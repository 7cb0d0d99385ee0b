"""Adam on noisy sums: anything computed from them alone costs no privacy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


class Adam:
    """Adam (Kingma and Ba 2014, arXiv 1412.6980); its steps do not depend on the scale of the gradients.

    Args:
        size: number of values in a gradient.
        lr: learning rate at the first step; it falls to 0 along a cosine.
        steps: total number of steps.

    Example:
        >>> Adam(2, 0.1, 10).step(np.array([3.0, -500.0])).round(6).tolist()
        [0.1, -0.1]
    """

    FIRST, SECOND, TINY = 0.9, 0.999, 1e-12

    def __init__(self, size: int, lr: float, steps: int) -> None:
        self._lr, self._steps, self._done = lr, steps, 0
        self._mean, self._square = np.zeros(size), np.zeros(size)

    def step(self, gradient: Floats) -> Floats:
        """Return the update to subtract from the weights, (size,)."""
        lr = 0.5 * self._lr * (1 + np.cos(np.pi * self._done / self._steps))
        self._done += 1
        self._mean = self.FIRST * self._mean + (1 - self.FIRST) * gradient
        self._square = self.SECOND * self._square + (1 - self.SECOND) * gradient**2
        # Both averages start at 0, the second grows more slowly: uncorrected, first steps would be too large.
        mean = self._mean / (1 - self.FIRST**self._done)
        square = self._square / (1 - self.SECOND**self._done)
        moved: Floats = lr * mean / (np.sqrt(square) + self.TINY)
        return moved
