"""Choice of the ridge of a layer by cross-validation over samples.

Positions of one sample resemble each other, so that a fit to many rows of few samples repeats these samples: with 166
images, the refit of EfficientNet-Lite0's last layers made the outputs on them almost those of the original, and three
times as far from it on other images. So the ridge is chosen by the error on samples that took no part in the fit.
"""

from __future__ import annotations

import functools
import math

import numpy as np

from compress.pruning.moments import RIDGE, Array, Gram, Moments

PARTS, TRIED = 4, 2
"""Parts into which samples are divided, and parts that are each held out once."""
RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e3)
"""Shares of the mean diagonal from which the ridge is chosen: from hardly any to none of the weights changing."""
FIRST = 2
"""Position of the ridge that is tried first: the one that most layers of ResNet-50 get."""
MOST_INPUTS, MOST_NUMBERS = 4096, 1 << 25
"""Maximum inputs of a layer, and numbers in its moments, with which parts are kept apart: a gibibyte for all of them,
and as much again while the ridge is chosen. With more, the ridge is fixed."""


class Folds:
    """Moments of a layer's inputs and targets, by parts of the samples; see :class:`Gram`.

    Args:
        inputs: number of inputs of the layer.
        outputs: number of outputs.
        blocks: leading dimensions of all arrays; none for one layer.
        batches: number of batches that will be added, if known. With several for each part, a batch is in one part as a
            whole, which is faster: otherwise each part's matrices change with each batch.
    """

    def __init__(self, inputs: int, outputs: int, blocks: tuple[int, ...] = (), batches: int = 1) -> None:
        numbers = math.prod(blocks) * inputs * (inputs + outputs)
        parts = PARTS if inputs <= MOST_INPUTS and numbers <= MOST_NUMBERS else 1
        self._parts = [Gram(inputs, outputs, blocks) for _ in range(parts)]
        self._batches, self._whole = 0, batches >= 2 * PARTS

    def add(self, x: Array, y: Array, samples: int) -> None:
        """Add a batch.

        Args:
            x: (..., n, inputs), one sample after the other.
            y: (..., n, outputs).
            samples: number of samples in the batch.
        """
        count, rows = len(self._parts), x.shape[-2]
        if self._whole:
            self._parts[self._batches % count].add(x, y)
            self._batches += 1
            return
        # Whole samples where each has as many rows; where rows are drawn over the batch, all but a few at the ends.
        ends = [samples * part // count * rows // samples for part in range(count + 1)]
        for place, (begin, end) in enumerate(zip(ends, ends[1:], strict=False)):
            if begin < end:
                part = self._parts[(place + self._batches) % count]
                part.add(x[..., begin:end, :], y[..., begin:end, :])
        self._batches += 1

    def whole(self) -> Gram:
        """Return the moments of all samples."""
        return self._parts[0] if len(self._parts) == 1 else Gram.sum(self._parts)

    def ridge(self, weights: Array, columns: Array | None = None, *, with_bias: bool = True) -> float:
        """Return the ridge with which a fit to some of the samples comes closest on the others.

        Args:
            weights: current weights for the remaining inputs, at which the ridge holds them, (..., outputs, inputs).
            columns: (kept,) indices of the remaining inputs; None for all.
            with_bias: whether the layer may have a bias.
        """
        held = [part for part in self._parts if part.count][:TRIED]
        if len(held) < TRIED:
            return RIDGE
        pairs: list[tuple[int, Moments, Moments]] = []
        for part in held:
            fitted = Gram.sum([each for each in self._parts if each is not part])
            moments, others = (_of(gram.moments(centred=with_bias), columns) for gram in (fitted, part))
            pairs.append((part.count, moments, others))

        @functools.cache
        def error(place: int) -> float:
            total = 0.0
            for count, moments, others in pairs:
                found = moments.least_squares(weights, RIDGES[place])
                bias = moments.y - np.einsum("...oi,...i->...o", found, moments.x)
                total += count * float(others.squared_error(found, bias).sum())
            # NaN is below nothing and above nothing, so that the search would go back and forth.
            return total if math.isfinite(total) else math.inf

        # The error on other samples falls and rises again with the ridge, so its neighbours show where it is least.
        best, tried = FIRST, -1
        while best != tried:
            tried = best
            best = min(range(max(0, tried - 1), min(len(RIDGES), tried + 2)), key=error)
        return RIDGES[best]


def _of(moments: Moments, columns: Array | None) -> Moments:
    return moments if columns is None else moments.of(columns)
