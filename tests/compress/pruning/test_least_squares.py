"""The algebra of reconstruction, against least squares on the samples themselves."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from compress.pruning.least_squares import Gram, eliminate, refit
from compress.pruning.moments import Misfit

INPUTS, OUTPUTS, ROWS = 12, 5, 400


def _data(seed: int = 0, offset: float = 3.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Correlated inputs around an offset, targets with noise, and the weights behind them."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(ROWS, INPUTS)) @ random.normal(size=(INPUTS, INPUTS)) + offset
    weights = random.normal(size=(OUTPUTS, INPUTS))
    return x, x @ weights.T + 1.5 + 0.1 * random.normal(size=(ROWS, OUTPUTS)), weights


def _gram(x: np.ndarray, y: np.ndarray, batch: int = 64) -> Gram:
    gram = Gram(x.shape[-1], y.shape[-1], x.shape[:-2])
    for begin in range(0, x.shape[-2], batch):
        gram.add(x[..., begin : begin + batch, :], y[..., begin : begin + batch, :])
    return gram


def _brute_force(x: np.ndarray, y: np.ndarray, ridge: float, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights and bias by stacking rows for the ridge under the samples, without any Gram matrix."""
    centred = x - x.mean(0)
    pull = np.sqrt(ridge * np.square(centred).sum() / x.shape[1])
    rows = np.vstack([centred, pull * np.eye(x.shape[1])])
    weights = np.linalg.lstsq(rows, np.vstack([y - y.mean(0), pull * held.T]), rcond=None)[0].T
    return weights, y.mean(0) - weights @ x.mean(0)


@pytest.mark.parametrize("ridge", [0.0, 1e-3, 1.0])
def test_refit_gives_brute_force_weights_when_samples_come_in_batches(ridge: float) -> None:
    x, y, held = _data()
    weights, bias = _brute_force(x, y, ridge, held)
    fit = refit(_gram(x, y), held, ridge=ridge)
    assert np.allclose(fit.weights, weights, atol=1e-8)
    assert fit.bias is not None
    assert np.allclose(fit.bias, bias, atol=1e-8)


def test_refit_gives_brute_force_weights_when_some_inputs_are_kept() -> None:
    x, y, held = _data()
    kept = np.array([0, 3, 4, 9])
    weights, _ = _brute_force(x[:, kept], y, 1e-2, held[:, kept])
    assert np.allclose(refit(_gram(x, y), held[:, kept], columns=kept, ridge=1e-2).weights, weights, atol=1e-8)


def test_refit_passes_through_zero_when_there_is_no_bias() -> None:
    x, y, held = _data()
    fit = refit(_gram(x, y), held, ridge=0.0, with_bias=False)
    assert fit.bias is None
    assert np.allclose(fit.weights, np.linalg.lstsq(x, y, rcond=None)[0].T, atol=1e-8)


def test_errors_are_those_of_the_samples_when_the_means_are_large() -> None:
    x, y, held = _data(offset=1e4)
    fit = refit(_gram(x, y), held)
    variance = np.square(y - y.mean(0)).sum()
    assert fit.before == pytest.approx(np.square(y - x @ held.T).sum() / variance, rel=1e-6)
    assert fit.after == pytest.approx(np.square(y - x @ fit.weights.T - fit.bias).sum() / variance, rel=1e-3)
    assert fit.after < fit.before


def test_float32_batches_give_float64_weights_when_the_means_are_large() -> None:
    x, y, held = _data(offset=1e3)
    exact = refit(_gram(x, y), held).weights
    rough = refit(_gram(x.astype(np.float32), y.astype(np.float32)), held.astype(np.float32)).weights
    assert np.abs(rough - exact).max() < 1e-3 * np.abs(exact).max()


def test_blocks_are_refitted_separately_when_there_are_leading_dimensions() -> None:
    apart = [_data(seed) for seed in range(3)]
    x, y, held = (np.stack(parts) for parts in zip(*apart, strict=True))
    fit = refit(_gram(x, y), held)
    for block, (own_x, own_y, own_held) in enumerate(apart):
        alone = refit(_gram(own_x, own_y), own_held)
        assert np.allclose(fit.weights[block], alone.weights)
        assert fit.bias is not None and alone.bias is not None
        assert np.allclose(fit.bias[block], alone.bias)


def test_weights_are_unchanged_when_inputs_are_all_zero() -> None:
    held = np.ones((2, 3))
    assert np.array_equal(refit(_gram(np.zeros((9, 3)), np.ones((9, 2))), held).weights, held)


