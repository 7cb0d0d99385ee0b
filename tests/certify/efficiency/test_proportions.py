from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from certify.core.statistics.proportions import (
    PairedTable,
    difference_interval,
    difference_score,
    mcnemar_mid_p,
    mcnemar_p,
    ratio_interval,
    ratio_score,
    samples_needed,
    wilson_interval,
    z_quantile,
)

COUNTS = st.integers(0, 500)
TABLES = st.builds(PairedTable, COUNTS, COUNTS, COUNTS, COUNTS)
Z2 = z_quantile(0.95) ** 2


def _likeliest(table: PairedTable, ratio: float | None, difference: float) -> float:
    """Constrained estimate of the share of only_baseline by brute force over a grid, as a second way to the score."""
    n = table.n
    grid = np.linspace(0, 1, 200_001)[1:-1]
    if ratio is None:
        shares = (grid + difference, grid, 1 - 2 * grid - difference)
        counts: tuple[float, ...] = (table.only_candidate, table.only_baseline, table.both + table.neither)
    else:
        s = (n - table.neither) / n
        shares = ((grid + (ratio - 1) * s) / ratio, grid, (s - (1 + ratio) * grid) / ratio)
        counts = (table.only_candidate, table.only_baseline, table.both)
    inside = np.all([share > 0 for share in shares], axis=0)
    logs = sum(
        (count * np.log(np.where(inside, share, 1.0)) for count, share in zip(counts, shares, strict=True)),
        np.zeros_like(grid),
    )
    return float(grid[np.argmax(np.where(inside, logs, -np.inf))])


@pytest.mark.parametrize("ratio", [0.5, 0.95, 1.0, 1.02, 3.0])
@pytest.mark.parametrize("counts", [(80, 3, 9, 8), (5, 40, 2, 3), (10, 10, 10, 10), (900, 1, 4, 95)])
def test_ratio_score_matches_brute_force_when_tables_are_ordinary(counts: tuple[int, ...], ratio: float) -> None:
    table = PairedTable(*counts)
    only_baseline = _likeliest(table, ratio, 0.0)
    s = (table.n - table.neither) / table.n
    only_candidate = (only_baseline + (ratio - 1) * s) / ratio
    deviation = math.sqrt(table.n * ratio * (only_candidate + only_baseline))
    expected = (table.candidate - ratio * table.baseline) / deviation
    assert ratio_score(table, ratio) == pytest.approx(expected, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("difference", [-0.3, -0.02, 0.0, 0.05, 0.6])
@pytest.mark.parametrize("counts", [(80, 3, 9, 8), (5, 40, 2, 3), (10, 10, 10, 10), (900, 1, 4, 95)])
def test_difference_score_matches_brute_force_when_tables_are_ordinary(
    counts: tuple[int, ...], difference: float
) -> None:
    table = PairedTable(*counts)
    share = _likeliest(table, None, difference)
    deviation = math.sqrt(table.n * (2 * share + difference - difference**2))
    expected = (table.only_candidate - table.only_baseline - table.n * difference) / deviation
    assert difference_score(table, difference) == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_score_at_one_is_that_of_mcnemar_when_samples_are_discordant() -> None:
    table = PairedTable(80, 4, 12, 4)
    assert ratio_score(table, 1.0) == pytest.approx((4 - 12) / math.sqrt(16))
    assert difference_score(table, 0.0) == pytest.approx((4 - 12) / math.sqrt(16))


def test_intervals_have_closed_form_when_no_sample_is_discordant() -> None:
    table = PairedTable(450, 0, 0, 50)
    ratio = ratio_interval(table, 0.95)
    assert ratio.high == pytest.approx(1 + Z2 / 450, rel=1e-12)
    assert ratio.low == pytest.approx(1 / (1 + Z2 / 450), rel=1e-12)
    assert difference_interval(table, 0.95).high == pytest.approx(Z2 / (500 + Z2), rel=1e-10)


@pytest.mark.parametrize(
    ("counts", "low_is_zero", "high_is_unbounded"),
    [
        ((0, 0, 5, 10), True, False),
        ((0, 5, 0, 10), False, True),
        ((0, 0, 0, 10), True, True),
        ((9, 0, 0, 0), False, False),
    ],
)
def test_ratio_interval_is_unbounded_when_a_model_got_nothing_right(
    counts: tuple[int, ...], low_is_zero: bool, high_is_unbounded: bool
) -> None:
    interval = ratio_interval(PairedTable(*counts), 0.95)
    assert (interval.low == 0.0) == low_is_zero
    assert math.isinf(interval.high) == high_is_unbounded


@given(TABLES)
def test_ratio_interval_contains_the_estimate_and_mirrors_when_models_are_swapped(table: PairedTable) -> None:
    assume(table.candidate > 0 and table.baseline > 0)
    interval = ratio_interval(table, 0.95)
    mirrored = ratio_interval(table.exchanged(), 0.95)
    assert interval.low <= table.candidate / table.baseline * (1 + 1e-12)
    assert interval.high >= table.candidate / table.baseline * (1 - 1e-12)
    assert interval.low == pytest.approx(1 / mirrored.high, rel=1e-9)
    assert abs(ratio_score(table, interval.high)) == pytest.approx(z_quantile(0.95), rel=1e-4)


@given(TABLES)
def test_difference_interval_contains_the_estimate_for_any_table(table: PairedTable) -> None:
    assume(table.n > 0)
    interval = difference_interval(table, 0.95)
    observed = (table.only_candidate - table.only_baseline) / table.n
    assert -1 <= interval.low <= observed + 1e-12
    assert observed - 1e-12 <= interval.high <= 1


@given(TABLES, st.integers(1, 50))
def test_ratio_interval_falls_when_the_candidate_gets_fewer_right(table: PairedTable, moved: int) -> None:
    assume(table.both > moved)
    worse = PairedTable(table.both - moved, table.only_candidate, table.only_baseline + moved, table.neither)
    assert ratio_interval(worse, 0.95).low < ratio_interval(table, 0.95).low


@given(st.integers(1, 400), st.data())
def test_wilson_interval_contains_the_share_for_any_counts(n: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, n))
    interval = wilson_interval(k, n, 0.95)
    assert 0 <= interval.low <= k / n + 1e-12
    assert k / n - 1e-12 <= interval.high <= 1


