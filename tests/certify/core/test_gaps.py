"""Gaps between groups: worked values, symmetry, and how often the intervals hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certify.core.statistics.gaps import (
    WIDER_ERROR,
    Bounded,
    absolute,
    absolute_gap_change,
    change,
    extremes_difference,
    gap,
    gap_change,
    mover_difference,
    mover_ratio,
    rate,
)
from certify.core.statistics.multiple import holm, mcnemar_p_values, simultaneous
from certify.core.statistics.proportions import (
    PairedTable,
    difference_interval,
    difference_samples_needed,
    mcnemar_p,
)

counts = st.integers(0, 200)
tables = st.builds(PairedTable, counts, counts, counts, st.integers(1, 200))


def test_mover_difference_matches_the_examples_of_newcombe() -> None:
    # Newcombe (1998), "Interval estimation for the difference between independent proportions", table II, column (a),
    # method 10: 56/70 - 48/80 gives 0.0524 to 0.3339.
    found = mover_difference(rate(56, 70, 0.95), rate(48, 80, 0.95))
    assert (found.low, found.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_mover_ratio_contains_the_root_of_its_equation() -> None:
    one, other = rate(30, 100, 0.95), rate(60, 100, 0.95)
    found = mover_ratio(one, other)
    # Both ends r solve (one - r other)^2 = (distance of one's end)^2 + r^2 (distance of the other's end)^2.
    for r, near, far in ((found.low, one.low, other.high), (found.high, one.high, other.low)):
        left = (one.value - r * other.value) ** 2
        right = (one.value - near) ** 2 + r**2 * (other.value - far) ** 2
        assert left == pytest.approx(right, rel=1e-9)


@pytest.mark.parametrize(("one", "other"), [(0, 0), (3, 0), (0, 5)])
def test_mover_ratio_is_bounded_or_marked_unbounded_when_a_rate_is_zero(one: int, other: int) -> None:
    found = mover_ratio(rate(one, 10, 0.95), rate(other, 10, 0.95))
    assert found.low == 0 and (math.isinf(found.high) or found.high > 0)
    assert not math.isnan(found.value)


@given(tables, tables)
def test_gap_change_flips_its_sign_when_groups_are_swapped(one: PairedTable, other: PairedTable) -> None:
    there, back = gap_change(one, other, 0.95), gap_change(other, one, 0.95).negative()
    assert (there.value, there.low, there.high) == pytest.approx((back.value, back.low, back.high), abs=1e-12)


def test_absolute_gap_change_equals_the_signed_one_when_the_sign_is_clear() -> None:
    wide, narrow = PairedTable(800, 10, 20, 170), PairedTable(300, 8, 30, 662)
    signed, found = gap_change(wide, narrow, 0.95), absolute_gap_change(wide, narrow, 0.95)
    assert (found.value, found.low, found.high) == pytest.approx((signed.value, signed.low, signed.high), abs=1e-12)
    turned = absolute_gap_change(narrow, wide, 0.95)
    assert (turned.low, turned.high) == pytest.approx((found.low, found.high), abs=1e-9)


def test_absolute_gap_change_is_small_when_the_gap_changes_sign() -> None:
    # Ahead by 7.5 points before and behind by 7.5 after: the signed gap fell by 15 points, its size did not change.
    one, other = PairedTable(500, 25, 175, 300), PairedTable(500, 100, 100, 300)
    assert gap_change(one, other, 0.95).high < -0.1
    found = absolute_gap_change(one, other, 0.95)
    assert found.value == pytest.approx(0) and found.low < 0 < found.high


BEHIND, AHEAD = PairedTable(230, 21, 30, 119), PairedTable(250, 29, 21, 100)
"""Their signed gap fell, and its sum is below 0, each by some 1.7 standard errors: neither is shown alone."""


def test_absolute_gap_change_is_shown_when_change_and_sum_are_both_nearly_shown() -> None:
    assert gap_change(BEHIND, AHEAD, 0.95).high > 0 > gap_change(BEHIND, AHEAD, 1 - WIDER_ERROR * 0.05).high
    found = absolute_gap_change(BEHIND, AHEAD, 0.95)
    assert 0 < found.low < found.value == pytest.approx(17 / 400)
    turned = absolute_gap_change(AHEAD, BEHIND, 0.95)
    assert (turned.low, turned.high) == pytest.approx((found.low, found.high), abs=1e-12)


@pytest.mark.parametrize("both", [250, 200], ids=["the sum is near 0", "the sum is far from 0"])
def test_absolute_gap_change_is_not_shown_when_only_one_of_change_and_sum_is_nearly_shown(both: int) -> None:
    other = PairedTable(both, 21, 30, 349 - both)
    found = absolute_gap_change(other, AHEAD, 0.95)
    assert found.low < 0 < found.high
    if both == 200:  # only the change decides
        signed = gap_change(other, AHEAD, 0.95).negative()
        assert (found.low, found.high) == pytest.approx((signed.low, signed.high), abs=1e-12)


def test_absolute_gap_change_is_not_shown_when_the_change_is_far_from_shown() -> None:
    assert absolute_gap_change(PairedTable(230, 21, 24, 125), PairedTable(250, 21, 21, 108), 0.95).low < 0


def test_confidence_below_the_raised_error_is_kept() -> None:
    assert absolute_gap_change(BEHIND, AHEAD, 0.5).value == pytest.approx(17 / 400)


@settings(max_examples=30)
@given(tables, tables)
def test_absolute_gap_change_contains_its_value(one: PairedTable, other: PairedTable) -> None:
    found = absolute_gap_change(one, other, 0.95)
    before, after = (gap(one, other, arm, 0.95).value for arm in ("baseline", "candidate"))
    assert found.value == pytest.approx(abs(after) - abs(before))
    assert found.low <= found.value <= found.high


def coverage(draws: int, n: int, before: float, changed: tuple[float, float], shift: float, seed: int) -> float:
    """Share of simulated pairs of groups whose interval holds the true change of the absolute gap."""
    rng = np.random.default_rng(seed)
    (lost, won), held = changed, 0
    shares = []
    for right, extra in ((before, 0.0), (before + shift, 0.01)):
        shares.append([right - lost - extra, won, lost + extra, 1 - right - won])
    truth = abs(shares[1][0] + shares[1][1] - shares[0][0] - shares[0][1]) - abs(shift)
    for _ in range(draws):
        one, other = (PairedTable(*rng.multinomial(n, share).tolist()) for share in shares)
        found = absolute_gap_change(other, one, 0.95)
        held += found.low <= truth <= found.high
    return held / draws


@pytest.mark.parametrize("shift", [0.0, 0.02, 0.1])
def test_absolute_gap_change_covers_the_truth_when_gaps_are_simulated(shift: float) -> None:
    assert 0.93 <= coverage(400, 200, 0.7, (0.04, 0.03), shift, 1) <= 0.99


def test_absolute_gap_change_covers_a_gap_that_opens_when_there_was_none_before() -> None:
    # Nothing before and 8 points after: the sum of both gaps is all that tells which way the gap points.
    rng, held = np.random.default_rng(2), 0
    one, other = (0.66, 0.04, 0.04, 0.26), (0.60, 0.02, 0.10, 0.28)
    for _ in range(400):
        first, second = (PairedTable(*rng.multinomial(300, shares).tolist()) for shares in (one, other))
        found = absolute_gap_change(first, second, 0.95)
        held += found.low <= 0.08 <= found.high
    assert 0.93 <= held / 400 <= 0.99


def test_cells_hold_simultaneously_when_their_intervals_are_bonferroni() -> None:
    rng, confidence, held = np.random.default_rng(3), simultaneous(0.95, 6), 0
    shares, truth = [0.78, 0.03, 0.05, 0.14], -0.02
    for _ in range(150):
        cells = [PairedTable(*rng.multinomial(n, shares).tolist()) for n in (20, 40, 80, 150, 250, 400)]
        ends = [difference_interval(cell, confidence) for cell in cells]
        held += all(one.low <= truth <= one.high for one in ends)
    assert held / 150 >= 0.95


@pytest.mark.parametrize(
    ("table", "needed"),
    [(PairedTable(19, 0, 0, 0), 417), (PairedTable(0, 0, 0, 5), 417), (PairedTable(90, 0, 10, 0), None)],
)
def test_samples_needed_are_those_at_which_the_margin_is_shown(table: PairedTable, needed: int | None) -> None:
    confidence = simultaneous(0.95, 14)
    assert difference_samples_needed(table, 0.02, confidence) == needed
    if needed is not None:
        assert difference_interval(PairedTable(needed, 0, 0, 0), confidence).low >= -0.02
        assert difference_interval(PairedTable(needed - 1, 0, 0, 0), confidence).low < -0.02


@given(st.integers(1, 60), st.integers(0, 3), st.integers(0, 3))
def test_samples_needed_show_the_margin_when_all_counts_grow(scale: int, won: int, lost: int) -> None:
    table = PairedTable(100 * scale, won, lost, 20 * scale)
    needed = difference_samples_needed(table, 0.05, 0.95)
    if needed is not None:
        factor = math.ceil(needed / table.n)
        grown = PairedTable(*(factor * count for count in (table.both, won, lost, table.neither)))
        assert difference_interval(grown, 0.95).low >= -0.05 - 1e-12


@given(st.lists(tables, min_size=1, max_size=12))
def test_mcnemar_of_many_equals_that_of_each(many: list[PairedTable]) -> None:
    assert mcnemar_p_values(many).tolist() == pytest.approx([mcnemar_p(one) for one in many])


def test_holm_matches_a_worked_example() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_absolute_reaches_zero_when_the_gap_may_have_either_sign() -> None:
    assert absolute(Bounded(-0.1, -0.3, 0.1)) == Bounded(0.1, 0.0, 0.3)
    assert absolute(Bounded(-0.2, -0.3, -0.1)) == Bounded(0.2, 0.1, 0.3)


def test_extremes_difference_is_not_negative_when_intervals_overlap() -> None:
    assert extremes_difference([Bounded(0.2, 0.1, 0.5), Bounded(0.3, 0.2, 0.6)]).low == 0


def test_change_is_above_zero_when_the_candidate_won() -> None:
    assert change(PairedTable(80, 15, 1, 4), 0.95).low > 0
