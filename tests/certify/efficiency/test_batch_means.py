"""Coverage of the interval is shown by simulation, on every kind of noise that a shared machine makes."""

from __future__ import annotations

import dataclasses
import math
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from certify.assessments.efficiency.edition import Edition, load_edition
from certify.core.statistics.batch_means import batch_rule, half_widths, mean_interval
from certify.core.statistics.blocks import blocks_needed

KINDS = (
    "white",
    "drifting",
    "stepped by a neighbour",
    "autocorrelated 0.2",
    "autocorrelated 0.35",
    "autocorrelated 0.5",
)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("blocks", [10, 14, 20, 30, 60])
def test_interval_covers_truth_when_noise_is(kind: str, blocks: int, noise: ModuleType, edition: Edition) -> None:
    """3,000 experiments each; tests/benchmarks/coverage.py prints the table."""
    found = noise.fixed(kind, blocks, edition)
    assert found.covered >= 0.93
    assert found.width < 2.2


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("tightness", [0.4, 0.6, 0.8, 1.2])
def test_interval_covers_truth_when_blocks_were_fixed_from_the_pilot(
    kind: str, tightness: float, noise: ModuleType, edition: Edition
) -> None:
    """The interval as the main run has it: a lucky pilot ends the run early, and the truth is covered all the same."""
    found = noise.from_pilot(kind, tightness, edition)
    assert found.lengths > 10
    assert found.covered >= 0.93
    assert found.width < 2.2


def test_noise_kinds_match_the_documented_ones(noise: ModuleType) -> None:
    assert tuple(noise.KINDS) == KINDS
    assert noise.EXPERIMENTS >= 2000


def test_interval_includes_the_pilots_spread_when_it_was_wider(edition: Edition) -> None:
    """A quarter of the blocks are the pilot's: a quarter of the squared width is that of Stein's own interval."""
    values = np.concatenate([np.repeat([0.1, -0.1], 5), np.tile([0.01, -0.01], 15)])
    alone, staged = mean_interval(values, edition.plan), mean_interval(values, edition.plan, pilot=10)
    stein = mean_interval(values[:10], edition.plan).half_width * math.sqrt(10 / 40)
    assert stein > alone.half_width
    assert staged.half_width == pytest.approx(math.sqrt(0.75 * alone.half_width**2 + 0.25 * stein**2))
    assert staged.standard_error == alone.standard_error
    assert mean_interval(values[::-1].copy(), edition.plan, pilot=10).half_width == pytest.approx(alone.half_width)
    assert mean_interval(values[:10], edition.plan, pilot=10) == mean_interval(values[:10], edition.plan)


def test_half_widths_match_each_series_when_many_are_given(edition: Edition) -> None:
    many = np.random.default_rng(0).standard_normal((3, 2, 17))
    found = half_widths(many, edition.plan, pilot=10)
    assert found.shape == (3, 2)
    assert found[2, 1] == pytest.approx(mean_interval(many[2, 1], edition.plan, pilot=10).half_width)


def test_plain_t_interval_misses_truth_when_blocks_are_autocorrelated(noise: ModuleType) -> None:
    """Why the correction is there: the textbook interval covers far less than it says."""
    from scipy.special import stdtrit

    draws = noise.KINDS["autocorrelated 0.5"](np.random.default_rng(3), 2500, 20)
    half = stdtrit(19, 0.975) * draws.std(axis=1, ddof=1) / math.sqrt(20)
    assert np.mean(np.abs(draws.mean(axis=1) - noise.TRUTH) <= half) < 0.85


@given(st.integers(2, 400), st.floats(0.0, 2.0), st.floats(0.0, 0.9))
def test_batch_rule_partitions_and_widens_when_given_any_size(n: int, factor: float, phi: float) -> None:
    rule = batch_rule(n, factor, phi)
    assert sum(rule.sizes) == n
    assert max(rule.sizes) - min(rule.sizes) <= 1
    assert len(rule.sizes) >= 2
    assert rule.kappa >= 1 - 1e-9
    assert 0 < rule.degrees <= len(rule.sizes) - 1 + 1e-9


