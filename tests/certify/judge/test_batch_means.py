"""Coverage of the interval is shown by simulation, on every kind of noise that a shared machine makes."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.judge.batch_means import Series, batch_rule, mean_interval
from certify.judge.blocks import blocks_needed
from certify.judge.edition import Edition, load_edition

EXPERIMENTS = 2500
TRUTH = math.log(0.3)
WINDOW = 0.02  # standard deviation of the logarithm of one window
COLUMNS = (1.0, -1.0)


def _signs(rng: np.random.Generator, shape: tuple[int, int]) -> Series:
    """+1 for ABBA, -1 for BAAB: (experiments, blocks, 4), the candidate where it is negative."""
    pattern = np.array([1.0, -1.0, -1.0, 1.0])
    return rng.choice(COLUMNS, size=shape)[..., None] * pattern


def _ratios(rng: np.random.Generator, common: Series) -> Series:
    """Block log-ratios (experiments, blocks) of windows with own noise and what both arms share at a time."""
    signs = _signs(rng, common.shape[:2])
    logs = common + WINDOW * rng.standard_normal(common.shape) + np.where(signs < 0, TRUTH, 0.0)
    return -np.sum(logs * signs, axis=2) / 2


def _white(rng: np.random.Generator, blocks: int) -> Series:
    return _ratios(rng, np.zeros((EXPERIMENTS, blocks, 4)))


def _drifting(rng: np.random.Generator, blocks: int) -> Series:
    """The machine warms up by 10 %, fast at first, while its speed wanders at random."""
    time = np.arange(4.0 * blocks)
    slope = rng.uniform(-0.002, 0.004, (EXPERIMENTS, 1)) * time
    warm = 0.1 * (1 - np.exp(-time / rng.uniform(5, 40, (EXPERIMENTS, 1))))
    walk = np.cumsum(0.01 * rng.standard_normal((EXPERIMENTS, 4 * blocks)), axis=1)
    return _ratios(rng, (slope + warm + walk).reshape(EXPERIMENTS, blocks, 4))


def _stepped(rng: np.random.Generator, blocks: int) -> Series:
    """A neighbour comes and goes, and costs 20 % while it is there."""
    switches = rng.random((EXPERIMENTS, 4 * blocks)) < 0.15
    there = (np.cumsum(switches, axis=1) + rng.integers(2, size=(EXPERIMENTS, 1))) % 2
    return _ratios(rng, 0.2 * there.reshape(EXPERIMENTS, blocks, 4))


def _autocorrelated(phi: float) -> Callable[[np.random.Generator, int], Series]:
    def draw(rng: np.random.Generator, blocks: int) -> Series:
        noise = rng.standard_normal((EXPERIMENTS, blocks))
        for i in range(1, blocks):
            noise[:, i] = phi * noise[:, i - 1] + math.sqrt(1 - phi**2) * noise[:, i]
        return TRUTH + WINDOW * noise

    return draw


KINDS = {
    "white": _white,
    "drifting": _drifting,
    "stepped by a neighbour": _stepped,
    "autocorrelated 0.2": _autocorrelated(0.2),
    "autocorrelated 0.35": _autocorrelated(0.35),
    "autocorrelated 0.5": _autocorrelated(0.5),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("blocks", [10, 14, 20, 30, 60])
def test_interval_covers_truth_when_noise_is(kind: str, blocks: int, edition: Edition) -> None:
    """At least 93 % at 10 to 60 blocks; ``pytest -s`` prints coverage and mean width beside the ideal one."""
    draws = KINDS[kind](np.random.default_rng(blocks), blocks)
    intervals = [mean_interval(row, edition) for row in draws]
    coverage = np.mean([abs(i.mean - TRUTH) <= i.half_width for i in intervals])
    # Ideal: the normal interval of somebody who knows the true standard deviation of the mean.
    ideal = 1.96 * np.std(draws.mean(axis=1))
    width = np.mean([i.half_width for i in intervals]) / ideal
    print(f"{kind:24s} {blocks:3d} blocks: covers {100 * coverage:.1f} %, {width:.2f} times the ideal width")
    assert coverage >= 0.93
    assert width < 2.2


@pytest.mark.parametrize("kind", ["white", "stepped by a neighbour", "autocorrelated 0.5"])
@pytest.mark.parametrize("tightness", [0.6, 0.8, 1.2])
def test_interval_covers_truth_when_blocks_were_fixed_from_the_pilot(
    kind: str, tightness: float, edition: Edition
) -> None:
    """Stein's two stages cost little coverage: a lucky pilot ends the run early, so the worst stays above 92 %."""
    draws = KINDS[kind](np.random.default_rng(1), 60)
    half_width = tightness * float(np.mean([mean_interval(row[:10], edition).half_width for row in draws]))
    taken = [blocks_needed(row[:10], half_width, 10, 60, edition) for row in draws]
    intervals = [mean_interval(row[:n], edition) for row, n in zip(draws, taken, strict=True)]
    coverage = np.mean([abs(i.mean - TRUTH) <= i.half_width for i in intervals])
    print(f"{kind:24s} {np.mean(taken):.0f} blocks on average ({min(taken)} to {max(taken)}): {100 * coverage:.1f} %")
    assert len(set(taken)) > 10
    assert coverage >= 0.92


