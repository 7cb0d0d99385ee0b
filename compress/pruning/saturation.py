"""Least squares for a layer before a ReLU or a clip: beyond a limit, any output will do.

A layer's targets are the original's outputs before the activation. Where both the target and the layer's own output lie
beyond the same limit, nothing behind the activation changes, so that the layer's output is the target there; where only
the target does, the limit is. Each step fits the layer to the targets of its current weights, which lowers the error
behind the activation (majorize-minimize: the error to these targets is nowhere less, and equal at the
current weights).

Paper: Zhang et al., "Accelerating Very Deep Convolutional Networks for Classification and Detection", TPAMI
2016 (arXiv 1505.06798), which solves the same problem with a penalty.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from compress.pruning.folds import Folds
from compress.pruning.least_squares import Fit, refit
from compress.pruning.moments import Array, Misfit
from compress.pruning.value_store import ArrayShelf

STEPS, STRIDE = 3, 1.7
"""Fits of a layer before an activation with limits, and by how much of its way each one but the first goes on; below 2,
so that each still lowers the error."""


@dataclass(frozen=True)
class Limits:
    """Values of an activation's input beyond which its output does not change.

    Attributes:
        low: lower limit.
        high: upper limit.
    """

    low: float
    high: float

    def target(self, wanted: Array, found: Array) -> Array:
        """Return what is nearest to the found outputs among what the activation maps to the wanted ones.

        Example:
            >>> Limits(0.0, 6.0).target(np.array([-1.0, -1.0, 2.0, 9.0]), np.array([-3.0, 1.0, -1.0, 7.0])).tolist()
            [-3.0, 0.0, 2.0, 7.0]
        """
        inner = np.where(wanted >= self.high, np.maximum(found, self.high), wanted)
        target: Array = np.where(wanted <= self.low, np.minimum(found, self.low), inner)
        return target


class KeptRows:
    """Rows of a layer, batch by batch, that can be read again: kept in memory while they are few, else in files.

    Args:
        batches: inputs (..., n, inputs), targets (..., n, outputs) and number of samples of each batch; read once.
        folder: folder for files, which are not removed.
    """

    def __init__(self, batches: Iterable[tuple[Array, Array, int]], folder: Path) -> None:
        self._batches, self._shelf = batches, ArrayShelf[str](folder)
        self._sizes: list[int] = []

    def __iter__(self) -> Iterator[tuple[Array, Array, int]]:
        if self._sizes:
            for batch, size in enumerate(self._sizes):
                kept = self._shelf.take(batch)
                yield kept["x"], kept["y"], size
            return
        for batch, (x, y, size) in enumerate(self._batches):
            self._shelf.put(batch, {"x": x, "y": y})
            self._sizes.append(size)
            yield x, y, size


def refit_before(
    limits: Limits,
    rows: Iterable[tuple[Array, Array, int]],
    weights: Array,
    bias: Array | None,
    *,
    with_bias: bool = True,
) -> Fit:
    """Compute the weights and bias with which a layer comes closest to its targets behind an activation.

    Args:
        limits: limits of the activation.
        rows: inputs (..., n, inputs), targets (..., n, outputs) and samples of each batch, the same at each step.
        weights: current weights, (..., outputs, inputs).
        bias: current bias, (..., outputs).
        with_bias: whether the layer may have a bias.

    Returns:
        The result, with the error behind the activation before and after; the given weights if there are too few rows
        for a fit, or none comes closer.
    """
    given, first = (weights, bias), math.nan
    for step in range(STEPS):
        folds = Folds(weights.shape[-1], weights.shape[-2], weights.shape[:-2])
        for x, y, samples in rows:
            folds.add(x, limits.target(y, _outputs(x, weights, bias)), samples)
        gram = folds.whole()
        fit = refit(gram, weights, bias, ridge=folds.ridge(weights, with_bias=with_bias), with_bias=with_bias)
        first = fit.before if step == 0 else first
        # Errors as small as the rounding of float32 no longer fall.
        if not gram.determined or not fit.after < fit.before:
            break
        stride = STRIDE if step else 1.0
        weights = weights + stride * (fit.weights - weights)
        if fit.bias is not None:
            bias = fit.bias if bias is None else bias + stride * (fit.bias - bias)
    if weights is given[0]:
        return Fit(*given, first, first)
    missed = Misfit(weights, bias)
    for x, y, _ in rows:
        missed.add(x, limits.target(y, _outputs(x, weights, bias)))
    return Fit(weights, bias, first, missed.share) if missed.share < first else Fit(*given, first, first)


def _outputs(x: Array, weights: Array, bias: Array | None) -> Array:
    offset = np.float32(0) if bias is None else bias[..., None, :].astype(np.float32)
    found: Array = x @ np.swapaxes(weights, -1, -2).astype(np.float32) + offset
    return found
