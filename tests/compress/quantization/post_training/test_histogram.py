"""A stream of values in a histogram of fixed size: nothing depends on order or portions, nothing is lost."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from compress.quantization.post_training.histogram import SIDE, Histogram
from compress.quantization.post_training.ranges import ValueStatistics, value_range

VALUES = arrays.arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e6, 1e6, width=32))


def filled(*portions):
    histogram = Histogram()
    for portion in portions:
        histogram.add(portion)
    return histogram


@given(VALUES, st.integers(0, 40), st.randoms(use_true_random=False))
def test_counts_are_the_same_in_any_order_and_chunks(values, cut, random):
    whole, shuffled = filled(values), np.array(random.sample(list(values), len(values)), dtype=np.float32)
    parts = filled(shuffled[:cut], shuffled[cut:])
    assert parts.width == whole.width
    assert parts.total == whole.total == len(values)
    if whole.width:
        assert (parts.counts == whole.counts).all()


@given(VALUES)
def test_every_value_is_in_its_bin_and_most_bins_are_used(values):
    histogram = filled(values)
    largest = float(np.abs(values).max())
    if largest:
        assert SIDE / 2 <= largest / histogram.width < SIDE
        assert histogram.counts[np.floor(values.astype(float) / histogram.width).astype(int) + SIDE].all()


def test_size_is_constant_when_values_grow_without_bound():
    histogram = Histogram()
    for power in range(-30, 30):
        histogram.add(np.array([2.0**power, -(2.0**power)]))
    assert histogram.counts.size == 2 * SIDE
    assert histogram.total == 120


def seen(values):
    return ValueStatistics(float(values.min()), float(values.max()), filled(values))


@pytest.fixture(scope="module")
def tailed():
    values = np.random.default_rng(0).standard_normal(100_000).astype(np.float32)
    return np.concatenate([values, np.array([60.0, -50.0], dtype=np.float32)])


def test_minmax_is_the_observed_range(tailed):
    assert value_range(seen(tailed), "minmax") == (-50.0, 60.0)


@pytest.mark.parametrize(("calibration", "largest"), [("percentile", 6.0), ("mse", 50.0), ("entropy", 25.0)])
def test_tails_are_cut_when_the_method_cuts_them(tailed, calibration, largest):
    low, high = value_range(seen(tailed), calibration)
    assert -largest < low < -2
    assert 2 < high < largest


@pytest.mark.parametrize("calibration", ["minmax", "percentile", "entropy", "mse"])
@pytest.mark.parametrize("values", [np.zeros(5), np.full(5, 3.0), -np.arange(1.0, 400.0), np.arange(400.0)])
def test_range_contains_zero_and_stays_within_the_observed_one(calibration, values):
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


@pytest.mark.parametrize("seed", [0, 3, 7])
def test_mse_moves_the_high_end_alone_when_the_low_one_is_far_out(seed):
    random = np.random.default_rng(seed)
    outliers = -3 * np.abs(random.standard_normal(300))
    values = np.concatenate([random.uniform(0, 1, 5000), outliers, [-15.0]]).astype(np.float32)
    found = seen(values)
    low, high = value_range(found, "mse")
    kept = found.histogram.counts > 0
    centres, counts = found.histogram.centres[kept], found.histogram.counts[kept]

    def error(end):
        scale = (end - low) / 255
        zero = np.round(-low / scale)
        codes = np.clip(np.round(centres / scale) + zero, 0, 255)
        return float((counts * (centres - (codes - zero) * scale) ** 2).sum())

    together = float(values.max()) * low / float(values.min())  # where the search over both ends leaves the high one
    assert error(high) <= min(error(together * share) for share in np.linspace(0.125, 1, 96)) * (1 + 1e-9)
    assert high < together


def test_entropy_has_all_levels_for_one_side_when_values_have_one_sign():
    """256 levels for values of one sign and 128 for each of two: more levels, so less is cut."""
    values = np.abs(np.random.default_rng(0).standard_t(3, 100_000)).astype(np.float32)
    _, one_sided = value_range(seen(values), "entropy")
    _, two_sided = value_range(seen(np.concatenate([values, -values])), "entropy")
    assert one_sided > two_sided
