"""Moments of a layer's inputs and targets, accumulated batch by batch, and least squares on them.

Memory does not grow with the samples. Nothing here depends on torch, a model or a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

RIDGE = 1e-3
"""Share of the Gram matrix's mean diagonal by which the weights are held at their previous values."""
ROWS_PER_INPUT = 2
"""Rows per input from which a layer is refitted: with fewer, such as one row per sample of a classifier with 1,280
inputs, the fit repeats its samples and misses others."""
LEAST_PIVOT = 1e-12
"""Share of the mean diagonal that is always added to a Gram matrix before it is inverted."""


class Gram:
    """Moments of inputs and targets, accumulated batch by batch in float64.

    Products are computed in the type of the batch, relative to the mean of the first one, so that float32 is exact
    enough for large means. All arrays may have leading dimensions for parallel layers, such as the groups of a grouped
    convolution.

    Args:
        inputs: number of inputs of the layer.
        outputs: number of outputs.
        blocks: leading dimensions of all arrays; none for one layer.

    Attributes:
        count: number of rows so far.
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
        """Number of inputs of the layer."""
        return int(self._xx.shape[-1])

    @property
    def determined(self) -> bool:
        """Whether there are enough rows for a fit that also holds for others."""
        return self.count >= ROWS_PER_INPUT * self.inputs

    def add(self, x: Array, y: Array) -> None:
        """Add a batch.

        Args:
            x: (..., n, inputs).
            y: (..., n, outputs).
        """
        if self._start is None:
            # Sums of squares around the first batch's mean: around 0 they would cancel if means are large.
            self._start = x.mean(-2), y.mean(-2)
        x, y = x - self._start[0][..., None, :], y - self._start[1][..., None, :]
        turned = np.swapaxes(x, -1, -2)
        self._xx += turned @ x
        self._xy += turned @ y
        self._yy += np.square(y).sum(-2, dtype=np.float64)
        self._sums[0][...] += x.sum(-2, dtype=np.float64)
        self._sums[1][...] += y.sum(-2, dtype=np.float64)
        self.count += int(x.shape[-2])

    @classmethod
    def sum(cls, grams: Sequence[Gram]) -> Gram:
        """Return the moments of the rows of several Gram matrices of the same layer.

        Example:
            >>> grams = Gram(1, 1), Gram(1, 1)
            >>> for place, gram in enumerate(grams):
            ...     gram.add(np.array([[1.0], [3.0]]) + place, np.zeros((2, 1)))
            >>> float(Gram.sum(grams).moments().x[0])
            2.5
        """
        total = cls(grams[0].inputs, int(grams[0]._yy.shape[-1]), grams[0].blocks)
        for gram in grams:
            if gram._start is None:
                continue
            total._start = gram._start if total._start is None else total._start
            # Moments around another start, as if its rows had been added to the total.
            x, y = (own - start for own, start in zip(gram._start, total._start, strict=True))
            own_x, own_y = gram._sums
            total._xx += gram._xx + _outer(own_x, x) + _outer(x, own_x) + gram.count * _outer(x, x)
            total._xy += gram._xy + _outer(own_x, y) + _outer(x, own_y) + gram.count * _outer(x, y)
            total._yy += gram._yy + 2 * own_y * y + gram.count * np.square(y)
            total._sums[0][...] += own_x + gram.count * x
            total._sums[1][...] += own_y + gram.count * y
            total.count += gram.count
        return total

    def moments(self, centred: bool = True) -> Moments:
        """Return means and second moments per row, around the means or around 0.

        Raises:
            ValueError: nothing was added yet.
        """
        if self._start is None:
            raise ValueError("A Gram matrix has no moments before the first batch; add one.")
        shifts = [total / self.count for total in self._sums]  # of the means, relative to the first batch's
        means = [start + shift for start, shift in zip(self._start, shifts, strict=True)]
        # Shifts are small next to the deviations, so this subtraction does not cancel.
        xx = self._xx / self.count - _outer(shifts[0], shifts[0])
        xy = self._xy / self.count - _outer(shifts[0], shifts[1])
        yy = self._yy / self.count - np.square(shifts[1])
        if not centred:
            xx, xy, yy = xx + _outer(means[0], means[0]), xy + _outer(*means), yy + np.square(means[1])
            means = [np.zeros_like(mean) for mean in means]
        return Moments(means[0], means[1], xx, xy, yy)


class Misfit:
    """Squared error of a layer as it is, accumulated batch by batch, without the Gram matrix that a refit needs.

    Args:
        weights: (..., outputs, inputs).
        bias: (..., outputs), or None for none.

    Example:
        >>> misfit = Misfit(np.ones((1, 2)), None)
        >>> misfit.add(np.eye(2), np.array([[3.0], [1.0]]))
        >>> misfit.share  # of 4 and a variance of 1, summed over both rows
        2.0
    """

    def __init__(self, weights: Array, bias: Array | None) -> None:
        self._weights, self._bias = weights, bias
        # Without inputs, a Gram matrix has the moments of its targets alone.
        self._missed, self._wanted = (Gram(0, weights.shape[-2], weights.shape[:-2]) for _ in range(2))

    def add(self, x: Array, y: Array, samples: int = 1) -> None:
        """Add a batch; see :meth:`compress.pruning.folds.Folds.add`."""
        found = x @ np.swapaxes(self._weights, -1, -2)
        missed = y - found if self._bias is None else y - found - self._bias[..., None, :]
        self._missed.add(x[..., :0], missed)
        self._wanted.add(x[..., :0], y)

    @property
    def share(self) -> float:
        """Mean squared error as a share of the targets' variance."""
        missed, variance = float(self._missed.moments(centred=False).yy.sum()), float(self._wanted.moments().yy.sum())
        return missed / max(variance, float(np.finfo(np.float64).tiny))


