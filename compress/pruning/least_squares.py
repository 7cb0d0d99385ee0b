"""Least squares on streamed moments: how a layer makes up for inputs that are gone, and which it misses least.

Nothing here knows torch, a model or a file. A layer is its weights (outputs, inputs), its bias (outputs,) and what it
sees: inputs x (n, inputs) that come in batches, and targets y (n, outputs) that it should give for them. Only their
moments are kept, so that memory does not grow with the samples.

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
    "choose_units",
    "eliminate",
    "refit",
]

ROUNDS, CANDIDATES = 32, 4
"""Of :func:`eliminate`: the share of the units that goes in a round, and how many are looked at for each that goes."""


@dataclass(frozen=True)
class Fit:
    """What a refit gives.

    Attributes:
        weights: (..., outputs, inputs) in float64.
        bias: (..., outputs) in float64, or None where none was asked for.
        before: mean squared error of the weights that were given, as a share of the targets' variance.
        after: the same of the new ones.
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
    """Weights and bias by which a layer comes nearest to its targets on some of its inputs.

    Args:
        gram: of the inputs and the targets.
        weights: (..., outputs, inputs) that the layer has now, for the inputs that stay.
        bias: (..., outputs) that it has now.
        columns: (kept,) numbers of the inputs that stay, where the Gram matrix has more of them.
        mask: (..., outputs, inputs) False where a weight must stay 0; each output is then solved for by itself.
        ridge: share of the mean diagonal of the Gram matrix by which the weights are held at what they are.
        with_bias: whether the layer may have a bias; otherwise the given one stays out of it.

    Example:
        >>> gram, x = Gram(2, 1), np.random.default_rng(0).normal(size=(50, 1))
        >>> gram.add(np.hstack([x, x]), 2 * x + 1)  # the second input is a copy of the first
        >>> made = refit(gram, np.ones((1, 1)), columns=np.array([0]), ridge=0.0)
        >>> made.weights.round(6).tolist(), made.bias.round(6).tolist()
        ([[2.0]], [1.0])
    """
    moments = gram.moments(centred=with_bias)
    moments = moments if columns is None else moments.of(columns)
    made = moments.least_squares(weights, ridge) if mask is None else moments.sparse(weights, mask, ridge)
    offset = moments.y - np.einsum("...oi,...i->...o", made, moments.x) if with_bias else None
    size = max(float(gram.moments().yy.sum()), np.finfo(np.float64).tiny)
    before, after = (float(moments.squared_error(*given).sum()) / size for given in ((weights, bias), (made, offset)))
    return Fit(made, offset, before, after)


@dataclass(frozen=True)
class LayerRefit:
    """What became of one layer.

    Attributes:
        before: squared error of its outputs before, as a share of the targets' variance.
        after: the same afterwards, both on the samples that it was fitted on.
        at_sum: whether the targets stand behind the addition of a shortcut.
    """

    before: float
    after: float
    at_sum: bool

    def to_json(self) -> dict[str, float | bool]:
        """For the lineage."""
        return {"error_before": self.before, "error_after": self.after, "at_sum": self.at_sum}


@dataclass(frozen=True)
class Elimination:
    """Units in the order in which a layer can do without them.

    Attributes:
        order: (units,) numbers of the units, the first to go in front.
        errors: (units,) squared error, with what the ridge costs, once that unit and those before it are gone and the
            others have made up for them; summed over the outputs, as a share of the targets' variance.
    """

    order: Array
    errors: Array

    def kept(self, count: int) -> Array:
        """(count,) the units that stay, ascending."""
        return np.sort(self.order[len(self.order) - count :])

    def scores(self) -> Array:
        """(units,) for each unit the error at which it goes: the higher, the more important."""
        scores = np.empty(len(self.order))
        scores[self.order] = np.maximum.accumulate(self.errors)
        return scores


