from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.core.estimate import Estimate
from certify.present.headline import accuracy_headline, energy_headline


def ratio(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, low, high, "1", 10, "test")


def test_energy_headline_says_less_with_bound_when_ratio_is_below_one() -> None:
    claim = energy_headline(ratio(0.238, 0.233, 0.243), 0.243)
    assert (claim.figure, claim.meaning, claim.bound) == ("4.2×", "less energy", "at least 4.1× less (95 % interval)")


def test_energy_headline_includes_the_bias_of_the_null_run_when_the_upper_ratio_does() -> None:
    assert energy_headline(ratio(0.25, 0.24, 0.26), 0.30).bound.startswith("at least 3.3× less")


def test_energy_headline_says_more_when_ratio_is_above_one() -> None:
    claim = energy_headline(ratio(1.31, 1.25, 1.365), 1.365)
    assert (claim.figure, claim.meaning, claim.bound) == ("1.31×", "more energy", "at worst 1.37× more (95 % interval)")


def test_energy_headline_states_the_worst_case_when_the_interval_contains_one() -> None:
    claim = energy_headline(ratio(0.91, 0.86, 1.02), 1.02)
    assert claim.meaning == "less energy"
    assert claim.bound == "at worst 1.02× more (95 % interval)"


@pytest.mark.parametrize("upper", [None, math.inf])
def test_energy_headline_has_no_bound_when_upper_ratio_is_unbounded(upper: float | None) -> None:
    assert energy_headline(ratio(0.9, 0.1, 5), upper).bound == "no bound can be shown"


@given(st.floats(0.001, 0.99), st.floats(1.0, 1.5))
def test_energy_headline_never_promises_more_than_interval_when_rounded(value: float, spread: float) -> None:
    upper = value * spread
    claim = energy_headline(ratio(value, value / spread, upper), upper)
    promised = float(claim.bound.split("×")[0].split()[-1])
    assert promised <= 1 / upper * (1 + 1e-9) if upper < 1 else promised >= upper * (1 - 1e-9)


@pytest.mark.parametrize(
    ("loss", "figure", "meaning", "bound"),
    [
        ((0.31, -0.4, 0.81), "0.3 %", "of accuracy lost", "at most 0.9 % lost (95 % interval)"),
        ((-0.22, -0.9, 0.41), "0.2 %", "of accuracy gained", "at most 0.5 % lost (95 % interval)"),
        ((-0.02, -0.3, 0.31), "0.0 %", "of accuracy lost", "at most 0.4 % lost (95 % interval)"),
        ((-0.9, -1.5, -0.3), "0.9 %", "of accuracy gained", "nothing lost (95 % interval)"),
    ],
)
def test_accuracy_headline_says_direction_and_bound_when_loss_is(
    loss: tuple[float, float, float], figure: str, meaning: str, bound: str
) -> None:
    claim = accuracy_headline(Estimate(*loss, "%", 1500, "test"), max(loss[2], 0.0))
    assert (claim.figure, claim.meaning, claim.bound) == (figure, meaning, bound)


def test_accuracy_headline_has_no_bound_when_loss_is_unbounded() -> None:
    assert accuracy_headline(Estimate(5.0, 0.0, math.inf, "%", 3, "test"), None).bound == "no bound can be shown"
