"""Moments of what a layer takes and what it should give, added up batch by batch, and the least squares that they hold.

Memory does not grow with the samples. Nothing here knows torch, a model or a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

RIDGE = 1e-3
"""Share of the mean diagonal of the Gram matrix by which the weights are held at what they were."""
LEAST_PIVOT = 1e-12
"""Share of the mean diagonal that is added to a Gram matrix before it is inverted, whatever the ridge is."""


class Gram:
    """Moments of inputs and targets, added up batch by batch in float64.

    Products are taken in the type of the batch around the mean of the first one, so that float32 is exact enough where
    the means are large. All arrays may have leading dimensions, which stand for layers side by side, such as the groups
    of a grouped convolution.

    Args:
        inputs: numbers that the layer takes.
        outputs: numbers that it gives.
        blocks: leading dimensions of all arrays; none for one layer.

    Attributes:
        count: rows so far.
        blocks: as given.

    Example:
        >>> gram = Gram(2, 1)
        >>> gram.add(np.eye(2), np.array([[3.0], [5.0]]))
        >>> gram.moments(centred=False).least_squares(np.zeros((1, 2)), ridge=0.0).round(6).tolist()
        [[3.0, 5.0]]
    """

    def __init__(self, inputs: int, outputs: int, blocks: tuple[int, ...] = ()) -> None:
        self.count = 0
        self.blocks = blocks
        self._start: tuple[Array, Array] | None = None
        self._sums = np.zeros((*blocks, inputs)), np.zeros((*blocks, outputs))
        self._xx = np.zeros((*blocks, inputs, inputs))
        self._xy = np.zeros((*blocks, inputs, outputs))
        self._yy = np.zeros((*blocks, outputs))

    @property
    def inputs(self) -> int:
        """Numbers that the layer takes."""
        return int(self._xx.shape[-1])

    def add(self, x: Array, y: Array) -> None:
        """Take a batch in.

        Args:
            x: (..., n, inputs).
            y: (..., n, outputs).
        """
        if self._start is None:
            self._start = x.mean(-2), y.mean(-2)
        x, y = x - self._start[0][..., None, :], y - self._start[1][..., None, :]
        turned = np.swapaxes(x, -1, -2)
        self._xx += turned @ x
        self._xy += turned @ y
        self._yy += np.square(y).sum(-2, dtype=np.float64)
        self._sums[0][...] += x.sum(-2, dtype=np.float64)
        self._sums[1][...] += y.sum(-2, dtype=np.float64)
        self.count += int(x.shape[-2])

    def moments(self, centred: bool = True) -> Moments:
        """Means and second moments per row, around the means or around 0.

        Raises:
            ValueError: nothing was added yet.
        """
        if self._start is None:
            raise ValueError("A Gram matrix has no moments before the first batch; add one.")
        shifts = [total / self.count for total in self._sums]  # of the means from the mean of the first batch
        means = [start + shift for start, shift in zip(self._start, shifts, strict=True)]
        xx = self._xx / self.count - _outer(shifts[0], shifts[0])
        xy = self._xy / self.count - _outer(shifts[0], shifts[1])
        yy = self._yy / self.count - np.square(shifts[1])
        if not centred:
            xx, xy, yy = xx + _outer(means[0], means[0]), xy + _outer(*means), yy + np.square(means[1])
            means = [np.zeros_like(mean) for mean in means]
        return Moments(means[0], means[1], xx, xy, yy)


@dataclass(frozen=True)
class Moments:
    """Second moments of inputs and targets for one row.

    Attributes:
        x: (..., inputs) means; 0 where the moments are around 0.
        y: (..., outputs) likewise.
        xx: (..., inputs, inputs) mean of products around the means.
        xy: (..., inputs, outputs) likewise.
        yy: (..., outputs) likewise, of each target with itself.
    """

    x: Array
    y: Array
    xx: Array
    xy: Array
    yy: Array

    def of(self, columns: Array) -> Moments:
        """The moments of some of the inputs.

        Args:
            columns: (kept,) numbers of the inputs.
        """
        xx = self.xx[..., columns[:, None], columns[None, :]]
        return Moments(self.x[..., columns], self.y, xx, self.xy[..., columns, :], self.yy)

    def scaled(self, scales: Array) -> Moments:
        """The moments where each target is multiplied by a factor.

        Args:
            scales: (outputs,).
        """
        return Moments(self.x, self.y * scales, self.xx, self.xy * scales, self.yy * np.square(scales))

    def squared_error(self, weights: Array, bias: Array | None = None) -> Array:
        """Mean squared error of each output, (..., outputs).

        Args:
            weights: (..., outputs, inputs).
            bias: (..., outputs), or None for none.
        """
        turned = np.swapaxes(weights, -1, -2).astype(np.float64)
        fitted = np.einsum("...io,...io->...o", turned, self.xx @ turned - 2 * self.xy)
        missed = self.y - np.einsum("...oi,...i->...o", weights, self.x) - (0.0 if bias is None else bias)
        error: Array = np.maximum(self.yy + fitted, 0.0) + np.square(missed)
        return error

    def least_squares(self, weights: Array, ridge: float = RIDGE) -> Array:
        """Weights of least squared error, held at what they were by a ridge: (..., outputs, inputs) in float64.

        ``(G + r I)^-1 (X^T Y + r W0)`` with r the ridge times the mean diagonal of G.

        Args:
            weights: (..., outputs, inputs) that they are held at.
            ridge: share of the mean diagonal.
        """
        pull = self.pull(ridge)
        held = self.xy + pull * np.swapaxes(weights, -1, -2)
        solved: Array = np.swapaxes(np.linalg.solve(self.with_ridge(pull), held), -1, -2)
        return solved

    def sparse(self, weights: Array, mask: Array, ridge: float = RIDGE) -> Array:
        """As :meth:`least_squares`, with weights that must stay 0.

        Args:
            weights: (..., outputs, inputs) that they are held at.
            mask: (..., outputs, inputs) False where a weight is 0.
            ridge: share of the mean diagonal.
        """
        pull = self.pull(ridge)
        matrix, held = self.with_ridge(pull), self.xy + pull * np.swapaxes(weights, -1, -2)
        made = np.zeros(weights.shape)
        for row in np.ndindex(mask.shape[:-1]):
            block, columns = row[:-1], np.flatnonzero(mask[row])
            within = matrix[block][np.ix_(columns, columns)]
            made[row][columns] = np.linalg.solve(within, held[block][columns, row[-1]])
        return made

    def pull(self, ridge: float) -> Array:
        """(..., 1, 1) what a ridge adds to the diagonal; inputs that are all 0 leave the weights as they are."""
        mean = np.trace(self.xx, axis1=-2, axis2=-1)[..., None, None] / max(1, self.xx.shape[-1])
        pull: Array = np.where(mean > 0, max(ridge, LEAST_PIVOT) * mean, 1.0)
        return pull

    def with_ridge(self, pull: Array) -> Array:
        """(..., inputs, inputs) the Gram matrix with that much added to its diagonal."""
        diagonal: Array = self.xx + pull * np.eye(self.xx.shape[-1])
        return diagonal


def _outer(first: Array, second: Array) -> Array:
    product: Array = first[..., :, None] * second[..., None, :]
    return product
