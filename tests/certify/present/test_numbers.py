from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.core.estimate import Estimate
from certify.present.numbers import duration, interval, percent, quantity, rounded, significant, times


@pytest.mark.parametrize(
    ("value", "unit", "written"),
    [
        (0.00342, "J", "3.42 mJ"),
        (12.3456, "J", "12.3 J"),
        (0.0000421, "s", "42.1 µs"),
        (4_089_284_608, "", "4.09 G"),
        (25_557_032, "", "25.6 M"),
        (102_228_128, "B", "102 MB"),
        (0, "J", "0 J"),
        (999.96, "J", "1.00 kJ"),
        (5, "B", "5.00 B"),
        (1234, "B", "1.23 kB"),
    ],
)
def test_quantity_has_prefix_and_three_digits_when_value_is(value: float, unit: str, written: str) -> None:
    assert quantity(value, unit) == written


@given(st.floats(1e-8, 1e13))
def test_quantity_never_has_an_exponent(value: float) -> None:
    number = quantity(value, "J").split()[0]
    assert "e" not in number
    assert len(number.replace(".", "")) <= 5


@given(st.floats(-1e6, 1e6), st.integers(0, 4))
def test_rounded_goes_outward_when_requested(value: float, decimals: int) -> None:
    slack = 1e-8 * max(1.0, abs(value))
    assert float(rounded(value, decimals, "up").replace("−", "-")) >= value - slack
    assert float(rounded(value, decimals, "down").replace("−", "-")) <= value + slack


@pytest.mark.parametrize("direction", ["nearest", "up", "down"])
def test_rounded_keeps_the_value_when_it_is_already_exact(direction: str) -> None:
    assert rounded(0.3, 1, direction) == "0.3"
    assert rounded(0.29, 2, direction) == "0.29"


def test_rounded_has_no_minus_when_it_rounds_to_zero() -> None:
    assert rounded(-0.01, 1) == "0.0"
    assert rounded(-0.01, 1, "up") == "0.0"


def test_significant_rounds_to_digits_when_value_is_small() -> None:
    assert significant(0.02117, 2) == "0.021"
    assert significant(0.0, 2) == "0"


def test_interval_shares_prefix_and_goes_outward_when_value_has_one() -> None:
    estimate = Estimate(0.00342, 0.003331, 0.003512, "J", 10, "test")
    assert interval(estimate, "J") == "3.33 to 3.52"


def test_interval_is_empty_when_count_is_exact() -> None:
    assert interval(Estimate.exact(5, "B", "count"), "B") == ""


def test_interval_says_unbounded_when_an_end_is() -> None:
    assert interval(Estimate(2.0, 1.0, math.inf, "J", 2, "test"), "J") == "1.00 to unbounded"


@pytest.mark.parametrize(("factor", "written"), [(1.034, "1.03×"), (4.2017, "4.2×"), (38.3, "38×")])
def test_times_has_fewer_decimals_when_factor_is_larger(factor: float, written: str) -> None:
    assert times(factor) == written


def test_percent_rounds_up_when_it_is_a_largest_loss() -> None:
    assert percent(0.81, "up") == "0.9 %"
    assert percent(0.81) == "0.8 %"


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(0, "0 s"), (0.0002, "200 µs"), (59.94, "59.9 s"), (59.95, "1 min"), (89.4, "1 min 29 s"),
     (599.4, "9 min 59 s"), (599.6, "10 min"), (629, "10 min"), (3569, "59 min"), (3571, "1 h 0 min"),
     (90_000, "25 h 0 min")],
)  # fmt: skip
def test_duration_is_written_in_minutes_and_hours_from_a_minute_on(seconds, written):
    assert duration(seconds) == written