@pytest.mark.parametrize("n", [2, 3, 10, 11, 29, 60])
@pytest.mark.parametrize("phi", [0.0, 0.3, 0.45])
def test_batch_rule_matches_matrix_algebra_when_correlation_is_assumed(n: int, phi: float) -> None:
    """The closed form against the whole n x n covariance matrix."""
    rule = batch_rule(n, 0.8, phi)
    member = np.repeat(np.arange(len(rule.sizes)), rule.sizes)
    within = (member[:, None] == member[None, :]) / np.array(rule.sizes)[member]
    form = (within - np.full((n, n), 1 / n)) / (len(rule.sizes) - 1)
    lag = np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    covariance = np.power(phi, lag, where=lag > 0, out=np.ones((n, n)))
    expected = np.trace(form @ covariance)
    assert rule.kappa == pytest.approx(covariance.sum() / n / expected, rel=1e-12)
    assert rule.degrees == pytest.approx(expected**2 / np.trace(form @ covariance @ form @ covariance), rel=1e-12)


def test_batch_rule_is_plain_t_when_blocks_are_taken_as_independent() -> None:
    rule = batch_rule(12, 0.0, 0.0)
    assert rule.sizes == (1,) * 12
    assert rule.kappa == pytest.approx(1)
    assert rule.degrees == pytest.approx(11)


def test_interval_has_no_width_when_values_are_equal(edition: Edition) -> None:
    interval = mean_interval(np.full(10, 0.5), edition.plan)
    assert (interval.mean, interval.half_width) == (0.5, 0.0)


def test_interval_refuses_when_there_is_one_value(edition: Edition) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        mean_interval(np.array([1.0]), edition.plan)


def test_blocks_needed_stays_within_bounds_when_noise_is_extreme(edition: Edition) -> None:
    rng = np.random.default_rng(0)
    assert blocks_needed(np.zeros(10), 0.05, 10, 500, edition.plan) == 10
    assert blocks_needed(rng.standard_normal(10), 0.05, 10, 500, edition.plan) == 500
    assert blocks_needed(1e100 * rng.standard_normal(10), 0.05, 10, 500, edition.plan) == 500
    assert blocks_needed(rng.standard_normal(10), 1e-300, 10, 500, edition.plan) == 500
    assert blocks_needed(rng.standard_normal(10), 0.05, 10, 7, edition.plan) == 7


@pytest.mark.parametrize("half_width", [0.05, 0.2, 0.5])
def test_blocks_needed_is_the_least_number_that_reaches_the_requested_width(
    half_width: float, edition: Edition
) -> None:
    """Stein 1945 on logarithms: the ratio's upper end, exp(t s / sqrt(n)), is at most 1 + half_width above it."""
    independent = dataclasses.replace(edition.plan, batch_factor=0.0, assumed_autocorrelation=0.0)
    pilot = 0.4 * np.random.default_rng(3).standard_normal(10)
    spread = stats.t.ppf(0.5 + edition.plan.confidence / 2, 9) * pilot.std(ddof=1)
    wanted = next(n for n in range(1, 10**6) if math.exp(spread / math.sqrt(n)) <= 1 + half_width)
    assert blocks_needed(pilot, half_width, 1, 10**6, independent) == wanted


@given(st.floats(0.001, 0.5), st.floats(1.01, 3.0))
def test_blocks_needed_falls_when_the_requested_width_grows(half_width: float, factor: float) -> None:
    edition = load_edition("2026")
    pilot = 0.05 * np.random.default_rng(5).standard_normal(10)
    narrow = blocks_needed(pilot, half_width, 10, 10**9, edition.plan)
    assert blocks_needed(pilot, half_width * factor, 10, 10**9, edition.plan) <= narrow


@pytest.mark.parametrize("half_width", [0.0, -0.1, math.nan])
def test_blocks_needed_refuses_when_half_width_is_not_positive(half_width: float, edition: Edition) -> None:
    with pytest.raises(ValueError, match="half-width"):
        blocks_needed(np.zeros(10), half_width, 10, 20, edition.plan)


def test_blocks_needed_refuses_when_pilot_is_not_finite(edition: Edition) -> None:
    with pytest.raises(ValueError, match="not finite"):
        blocks_needed(np.array([0.1, math.nan, 0.2]), 0.05, 10, 20, edition.plan)
