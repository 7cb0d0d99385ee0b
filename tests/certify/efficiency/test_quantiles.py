from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.core.statistics.quantiles import quantile_estimate


def test_median_matches_tables_when_there_are_twenty_values() -> None:
    """Order statistics 6 and 15 enclose the median of 20 values with 95.9 %, in any table of the sign test."""
    estimate = quantile_estimate([float(i) for i in range(20, 0, -1)], 0.5, 0.95)
    assert (estimate.low, estimate.value, estimate.high) == (6.0, 10.0, 15.0)
    assert (estimate.n, estimate.unit) == (20, "s")


def test_ends_are_unbounded_when_there_are_too_few_values() -> None:
    estimate = quantile_estimate([0.1, 0.2, 0.3], 0.99, 0.95)
    assert estimate.value == 0.3
    assert math.isinf(estimate.high)
    assert quantile_estimate([0.1, 0.2, 0.3], 0.5, 0.95).low == 0.0


def test_quantile_refuses_when_there_are_no_values() -> None:
    with pytest.raises(ValueError, match="at least one"):
        quantile_estimate([], 0.5, 0.95)


@pytest.mark.parametrize("probability", [0.5, 0.9, 0.99])
def test_interval_covers_quantile_when_latency_is_skewed(probability: float) -> None:
    rng = np.random.default_rng(7)
    truth = -math.log(1 - probability)
    estimates = [quantile_estimate(rng.exponential(1.0, 500).tolist(), probability, 0.95) for _ in range(2000)]
    assert np.mean([e.low <= truth <= e.high for e in estimates]) >= 0.94


@given(st.lists(st.floats(0, 10), min_size=1, max_size=60), st.sampled_from([0.5, 0.9, 0.99]))
def test_interval_contains_the_value_for_any_values(seconds: list[float], probability: float) -> None:
    estimate = quantile_estimate(seconds, probability, 0.95)
    assert estimate.low <= estimate.value <= estimate.high
    assert estimate.value in seconds
