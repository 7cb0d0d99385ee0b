"""Coins and noise come from the system, and a trainer without the noise that it accounts for is caught."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from scipy import stats

from certify.core.accounting import poisson_sizes
from certify.core.errors import ModelError
from compress.private import heads, training
from compress.private.budget import Schedule
from compress.private.entropy import coins, gaussian, uniform
from compress.private.noise_check import noise_p, require_noise

SCHEDULE = Schedule("dp-sgd#0", 5, 0.5, 1.0, 2.0, 0.1)


def test_noise_is_standard_normal() -> None:
    drawn = gaussian(20_000)
    assert stats.kstest(drawn, "norm").pvalue > 1e-6
    assert uniform(1000).min() > 0 and uniform(1000).max() <= 1


def test_noise_differs_when_every_generator_has_the_same_seed() -> None:
    drawn = []
    for _ in range(2):
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        drawn.append((gaussian(8), coins(100, 0.5)))
    assert not np.array_equal(drawn[0][0], drawn[1][0]) and not np.array_equal(drawn[0][1], drawn[1][1])


def test_coins_give_poisson_batches() -> None:
    assert poisson_sizes([len(coins(3000, 0.2)) for _ in range(100)], 3000, 0.2).possible
    assert len(coins(50, 1.0)) == 50


@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0])
def test_wrong_noise_is_detected_when_sums_are_compared(factor: float) -> None:
    assert noise_p(lambda: 3.0 + factor * gaussian(400), 1.0) < 1e-9
    with pytest.raises(ModelError, match="do not contain it"):
        require_noise(lambda: factor * gaussian(400), 1.0, "dp-sgd#0")


def test_correct_noise_is_accepted() -> None:
    assert noise_p(lambda: 3.0 + gaussian(400), 1.0) > 1e-9


@pytest.mark.parametrize("module", [heads, training])
def test_trainer_that_adds_no_noise_is_refused_before_training(module, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "gaussian", lambda *shape: np.zeros(shape))
    with pytest.raises(ModelError, match="nothing was trained"):
        if module is heads:
            labels = np.zeros(20, dtype=np.int64)
            heads.train_head(np.ones((20, 40)), labels, 3, SCHEDULE, np.ones(40), np.zeros(40))
        else:
            require_noise(lambda: training.noisy(np.zeros(100), SCHEDULE), SCHEDULE.noise, "dp-sgd#0")


def test_clipped_sum_matches_a_loop_and_is_bounded_by_the_norm() -> None:
    assert heads.gradient_error(30, 5, 0.3) < 1e-9
    generator = np.random.default_rng(3)
    for _ in range(5):
        one = heads.clipped_sum(generator.normal(size=(4, 9)), generator.normal(size=(1, 8)) * 50, np.array([1]), 0.7)
        assert np.linalg.norm(one) <= 0.7 + 1e-9
