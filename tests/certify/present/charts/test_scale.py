from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.present.charts.scale import Scale, scale

VALUES = st.lists(st.floats(1e-9, 1e9), min_size=1, max_size=8)


@given(values=VALUES, logarithmic=st.booleans())
def test_scale_keeps_order_and_margins_for_any_values(values: list[float], logarithmic: bool) -> None:
    axis = scale(values, 10, 110, logarithmic=logarithmic)
    places = [axis.place(value) for value in sorted(values)]
    assert places == sorted(places)
    assert all(10 <= place <= 110 for place in places)


@given(values=VALUES, logarithmic=st.booleans(), most=st.integers(3, 7))
def test_ticks_are_few_and_inside_for_any_values(values: list[float], logarithmic: bool, most: int) -> None:
    axis = scale(values, 0, 100, logarithmic=logarithmic)
    ticks = axis.ticks(most)
    assert len(ticks) <= most + 1
    slack = (axis.high - axis.low) * 1e-6
    assert all(axis.low - slack <= tick <= axis.high + slack for tick in ticks)


@pytest.mark.parametrize("logarithmic", [False, True])
def test_scale_places_values_when_they_are_extreme(logarithmic: bool) -> None:
    values = [5e-324, 1e-308, 1.0, 1e308, -1e308, math.inf, 0.0]
    axis = scale(values, 0, 100, logarithmic=logarithmic)
    assert all(0 <= axis.place(value) <= 100 for value in values)
    assert scale([1e308], 0, 100, logarithmic=logarithmic).ticks(5)


def test_place_stays_on_axis_when_value_is_unbounded() -> None:
    axis = scale([1.0, 2.0, math.inf], 0, 100)
    assert axis.place(math.inf) == 100
    assert axis.place(-math.inf) == 0


@pytest.mark.parametrize(
    ("axis", "ticks"),
    [
        (Scale(0, 10, 0, 1), [0, 2, 4, 6, 8, 10]),
        (Scale(96.2, 98.9, 0, 1), [97, 98]),
        (Scale(0.09, 1.3, 0, 1, logarithmic=True), [0.1, 0.2, 0.5, 1]),
        (Scale(1e-3, 2e3, 0, 1, logarithmic=True), [1e-3, 1e-1, 10, 1e3]),
    ],
)
def test_ticks_are_round_when_axis_is(axis: Scale, ticks: list[float]) -> None:
    assert axis.ticks(5) == pytest.approx(ticks)


@pytest.mark.parametrize("values", [(2.65e-3, 0.2), (0.4, 31.0), (3e-6, 4e-4), (9.0, 110.0)])
def test_log_ticks_cover_the_data_when_they_span_a_decade_or_two(values: tuple[float, float]) -> None:
    axis = scale(values, 0, 100, logarithmic=True)
    places = [0, *(axis.place(tick) for tick in axis.ticks(5)), 100]
    assert len(places) >= 4
    assert max(after - before for before, after in itertools.pairwise(places)) <= 55