def eliminate(moments: Moments, units: Array, ridge: float = RIDGE, weights: Array | None = None) -> Elimination:
    """Remove one unit after the other, each time the one that raises the error of the refitted layer least.

    By the inverse H of the Gram matrix: removing the columns u of a unit raises the squared error by
    ``tr(W_u^T H_uu^-1 W_u)`` once the other weights have become ``W - H_:u H_uu^-1 W_u`` (ZipLM, equations 2 and 3).
    Where there are many units, a 32nd of those left go in a round, chosen one after the other among the four times as
    many that looked weakest when the round began; the whole matrix is brought up to date once a round.

    Args:
        moments: of the layer's inputs and targets, without leading dimensions.
        units: (units, size) numbers of the inputs that each unit has; together all inputs.
        ridge: share of the mean diagonal that is added to it.
        weights: (outputs, inputs) that the ridge holds the layer at; 0 by default.

    Example:
        >>> gram, x = Gram(3, 1), np.random.default_rng(0).normal(size=(200, 3))
        >>> x[:, 2] = x[:, 0]  # a copy
        >>> gram.add(x, x[:, :1] + 0.1 * x[:, 1:2])
        >>> eliminate(gram.moments(), np.arange(3)[:, None]).kept(1).tolist() in ([0], [2])
        True
    """
    pull = moments.pull(ridge)
    places = units.flatten()  # from here on the columns of a unit lie side by side
    held = moments.xy[places] if weights is None else moments.xy[places] + pull * weights.T[places]
    inverse = np.linalg.inv(moments.with_ridge(pull)[np.ix_(places, places)])
    now = inverse @ held
    size = max(float(moments.yy.sum()), np.finfo(np.float64).tiny)
    error = float(moments.yy.sum() - (now * held).sum())
    left, width = np.arange(len(units)), units.shape[1]
    order: list[int] = []
    errors: list[float] = []
    while len(left):
        gone, rises = _weakest(inverse, now, width, max(1, len(left) // ROUNDS))
        order += left[gone].tolist()
        errors += (error + np.cumsum(rises)).tolist()
        error = errors[-1]
        inverse, now = _without(inverse, now, _columns(gone, width))
        left = np.delete(left, gone)
    return Elimination(np.array(order), np.maximum(errors, 0.0) / size)


def _weakest(inverse: Array, now: Array, width: int, count: int) -> tuple[list[int], list[float]]:
    """The units to go next, in their order, and by how much each raises the squared error."""
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
    """(units,) by how much the squared error rises without each unit."""
    count = len(inverse) // width
    own = np.arange(count)
    blocks = inverse.reshape(count, width, count, width)[own, :, own, :]
    weights = now.reshape(count, width, -1)
    rises: Array = np.einsum("uso,uso->u", weights, np.linalg.solve(blocks, weights))
    return rises


def _columns(units: Array | list[int], width: int) -> Array:
    """Numbers of the columns of units whose columns lie side by side."""
    columns: Array = (np.asarray(units)[:, None] * width + np.arange(width)).flatten()
    return columns


def _without(inverse: Array, now: Array, gone: Array) -> tuple[Array, Array]:
    """The inverse Gram matrix and the weights of the columns that are left once some are gone."""
    left = np.delete(np.arange(len(inverse)), gone)
    across = np.linalg.solve(inverse[np.ix_(gone, gone)], inverse[np.ix_(gone, left)]).T
    weights = now[left] - across @ now[gone]
    return inverse[np.ix_(left, left)] - across @ inverse[np.ix_(gone, left)], weights


def choose_units(moments: Moments, units: Array, count: int, ridge: float = RIDGE) -> Array:
    """(count,) numbers of the units that stay, ascending; see :func:`eliminate`.

    Args:
        moments: of the layer's inputs and targets.
        units: (units, size) numbers of the inputs that each unit has.
        count: of the units that stay.
        ridge: share of the mean diagonal of the Gram matrix that is added to it.
    """
    return eliminate(moments, units, ridge).kept(count)