@dataclass(frozen=True)
class Moments:
    """Second moments of inputs and targets per row.

    Attributes:
        x: (..., inputs) means; 0 if the moments are around 0.
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
        """Return the moments of some of the inputs.

        Args:
            columns: (kept,) indices of the inputs.
        """
        xx = self.xx[..., columns[:, None], columns[None, :]]
        return Moments(self.x[..., columns], self.y, xx, self.xy[..., columns, :], self.yy)

    def scaled(self, scales: Array) -> Moments:
        """Return the moments with each target multiplied by a factor.

        Args:
            scales: (outputs,).
        """
        return Moments(self.x, self.y * scales, self.xx, self.xy * scales, self.yy * np.square(scales))

    def squared_error(self, weights: Array, bias: Array | None = None) -> Array:
        """Return the mean squared error of each output, (..., outputs).

        Args:
            weights: (..., outputs, inputs).
            bias: (..., outputs), or None for none.
        """
        turned = np.swapaxes(weights, -1, -2).astype(np.float64)
        # w^T G w - 2 w^T X^T y for each output, without the n rows.
        fitted = np.einsum("...io,...io->...o", turned, self.xx @ turned - 2 * self.xy)
        missed = self.y - np.einsum("...oi,...i->...o", weights, self.x) - (0.0 if bias is None else bias)
        # A perfect fit leaves a difference of two equal numbers, whose rounding may be negative.
        error: Array = np.maximum(self.yy + fitted, 0.0) + np.square(missed)
        return error

    def least_squares(self, weights: Array, ridge: float = RIDGE) -> Array:
        """Return the least-squares weights, held near the given ones by a ridge: (..., outputs, inputs) in float64.

        ``(G + r I)^-1 (X^T Y + r W0)`` with r the ridge times the mean diagonal of G.

        Args:
            weights: (..., outputs, inputs) at which they are held.
            ridge: share of the mean diagonal.
        """
        pull = self.pull(ridge)
        pulled = self.xy + pull * np.swapaxes(weights, -1, -2)
        # Solved and not inverted, which is faster and more accurate.
        solved: Array = np.swapaxes(np.linalg.solve(self.with_ridge(pull), pulled), -1, -2)
        return solved

    def sparse(self, weights: Array, mask: Array, ridge: float = RIDGE) -> Array:
        """Compute :meth:`least_squares` with weights that must stay 0.

        Args:
            weights: (..., outputs, inputs) at which they are held.
            mask: (..., outputs, inputs), False where a weight is 0.
            ridge: share of the mean diagonal.
        """
        pull = self.pull(ridge)
        matrix, pulled = self.with_ridge(pull), self.xy + pull * np.swapaxes(weights, -1, -2)
        solved = np.zeros(weights.shape)
        for row in np.ndindex(mask.shape[:-1]):
            block, columns = row[:-1], np.flatnonzero(mask[row])
            # Each output has another set of weights, so there is one system per row.
            within = matrix[block][np.ix_(columns, columns)]
            solved[row][columns] = np.linalg.solve(within, pulled[block][columns, row[-1]])
        return solved

    def pull(self, ridge: float) -> Array:
        """Return what a ridge adds to the diagonal, (..., 1, 1); all-zero inputs leave the weights unchanged."""
        mean = np.trace(self.xx, axis1=-2, axis2=-1)[..., None, None] / max(1, self.xx.shape[-1])
        # With a Gram matrix of zeros, a ridge of 1 gives (0 + I)^-1 (0 + W0) = W0.
        pull: Array = np.where(mean > 0, max(ridge, LEAST_PIVOT) * mean, 1.0)
        return pull

    def with_ridge(self, pull: Array) -> Array:
        """Return the Gram matrix with that much added to its diagonal, (..., inputs, inputs)."""
        diagonal: Array = self.xx + pull * np.eye(self.xx.shape[-1])
        return diagonal


def _outer(first: Array, second: Array) -> Array:
    product: Array = first[..., :, None] * second[..., None, :]
    return product
