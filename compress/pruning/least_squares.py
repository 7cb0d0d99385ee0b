"""Least squares on streamed moments: compensation for removed inputs, and the order in which to remove them.

Nothing here depends on torch, a model or a file. A layer consists of its weights (outputs, inputs), its bias (outputs,)
and its data: inputs x (n, inputs) that come in batches, and targets y (n, outputs) for them. Only their moments are
kept, so that memory does not grow with the samples.

Papers: Frantar, Kurtic and Alistarh, "ZipLM", NeurIPS 2023 (arXiv 2302.04089) for removing structures by the inverse
Gram matrix; Meng et al., "OSSCAR", ICML 2024 (arXiv 2403.12983) for reconstruction under structured sparsity; GRAIL
(arXiv 2602.23795) for ridge regression by Gram matrices; Hassibi and Stork, "Optimal Brain Surgeon", NeurIPS 1992.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from compress.pruning.moments import RIDGE, Array, Gram, Moments

__all__ = [
    "RIDGE",
    "Array",
    "Elimination",
    "Fit",
    "Gram",
    "Moments",
    "LayerRefit",
    "eliminate",
    "refit",
]

ROUNDS, CANDIDATES = 32, 4
"""For :func:`eliminate`: the inverse share of units removed per round, and the candidates per removed unit."""


@dataclass(frozen=True)
class Fit:
    """Result of a refit.

    Attributes:
        weights: (..., outputs, inputs) in float64.
        bias: (..., outputs) in float64, or None if none was requested.
        before: mean squared error of the given weights, as a share of the targets' variance.
        after: the same for the new weights.
    """

    weights: Array
    bias: Array | None
    before: float
    after: float


def refit(
    gram: Gram,
    weights: Array,
    bias: Array | None = None,
    *,
    columns: Array | None = None,
    mask: Array | None = None,
    ridge: float = RIDGE,
    with_bias: bool = True,
) -> Fit:
    """Compute the weights and bias with which a layer comes closest to its targets from some of its inputs.

    Args:
        gram: moments of the inputs and targets.
        weights: current weights for the remaining inputs, (..., outputs, inputs).
        bias: current bias, (..., outputs).
        columns: (kept,) indices of the remaining inputs, if the Gram matrix has more of them.
        mask: (..., outputs, inputs), False where a weight must stay 0; each output is then solved separately.
        ridge: share of the Gram matrix's mean diagonal by which the weights are held at their current values.
        with_bias: whether the layer may have a bias; otherwise the given one is not used.

    Example:
        >>> gram, x = Gram(2, 1), np.random.default_rng(0).normal(size=(50, 1))
        >>> gram.add(np.hstack([x, x]), 2 * x + 1)  # the second input is a copy of the first
        >>> made = refit(gram, np.ones((1, 1)), columns=np.array([0]), ridge=0.0)
        >>> made.weights.round(6).tolist(), made.bias.round(6).tolist()
        ([[2.0]], [1.0])
    """
    moments = gram.moments(centred=with_bias)
    moments = moments if columns is None else moments.of(columns)
    refitted = moments.least_squares(weights, ridge) if mask is None else moments.sparse(weights, mask, ridge)
    offset = moments.y - np.einsum("...oi,...i->...o", refitted, moments.x) if with_bias else None
    # Always around the means: the share of the variance is comparable between layers with and without a bias.
    size = max(float(gram.moments().yy.sum()), np.finfo(np.float64).tiny)
    before, after = (
        float(moments.squared_error(*layer).sum()) / size for layer in ((weights, bias), (refitted, offset))
    )
    return Fit(refitted, offset, before, after)


@dataclass(frozen=True)
class LayerRefit:
    """Errors of one refitted layer.

    Attributes:
        before: squared error of its outputs before, as a share of the targets' variance.
        after: the same after the refit; both on the samples of the fit.
        at_sum: whether the targets are taken after the addition of a shortcut.
    """

    before: float
    after: float
    at_sum: bool

    def to_json(self) -> dict[str, float | bool]:
        """Return JSON values for the lineage."""
        return {"error_before": self.before, "error_after": self.after, "at_sum": self.at_sum}


@dataclass(frozen=True)
class Elimination:
    """Units in the order in which a layer can do without them.

    Attributes:
        order: (units,) indices of the units, first to be removed first.
        errors: (units,) squared error once that unit and those before it are removed and the others compensate; summed
            over the outputs, as a share of the targets' variance. Without given weights it includes the ridge's cost.
        ridge: share of the mean diagonal that was added to it.
    """

    order: Array
    errors: Array
    ridge: float = RIDGE

    def kept(self, count: int) -> Array:
        """Return the indices of the ``count`` units that stay, ascending."""
        return np.sort(self.order[len(self.order) - count :])

    def scores(self) -> Array:
        """Return the error at which each unit is removed, (units,): the higher, the more important."""
        scores = np.empty(len(self.order))
        # Errors may fall by rounding along the order; scores must rank as the units were removed.
        scores[self.order] = np.maximum.accumulate(self.errors)
        return scores


def eliminate(moments: Moments, units: Array, ridge: float = RIDGE, weights: Array | None = None) -> Elimination:
    """Remove one unit after the other, each time the one that raises the error of the refitted layer least.

    By the inverse H of the Gram matrix: removing the columns u of a unit raises the squared error by
    ``tr(W_u^T H_uu^-1 W_u)`` once the other weights have become ``W - H_:u H_uu^-1 W_u`` (ZipLM, equations 2 and 3).
    With many units, a 32nd of the remaining ones is removed per round, chosen one after the other among four times as
    many that looked weakest at the beginning of the round; the whole matrix is updated once per round.

    Args:
        moments: moments of the layer's inputs and targets, without leading dimensions.
        units: (units, size) indices of each unit's inputs; together all inputs.
        ridge: share of the mean diagonal that is added to it.
        weights: (outputs, inputs) at which the ridge holds the layer; 0 by default.

    Example:
        >>> gram, x = Gram(3, 1), np.random.default_rng(0).normal(size=(200, 3))
        >>> x[:, 2] = x[:, 0]  # a copy
        >>> gram.add(x, x[:, :1] + 0.1 * x[:, 1:2])
        >>> eliminate(gram.moments(), np.arange(3)[:, None]).kept(1).tolist() in ([0], [2])
        True
    """
    pull = moments.pull(ridge)
    places = units.flatten()  # from here on the columns of a unit are adjacent
    pulled = moments.xy[places] if weights is None else moments.xy[places] + pull * weights.T[places]
    # The only inversion: later ones follow from it by Schur complements, in O(n^2) per unit.
    inverse = np.linalg.inv(moments.with_ridge(pull)[np.ix_(places, places)])
    now = inverse @ pulled
    size = max(float(moments.yy.sum()), np.finfo(np.float64).tiny)
    error = float(moments.yy.sum() - (now * pulled).sum())
    held: Array | None = None
    own = error
    if weights is not None:
        # The ridge's cost of the given weights, without which the error is that of the layer alone.
        held = weights.T[places].astype(np.float64)
        error += float(pull.item() * np.square(held).sum())
        own = error - float(pull.item() * np.square(now - held).sum())
    lost = 0.0
    left, width = np.arange(len(units)), units.shape[1]
    order: list[int] = []
    errors: list[float] = []
    while len(left):
        # At least one unit per round, so few units are removed exactly one by one.
        gone, rises = _weakest(inverse, now, width, max(1, len(left) // ROUNDS))
        order += left[gone].tolist()
        columns, risen = _columns(gone, width), np.cumsum(rises)
        inverse, now = _without(inverse, now, columns)
        left = np.delete(left, gone)
        error += float(risen[-1])
        before, own = own, error
        if held is not None:
            lost += float(np.square(held[columns]).sum())
            held = np.delete(held, columns, 0)
            own = error - float(pull.item()) * (lost + float(np.square(now - held).sum()))
        # Within a round, the error rises in proportion to the whole sum.
        share = risen / risen[-1] if risen[-1] > 0 else np.linspace(0, 1, len(risen) + 1)[1:]
        errors += (before + (own - before) * share).tolist()
    # The last differences are of nearly equal numbers, so they may be negative by rounding.
    return Elimination(np.array(order), np.maximum(errors, 0.0) / size, ridge)


def _weakest(inverse: Array, now: Array, width: int, count: int) -> tuple[list[int], list[float]]:
    """Return the next units to remove, in order, and by how much each raises the squared error."""
    # A stable sort, so that ties go to the lower index on every platform.
    candidates = np.sort(np.argsort(_rises(inverse, now, width), kind="stable")[: CANDIDATES * count])
    columns = _columns(candidates, width)
    inner, weights = inverse[np.ix_(columns, columns)], now[columns]
    gone: list[int] = []
    rises: list[float] = []
    for _ in range(count):
        found = _rises(inner, weights, width)
        best = int(found.argmin())
        gone.append(int(candidates[best]))
        rises.append(float(found[best]))
        candidates = np.delete(candidates, best)
        inner, weights = _without(inner, weights, _columns(np.array([best]), width))
    return gone, rises


def _rises(inverse: Array, now: Array, width: int) -> Array:
    """Return by how much the squared error rises without each unit, (units,)."""
    count = len(inverse) // width
    if width == 1:  # many systems with one unknown each, for which a solver takes longer than everything else
        single: Array = np.square(now).sum(1) / np.diagonal(inverse)
        return single
    own = np.arange(count)
    blocks = inverse.reshape(count, width, count, width)[own, :, own, :]
    weights = now.reshape(count, width, -1)
    rises: Array = np.einsum("uso,uso->u", weights, np.linalg.solve(blocks, weights))
    return rises


def _columns(units: Array | list[int], width: int) -> Array:
    """Return the column indices of units whose columns are adjacent."""
    columns: Array = (np.asarray(units)[:, None] * width + np.arange(width)).flatten()
    return columns


def _without(inverse: Array, now: Array, gone: Array) -> tuple[Array, Array]:
    """Return the inverse Gram matrix and the weights of the columns that remain when some are removed."""
    left = np.delete(np.arange(len(inverse)), gone)
    # The Schur complement: the inverse of a submatrix without another inversion.
    inner, outer = inverse[np.ix_(gone, gone)], inverse[np.ix_(gone, left)]
    across = (outer / inner if len(gone) == 1 else np.linalg.solve(inner, outer)).T
    weights = now[left] - across @ now[gone]
    return inverse[np.ix_(left, left)] - across @ inverse[np.ix_(gone, left)], weights