def test_wilson_interval_matches_published_value_when_ten_of_a_hundred() -> None:
    interval = wilson_interval(10, 100, 0.95)
    assert (interval.low, interval.high) == (pytest.approx(0.05523, abs=1e-5), pytest.approx(0.17437, abs=1e-5))


@pytest.mark.parametrize(("oc", "ob", "expected"), [(0, 0, 1.0), (5, 5, 1.0), (0, 6, 2 / 64), (1, 7, 2 * 9 / 256)])
def test_mcnemar_is_binomial_when_counts_are_small(oc: int, ob: int, expected: float) -> None:
    assert mcnemar_p(PairedTable(100, oc, ob, 10)) == pytest.approx(expected)


@pytest.mark.parametrize(("oc", "ob", "expected"), [(0, 0, 1.0), (5, 5, 1.0), (0, 6, 1 / 64), (1, 7, 10 / 256)])
def test_mcnemar_mid_p_takes_half_of_the_observed_probability_when_counts_are_small(
    oc: int, ob: int, expected: float
) -> None:
    assert mcnemar_mid_p(PairedTable(100, oc, ob, 10)) == pytest.approx(expected)
    assert mcnemar_mid_p(PairedTable(7, ob, oc, 10)) == pytest.approx(expected)


def test_mcnemar_keeps_its_level_when_models_are_equally_good() -> None:
    """Exact: never above 5 %; mid-p: close to it, where the exact test stays far below."""
    gained = np.random.default_rng(0).binomial(20, 0.5, size=20_000)
    called = {
        p: np.mean([value <= 0.05 for value in (p(PairedTable(500, k, 20 - k, 9)) for k in gained.tolist())])
        for p in (mcnemar_p, mcnemar_mid_p)
    }
    assert called[mcnemar_p] <= 0.05
    assert called[mcnemar_p] <= called[mcnemar_mid_p] <= 0.055


def test_samples_needed_is_where_interval_reaches_margin_when_loss_is_below_it() -> None:
    table = PairedTable(1450, 3, 8, 39)
    needed = samples_needed(table, 0.5, 0.95)
    assert needed is not None and needed > table.n
    factor = 1_000_000
    at = [PairedTable(*(round(factor * c * n / table.n) for c in (1450, 3, 8, 39))) for n in (needed, needed - 10)]
    # Scaled up and the score scaled down again: shares to six digits, without rounding whole samples.
    scores = [ratio_score(t, 0.995) / math.sqrt(factor) for t in at]
    assert scores[0] == pytest.approx(z_quantile(0.95), rel=1e-3)
    assert scores[0] >= z_quantile(0.95) * (1 - 1e-6) > scores[1]


def test_samples_needed_is_none_when_observed_loss_reaches_margin() -> None:
    assert samples_needed(PairedTable(480, 0, 10, 10), 1.0, 0.95) is None


@pytest.mark.parametrize("n", [500, 1500, 5000, 10000])
@pytest.mark.parametrize("discordant", [(0.001, 0.001), (0.001, 0.004), (0.005, 0.015)])
def test_ratio_interval_covers_truth_when_few_samples_are_discordant(n: int, discordant: tuple[float, float]) -> None:
    """2,500 experiments each; ``pytest -s`` shows Wald's interval beside it, which fails where a cell stays empty."""
    gained, lost = discordant
    shares = np.array([0.93, gained, lost, 0.07 - gained - lost])
    truth = (shares[0] + gained) / (shares[0] + lost)
    draws = np.random.default_rng(n).multinomial(n, shares, size=2500)
    z, cache, covered, wald = z_quantile(0.95), {}, [], []
    for counts in map(tuple, draws.tolist()):
        if counts not in cache:
            table = PairedTable(*counts)
            interval = ratio_interval(table, 0.95)
            log_ratio = math.log(table.candidate / table.baseline)
            error = math.sqrt((counts[1] + counts[2]) / (table.candidate * table.baseline))
            cache[counts] = (
                interval.low <= truth <= interval.high,
                abs(log_ratio - math.log(truth)) <= z * error,
            )
        covered.append(cache[counts][0])
        wald.append(cache[counts][1])
    print(f"n={n:5d} gained {gained:.1%} lost {lost:.1%}: {np.mean(covered):.1%} (Wald {np.mean(wald):.1%})")
    assert np.mean(covered) >= 0.93
    if n * gained < 1 < n * lost:
        assert np.mean(wald) < 0.9
