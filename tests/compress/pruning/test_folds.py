"""The ridge of a layer is chosen on samples that took no part in the fit."""

from __future__ import annotations

import numpy as np
import pytest

from compress.pruning.folds import RIDGES, Folds
from compress.pruning.least_squares import RIDGE, Gram, Moments, refit

INPUTS, OUTPUTS, POSITIONS = 40, 3, 16


def _images(count: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs and targets whose positions of one sample resemble each other, and the weights behind them."""
    random = np.random.default_rng(seed)
    weights = np.random.default_rng(99).normal(size=(OUTPUTS, INPUTS))

    def spread(width: int) -> np.ndarray:
        whole = random.normal(size=(count, 1, width))
        return (whole + 0.1 * random.normal(size=(count, POSITIONS, width))).reshape(-1, width)

    x = spread(INPUTS)
    return x, x @ weights.T + noise * spread(OUTPUTS), weights


def _folds(x: np.ndarray, y: np.ndarray, samples: int, batches: int = 1, known: int = 1) -> Folds:
    folds = Folds(x.shape[-1], y.shape[-1], batches=known)
    for each, wanted in zip(np.split(x, batches), np.split(y, batches), strict=True):
        folds.add(each, wanted, samples // batches)
    return folds


@pytest.mark.parametrize(("batches", "known"), [(3, 1), (12, 12)])
def test_whole_has_the_moments_of_all_samples(batches: int, known: int) -> None:
    x, y, _ = _images(24, 1.0)
    plain = Gram(INPUTS, OUTPUTS)
    plain.add(x + 5, y - 3)
    found, wanted = _folds(x + 5, y - 3, 24, batches, known).whole(), plain
    assert found.count == wanted.count
    for centred in (True, False):
        for name in ("x", "y", "xx", "xy", "yy"):
            parts = (getattr(each.moments(centred), name) for each in (found, wanted))
            np.testing.assert_allclose(*parts, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(("batches", "known"), [(1, 1), (4, 1), (48, 1), (8, 8), (48, 48)])
def test_few_samples_are_not_repeated(batches: int, known: int) -> None:
    # 768 rows for 40 inputs, but rows of one sample are nearly the same.
    x, y, weights = _images(48, 3.0)
    others_x, others_y, _ = _images(500, 3.0, 1)
    near = weights + 0.1 * np.random.default_rng(2).normal(size=weights.shape)
    folds = _folds(x, y, 48, batches, known)
    ridge = folds.ridge(near)
    assert ridge > RIDGE

    def missed(ridge: float) -> float:
        made = refit(folds.whole(), near, ridge=ridge)
        assert made.bias is not None
        return float(np.square(others_x @ made.weights.T + made.bias - others_y).mean())

    assert missed(ridge) < 0.7 * missed(RIDGE)


@pytest.mark.parametrize(("distance", "noise"), [(0.0, 3.0), (0.1, 3.0), (0.5, 1.0), (3.0, 3.0), (3.0, 0.3)])
def test_ridge_is_the_best_of_all_though_few_are_tried(distance: float, noise: float) -> None:
    x, y, weights = _images(48, noise)
    near = weights + distance * np.random.default_rng(2).normal(size=weights.shape)
    parts = np.array_split(np.arange(48 * POSITIONS), 4)  # as in one batch, of which the first two are held out

    def missed(ridge: float) -> float:
        total = 0.0
        for held in parts[:2]:
            gram, own = Gram(INPUTS, OUTPUTS), np.setdiff1d(np.arange(len(x)), held)
            gram.add(x[own], y[own])
            made = refit(gram, near, ridge=ridge)
            total += float(np.square(x[held] @ made.weights.T + made.bias - y[held]).sum())
        return total

    assert _folds(x, y, 48).ridge(near) == min(RIDGES, key=missed)


def test_search_for_the_ridge_ends_when_some_errors_are_no_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, weights = _images(48, 3.0)
    honest = Moments.least_squares

    def broken(moments: Moments, near: np.ndarray, ridge: float) -> np.ndarray:
        return honest(moments, near, ridge) * (np.nan if ridge == RIDGES[1] else 1.0)

    monkeypatch.setattr(Moments, "least_squares", broken)
    assert _folds(x, y, 48).ridge(weights) in {each for each in RIDGES if each != RIDGES[1]}


def test_batch_is_in_one_part_when_each_part_gets_several(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, _ = _images(48, 1.0)
    sizes: list[int] = []
    monkeypatch.setattr(Gram, "add", lambda self, x, y: sizes.append(len(x)))
    _folds(x, y, 48, 8, 8)
    assert sizes == [6 * POSITIONS] * 8
    sizes.clear()
    _folds(x, y, 48, 4, 4)
    assert sizes == [3 * POSITIONS] * 16


def test_many_samples_move_the_weights() -> None:
    x, y, weights = _images(400, 0.1)
    assert _folds(x, y, 400).ridge(np.zeros_like(weights)) == RIDGES[0]


def test_remaining_inputs_alone_count() -> None:
    x, y, weights = _images(400, 0.1)
    kept = np.arange(5, INPUTS)
    assert _folds(x, y, 400).ridge(weights[:, kept], kept) in RIDGES


def test_blocks_share_a_ridge() -> None:
    x, y, weights = _images(48, 3.0)
    folds = Folds(INPUTS, OUTPUTS, (2,))
    folds.add(np.stack([x, x]), np.stack([y, y]), 48)
    assert folds.ridge(np.stack([weights, weights])) == _folds(x, y, 48).ridge(weights)


def test_ridge_is_fixed_when_there_is_one_sample() -> None:
    one = Folds(2, 1)
    one.add(np.eye(2), np.ones((2, 1)), 1)
    assert one.ridge(np.ones((1, 2))) == RIDGE


@pytest.mark.parametrize(("name", "most"), [("MOST_INPUTS", INPUTS - 1), ("MOST_NUMBERS", INPUTS * INPUTS)])
def test_ridge_is_fixed_when_parts_would_take_too_much_memory(
    monkeypatch: pytest.MonkeyPatch, name: str, most: int
) -> None:
    x, y, weights = _images(48, 3.0)
    monkeypatch.setattr(f"compress.pruning.folds.{name}", most)
    assert _folds(x, y, 48).ridge(weights) == RIDGE
