"""Areas under ROC curves against a count of all pairs, and shares at few false alarms against a search."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some
from scipy import stats

from certify.core.statistics.areas import (
    area_difference_interval,
    area_interval,
    at_false_alarms,
    placements,
)
from certify.core.statistics.proportions import clopper_pearson

SCORES = some.lists(some.integers(-4, 4).map(float), min_size=1, max_size=25).map(np.array)


def counted(positives: np.ndarray, negatives: np.ndarray) -> float:
    pairs = positives[:, None] - negatives[None, :]
    return float(((pairs > 0) + 0.5 * (pairs == 0)).mean())


@given(SCORES, SCORES)
def test_area_is_the_share_of_pairs_in_order_for_any_scores(positives: np.ndarray, negatives: np.ndarray) -> None:
    found = placements(positives, negatives)
    assert found.area == pytest.approx(counted(positives, negatives))
    assert found.negatives.mean() == pytest.approx(found.area)


def test_interval_of_an_area_has_nominal_coverage() -> None:
    random, true, covered = np.random.default_rng(1), stats.norm.cdf(1 / np.sqrt(2)), 0
    for _ in range(300):
        ends = area_interval(placements(random.normal(1, 1, 80), random.normal(0, 1, 60)), 0.95)
        covered += ends.low <= true <= ends.high
    assert 0.91 <= covered / 300 <= 0.98


def test_interval_is_not_a_point_when_every_pair_is_in_order() -> None:
    ends = area_interval(placements(np.array([3.0, 4.0]), np.array([1.0, 2.0])), 0.95)
    assert ends.low < 0.5 and ends.high == 1.0


def test_paired_difference_is_narrower_when_scores_are_correlated() -> None:
    random = np.random.default_rng(2)
    members, others = random.normal(1, 1, 200), random.normal(0, 1, 200)
    first = placements(members, others)
    alike = placements(members + random.normal(0, 0.1, 200), others + random.normal(0, 0.1, 200))
    apart = placements(random.normal(1, 1, 200), random.normal(0, 1, 200))
    narrow, wide = (area_difference_interval(first, other, 0.95) for other in (alike, apart))
    assert narrow.high - narrow.low < 0.2 * (wide.high - wide.low)
    assert narrow.low <= alike.area - first.area <= narrow.high


@given(SCORES, SCORES, some.floats(0, 1))
def test_share_at_false_alarms_is_the_best_of_all_thresholds(
    positives: np.ndarray, negatives: np.ndarray, rate: float
) -> None:
    found = at_false_alarms(positives, negatives, rate)
    allowed = [
        int((positives > level).sum())
        for level in (-np.inf, *negatives)
        if (negatives > level).sum() <= rate * len(negatives) + 1e-9
    ]
    assert found.found == max(allowed) and found.alarms <= rate * len(negatives) + 1e-9
    assert (found.positives, found.negatives) == (len(positives), len(negatives))


@pytest.mark.parametrize(("successes", "n"), [(0, 1), (0, 50), (1, 50), (25, 50), (49, 50), (50, 50), (3, 10_000)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_clopper_pearson_matches_the_exact_interval_of_scipy(successes: int, n: int, confidence: float) -> None:
    expected = stats.binomtest(successes, n).proportion_ci(confidence, "exact")
    found = clopper_pearson(successes, n, confidence)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), rel=1e-9)


def test_intervals_of_a_threshold_are_exact() -> None:
    found = at_false_alarms(np.arange(100.0), np.arange(-900.0, 100.0), 0.01)
    assert found.alarms == 10 and found.alarm_interval(0.95) == clopper_pearson(10, 1000, 0.95)
    assert found.share_interval(0.95) == clopper_pearson(found.found, 100, 0.95)