def test_moments_are_refused_when_nothing_was_added() -> None:
    with pytest.raises(ValueError, match="add one"):
        Gram(2, 1).moments()


@pytest.mark.parametrize("size", [1, 3])
def test_elimination_removes_the_weakest_unit_by_brute_force(size: int) -> None:
    x, y, _ = _data()
    units = np.random.default_rng(1).permutation(INPUTS).reshape(-1, size)  # their columns need not be neighbours
    found = eliminate(_gram(x, y).moments(), units, ridge=0.0)
    left, variance = list(range(len(units))), np.square(y - y.mean(0)).sum()
    for unit, error in zip(found.order[:-1], found.errors, strict=False):
        tried = {}
        for candidate in left:
            columns = np.concatenate([units[other] for other in left if other != candidate])
            weights, bias = _brute_force(x[:, columns], y, 0.0, np.zeros((OUTPUTS, len(columns))))
            tried[candidate] = np.square(y - x[:, columns] @ weights.T - bias).sum() / variance
        assert unit == min(tried, key=tried.__getitem__)
        assert error == pytest.approx(tried[unit], abs=1e-6)
        left.remove(int(unit))


@pytest.mark.parametrize("ridge", [1e-3, 1.0])
def test_errors_are_those_of_the_layer_without_the_ridge_when_weights_are_given(ridge: float) -> None:
    x, y, weights = _data()
    gram, units = _gram(x, y), np.arange(INPUTS).reshape(-1, 2)
    found = eliminate(gram.moments(), units, ridge, weights)
    for gone in range(1, len(units)):
        columns = units[found.kept(len(units) - gone)].flatten()
        # The refit takes the mean diagonal of the remaining inputs, so the same pull is another share of it.
        diagonal = np.square(x - x.mean(0)).mean(0)
        share = ridge * diagonal.mean() / diagonal[columns].mean()
        after = refit(gram, weights[:, columns], columns=columns, ridge=share).after
        assert found.errors[gone - 1] == pytest.approx(after, rel=1e-6)


def test_chosen_units_are_the_best_subset_when_the_others_are_copies() -> None:
    random = np.random.default_rng(0)
    apart = random.normal(size=(ROWS, 3))
    x = apart[:, [0, 0, 1, 2, 1, 2]] * np.array([1, 2, 1, 1, -3, 0.5])
    y = apart @ random.normal(size=(3, 4))
    kept = eliminate(_gram(x, y).moments(), np.arange(6)[:, None], ridge=1e-9).kept(3)
    assert sorted({0: 0, 1: 0, 2: 1, 3: 2, 4: 1, 5: 2}[int(unit)] for unit in kept) == [0, 1, 2]


def test_rounds_lose_little_compared_with_one_at_a_time_when_there_are_many_units(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(1000, 40)) @ random.normal(size=(40, 160)) + 0.3 * random.normal(size=(1000, 160))
    moments = _gram(x, x @ random.normal(size=(160, 20))).moments()
    monkeypatch.setattr("compress.pruning.least_squares.ROUNDS", 10_000)
    one_by_one = eliminate(moments, np.arange(160)[:, None])
    monkeypatch.setattr("compress.pruning.least_squares.ROUNDS", 4)
    monkeypatch.setattr("compress.pruning.least_squares.CANDIDATES", 1)
    in_rounds = eliminate(moments, np.arange(160)[:, None])
    assert not np.array_equal(in_rounds.order, one_by_one.order)
    assert in_rounds.errors[80] < 1.1 * one_by_one.errors[80]


def test_scores_rank_units_in_order_of_removal_when_errors_are_equal() -> None:
    x, y, _ = _data()
    found = eliminate(_gram(x, y).moments(), np.arange(INPUTS)[:, None])
    scores = found.scores()
    assert all(scores[a] <= scores[b] for a, b in itertools.pairwise(found.order))
    assert set(np.argsort(scores, kind="stable")[-4:]) == set(found.kept(4))


@pytest.mark.parametrize("with_bias", [True, False])
def test_error_without_a_gram_matrix_is_that_before_a_refit(with_bias):
    random = np.random.default_rng(0)
    gram, weights = Gram(3, 2, (4,)), random.normal(size=(4, 2, 3))
    bias = random.normal(size=(4, 2)) if with_bias else None
    misfit = Misfit(weights, bias)
    for rows in (7, 20):
        x, y = random.normal(5, 1, (4, rows, 3)), random.normal(2, 1, (4, rows, 2))
        gram.add(x, y)
        misfit.add(x, y)
    assert misfit.share == pytest.approx(refit(gram, weights, bias, with_bias=with_bias).before)