def test_plain_t_interval_misses_truth_when_blocks_are_autocorrelated() -> None:
    """Why the correction is there: the textbook interval covers far less than it says."""
    from scipy.special import stdtrit

    draws = KINDS["autocorrelated 0.5"](np.random.default_rng(3), 20)
    half = stdtrit(19, 0.975) * draws.std(axis=1, ddof=1) / math.sqrt(20)
    assert np.mean(np.abs(draws.mean(axis=1) - TRUTH) <= half) < 0.85


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
    interval = mean_interval(np.full(10, 0.5), edition)
    assert (interval.mean, interval.half_width) == (0.5, 0.0)


def test_interval_refuses_when_there_is_one_value(edition: Edition) -> None:
    with pytest.raises(ValueError, match="at least 2"):
        mean_interval(np.array([1.0]), edition)


def test_blocks_needed_stays_within_bounds_when_noise_is_extreme(edition: Edition) -> None:
    rng = np.random.default_rng(0)
    assert blocks_needed(np.zeros(10), 0.05, 10, 500, edition) == 10
    assert blocks_needed(rng.standard_normal(10), 0.05, 10, 500, edition) == 500
    assert blocks_needed(1e100 * rng.standard_normal(10), 0.05, 10, 500, edition) == 500
    assert blocks_needed(rng.standard_normal(10), 1e-300, 10, 500, edition) == 500
    assert blocks_needed(rng.standard_normal(10), 0.05, 10, 7, edition) == 7


@given(st.floats(0.001, 0.5), st.floats(1.01, 3.0))
def test_blocks_needed_falls_when_the_wanted_width_grows(half_width: float, factor: float) -> None:
    edition = load_edition("2026")
    pilot = 0.05 * np.random.default_rng(5).standard_normal(10)
    narrow = blocks_needed(pilot, half_width, 10, 10**9, edition)
    assert blocks_needed(pilot, half_width * factor, 10, 10**9, edition) <= narrow


@pytest.mark.parametrize("half_width", [0.0, -0.1, math.nan])
def test_blocks_needed_refuses_when_half_width_is_not_positive(half_width: float, edition: Edition) -> None:
    with pytest.raises(ValueError, match="half-width"):
        blocks_needed(np.zeros(10), half_width, 10, 20, edition)


def test_blocks_needed_refuses_when_pilot_is_not_finite(edition: Edition) -> None:
    with pytest.raises(ValueError, match="not finite"):
        blocks_needed(np.array([0.1, math.nan, 0.2]), 0.05, 10, 20, edition)
