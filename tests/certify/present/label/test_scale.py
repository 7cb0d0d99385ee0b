"""The decibel scale of the label."""

from __future__ import annotations

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.core.estimate import Estimate
from certify.present.label.scale import ENDS_DB, Scale, decibels, draw_scale


def ratio(value: float, low: float, high: float) -> Estimate:
    return Estimate(value, low, high, "1", 10, "example")


@pytest.mark.parametrize(
    ("given", "ends"),
    [
        ((0.25, 0.24, 0.26), (0, 12)),
        ((0.05, 0.03, 0.06), (0, 16)),
        ((1.3, 1.2, 1.7), (-4, 12)),
        ((1e-9, 1e-9, 1e-9), (0, 40)),
        ((0.5, 0.1, math.inf), (-20, 12)),
    ],
)
def test_scale_extends_to_the_interval(given: tuple[float, float, float], ends: tuple[int, int]) -> None:
    scale = Scale.around(ratio(*given), 0.0, 100.0)
    assert (scale.lowest, scale.highest) == ends


def test_place_is_linear_in_decibels_and_stays_on_the_axis() -> None:
    scale = Scale(10.0, 130.0, 0, 12)
    assert [scale.place(value) for value in (0.0, 6.0, 12.0, -5.0, math.inf)] == [10.0, 70.0, 130.0, 10.0, 130.0]


@given(st.floats(1e-12, 1e12), st.floats(0, 1), st.floats(1, 1e3))
def test_drawing_stays_within_its_bounds(value: float, below: float, above: float) -> None:
    svg = "".join(draw_scale(ratio(value, value * below, value * above), 50.0, 100.0, 700.0, modelled=False))
    places = [float(number) for number in re.findall(r'(?:x1|x2|cx)="([-0-9.e]+)"', svg)]
    assert places and all(100.0 <= place <= 700.0 for place in places)


def test_decibels_are_unbounded_when_nothing_bounds_the_ratio() -> None:
    assert (decibels(0.0), decibels(math.inf), decibels(0.1)) == (math.inf, -math.inf, 10.0)
    assert ENDS_DB[0] < 0 < ENDS_DB[1]


def test_ticks_name_factors_in_both_directions() -> None:
    svg = "".join(draw_scale(ratio(1.3, 1.2, 1.4), 50.0, 100.0, 700.0, modelled=True))
    for words in ("−2 dB", "1.6× more", "same", "10× less", "stroke-dasharray"):
        assert words in svg
