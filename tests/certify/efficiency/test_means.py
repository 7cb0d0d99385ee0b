from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.core.statistics.means import mean_interval, mean_ratio_interval
from certify.core.statistics.proportions import PairedTable, ratio_interval, z_quantile

Z2 = z_quantile(0.95) ** 2


@pytest.mark.parametrize("n", [500, 2000])
@pytest.mark.parametrize("kind", ["normal", "skewed", "rare", "bounded", "negative tail"])
def test_ratio_interval_covers_truth_when_scores_are(kind: str, n: int) -> None:
    """2,000 experiments each, from ordinary scores to ones of which one in 300 differs."""
    rng = np.random.default_rng(n)
    covered = []
    for _ in range(2000):
        if kind == "normal":
            baseline = rng.normal(2.0, 1.0, n)
            candidate = baseline - 0.02 + rng.normal(0, 0.3, n)
            truth = 1.98 / 2.0
        elif kind == "skewed":
            baseline = rng.exponential(1.0, n)
            candidate = baseline * rng.uniform(0.9, 1.08, n)
            truth = 0.99
        elif kind == "rare":
            baseline = rng.uniform(0.5, 1.0, n)
            candidate = np.where(rng.random(n) < 1 / 300, 0.0, baseline)
            truth = 1 - 1 / 300
        elif kind == "bounded":
            baseline = rng.beta(8, 2, n)
            candidate = np.where(rng.random(n) < 0.02, rng.beta(2, 8, n), baseline)
            truth = (0.98 * 0.8 + 0.02 * 0.2) / 0.8
        else:
            baseline = 3.0 - rng.exponential(1.0, n)
            candidate = baseline - 0.05 * rng.exponential(1.0, n)
            truth = 1.95 / 2.0
        interval = mean_ratio_interval(baseline, candidate, 0.95)
        assert interval is not None
        covered.append(interval.low <= truth <= interval.high)
    assert np.mean(covered) >= 0.93


def test_ratio_interval_is_the_score_interval_when_nothing_differs() -> None:
    """With correct and wrong samples and no difference, the score interval accounts for rare differences."""
    right = (np.arange(1000) < 1000).astype(np.float64)
    interval = mean_ratio_interval(right, right, 0.95)
    score = ratio_interval(PairedTable(1000, 0, 0, 0), 0.95)
    assert interval is not None
    assert interval.low == pytest.approx(score.low, abs=2e-5)
    assert interval.low == pytest.approx(1 - Z2 / 1000, abs=2e-5)


def test_ratio_interval_comes_close_to_the_score_interval_when_many_differ() -> None:
    table = PairedTable(4300, 150, 250, 300)
    baseline = np.repeat([1.0, 0.0, 1.0, 0.0], [4300, 150, 250, 300])
    candidate = np.repeat([1.0, 1.0, 0.0, 0.0], [4300, 150, 250, 300])
    interval, score = mean_ratio_interval(baseline, candidate, 0.95), ratio_interval(table, 0.95)
    assert interval is not None
    assert (interval.low, interval.high) == (pytest.approx(score.low, abs=3e-4), pytest.approx(score.high, abs=3e-4))


@pytest.mark.parametrize("shift", [0.0, -5.0])
def test_ratio_has_no_interval_when_the_baseline_is_not_above_zero(shift: float) -> None:
    scores = np.random.default_rng(0).normal(shift, 1.0, 800)
    assert mean_ratio_interval(scores, scores, 0.95) is None


@given(st.floats(0.01, 100.0), st.integers(0, 50))
def test_ratio_interval_does_not_change_when_scores_are_scaled(scale: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    baseline = rng.uniform(0.2, 1.0, 600)
    candidate = baseline - rng.uniform(0.0, 0.05, 600)
    one = mean_ratio_interval(baseline, candidate, 0.95)
    other = mean_ratio_interval(scale * baseline, scale * candidate, 0.95)
    assert one is not None and other is not None
    assert (one.low, one.high) == (pytest.approx(other.low, rel=1e-9), pytest.approx(other.high, rel=1e-9))
    assert one.low < candidate.mean() / baseline.mean() < one.high


def test_mean_interval_is_normal_when_scores_are_many() -> None:
    scores = np.random.default_rng(1).normal(3.0, 2.0, 10_000)
    interval = mean_interval(scores, 0.95)
    assert interval.high - interval.low == pytest.approx(2 * 1.959964 * scores.std(ddof=1) / 100, rel=1e-6)
