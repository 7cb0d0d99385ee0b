"""A stream of values in a histogram of fixed size: nothing depends on order or portions, nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from compress.quantization.histogram import SIDE, Histogram
from compress.quantization.ranges import Seen, value_range

VALUES = arrays.arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e6, 1e6, width=32))


def filled(*portions):
    histogram = Histogram()
    for portion in portions:
        histogram.add(portion)
    return histogram


@given(VALUES, st.integers(0, 40), st.randoms(use_true_random=False))
def test_counts_are_the_same_in_any_order_and_portions(values, cut, random):
    whole, shuffled = filled(values), np.array(random.sample(list(values), len(values)), dtype=np.float32)
    parts = filled(shuffled[:cut], shuffled[cut:])
    assert parts.width == whole.width
    assert parts.total == whole.total == len(values)
    if whole.width:
        assert (parts.counts == whole.counts).all()


@given(VALUES)
def test_every_value_lies_in_its_bin_and_most_bins_are_used(values):
    histogram = filled(values)
    largest = float(np.abs(values).max())
    if largest:
        assert SIDE / 2 <= largest / histogram.width < SIDE
        assert histogram.counts[np.floor(values.astype(float) / histogram.width).astype(int) + SIDE].all()


def test_size_stays_when_values_grow_without_end():
    histogram = Histogram()
    for power in range(-30, 30):
        histogram.add(np.array([2.0**power, -(2.0**power)]))
    assert histogram.counts.size == 2 * SIDE
    assert histogram.total == 120


def seen(values):
    return Seen(float(values.min()), float(values.max()), filled(values))


@pytest.fixture(scope="module")
def tailed():
    values = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    return np.concatenate([values, np.array([60.0, -50.0], dtype=np.float32)])


def test_minmax_is_what_was_seen(tailed):
    assert value_range(seen(tailed), "minmax") == (-50.0, 60.0)


@pytest.mark.parametrize(("calibration", "largest"), [("percentile", 6.0), ("mse", 50.0), ("entropy", 25.0)])
def test_tails_are_cut_when_the_method_cuts_them(tailed, calibration, largest):
    low, high = value_range(seen(tailed), calibration)
    assert -largest < low < -2
    assert 2 < high < largest


@pytest.mark.parametrize("calibration", ["minmax", "percentile", "entropy", "mse"])
@pytest.mark.parametrize("values", [np.zeros(5), np.full(5, 3.0), -np.arange(1.0, 400.0), np.arange(400.0)])
def test_range_holds_zero_and_nothing_that_was_not_seen(calibration, values):
    low, high = value_range(seen(values), calibration)
    assert min(0, values.min()) <= low <= 0 <= high <= max(0, values.max())


def test_mse_has_the_least_error_of_all_methods(tailed):
    def error(ends):
        scale = (ends[1] - ends[0]) / 255
        codes = np.clip(np.round((tailed - ends[0]) / scale), 0, 255)
        return float(np.mean((tailed - ends[0] - codes * scale) ** 2))

    errors = {name: error(value_range(seen(tailed), name)) for name in ("minmax", "percentile", "entropy", "mse")}
    assert errors["mse"] <= min(errors.values()) * 1.02


@given(VALUES, st.floats(50.5, 99.9))
def test_percentile_keeps_at_least_its_share(values, percentile):
    low, high = value_range(seen(values), "percentile", percentile)
    assert ((values >= low) & (values <= high)).mean() >= percentile / 100 - 1e-9


@pytest.mark.parametrize("sign", [1, -1])
def test_mse_cuts_the_outlier_and_keeps_the_bulk_when_only_one_side_has_a_tail(sign):
    """Even values from -10 to 0 and an outlier at 30; an end at h costs ((10 + h) / 255)^2 / 12 + (30 - h)^2 / n."""
    count = 400_000
    values = sign * np.append(np.linspace(-10, 0, count), 30.0)
    rounding, clipping = 1 / (12 * 255**2), 1 / count
    best = (30 * clipping - 10 * rounding) / (rounding + clipping)
    low, high = sorted(abs(end) for end in value_range(seen(values), "mse"))
    assert low == pytest.approx(10, rel=0.05)
    assert high == pytest.approx(best, rel=0.1)  # a shallow minimum on a grid of ends


def test_entropy_gives_one_side_all_levels_when_there_is_no_other():
    """Counts that are equal over eight bins each: 256 levels lose nothing, 128 lose more than the thin tail has."""
    run = np.arange(2048) // 8
    counts = np.where(run % 2, 100, 1)
    counts[1024:] = np.where(run[1024:] % 2, 2, 1)
    values = np.repeat(np.arange(2048) + 0.5, counts)
    assert value_range(seen(values), "entropy") == (0.0, values.max())
    low, high = value_range(seen(np.concatenate([values, -values])), "entropy")
    assert low == -high
    assert 1000 < high < 1100
