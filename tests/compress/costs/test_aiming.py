"""Choices, measurements and corrections until a target is met, on tables with made-up costs."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from certify.core.errors import MeasureError
from certify.core.estimate import Estimate
from compress.costs.aiming import Attempt, Met, make_least_lossy
from compress.costs.cost_table import CostTable
from compress.costs.goal import CostGoal, meets
from compress.costs.items import FULL, Item, Variant
from compress.costs.stacks import scaled
from compress.costs.timing import Cost

GROUP = SimpleNamespace(name="g", units=10)
WIDTHS = tuple(range(10, 0, -1))


def variant(width: int) -> Variant:
    return FULL if width == 10 else Variant({"g": width})


VARIANTS = tuple(variant(width) for width in WIDTHS)


def exactly(value: float) -> Estimate:
    return Estimate.exact(float(value), "1", "made up")


def seconds(value: float) -> Cost:
    return Cost(Estimate.exact(float(value), "s", "made up"), None)


ITEM = Item("", (GROUP,), np.zeros((1, 4)), True, VARIANTS, "one")
TABLE = CostTable(
    {}, seconds(10), (ITEM,), {"one": {ITEM.label(variant(width)): seconds(width) for width in WIDTHS}}, 0
)
"""One block that takes all of the model's time, in proportion to its width, and loses 1 for each unit removed."""


class Maker:
    """Makes models whose measured share is a function of the width and of the number of the try."""

    def __init__(self, share, whole: float = 1.0) -> None:
        self.share, self.whole, self.widths = share, whole, list[int]()

    def __call__(self, chosen):
        self.widths.append(chosen[0].widths.get("g", 10))
        share = self.share(self.widths[-1], len(self.widths))
        return share if isinstance(share, str) else Attempt(self.widths[-1], exactly(share))

    def found(self, share: float) -> Met[int] | str:
        losses = [[float(10 - width) for width in WIDTHS]]
        goal = CostGoal("latency", share)
        return make_least_lossy(goal, TABLE, [VARIANTS], losses, exactly(self.whole), self, "the narrowest blocks")


def test_first_choice_is_kept_when_it_costs_what_was_predicted():
    maker = Maker(lambda width, _: width / 10)
    met = maker.found(0.55)
    assert (maker.widths, met.attempt.made, met.lost, met.predicted.value) == ([5], 5, 5.0, 0.5)


def test_narrower_model_is_made_when_the_first_misses_the_target():
    maker = Maker(lambda width, _: 1 - 0.8 * (1 - width / 10))
    met = maker.found(0.6)
    assert maker.widths == [6, 5]
    assert met.predicted.value == pytest.approx(met.attempt.share.value) == pytest.approx(0.6)


def test_wider_model_is_made_when_the_first_costs_much_less_than_needed():
    maker = Maker(lambda width, _: 1 - 1.6 * (1 - width / 10))
    met = maker.found(0.5)
    assert (maker.widths, met.attempt.made) == ([5, 6], 6)


def test_model_is_kept_when_the_wider_one_misses_the_target():
    maker = Maker(lambda width, number: 0.2 if number == 1 else 0.9)
    assert maker.found(0.5).attempt.made == 5
    assert maker.widths[0] == 5
    assert len(maker.widths) > 1
    assert all(later > 5 for later in maker.widths[1:]), "a model that loses more could never be kept"


def test_narrowest_model_is_measured_before_a_correction_refuses_a_target():
    maker = Maker(lambda width, _: 0.3 if width == 2 else 0.1)
    assert maker.found(0.2).attempt.made == 1
    assert maker.widths == [2, 1]


def test_refusal_states_what_was_measured_and_predicted():
    maker = Maker(lambda width, _: 0.5 + width / 20)
    why = maker.found(0.2)
    assert why.startswith("measured 0.6; measured 0.55")
    assert len(maker.widths) == 2
    assert Maker(lambda width, _: width / 10).found(0.05) == "with the narrowest blocks, 0.100 remains"


def test_choice_is_measured_once_when_a_limited_correction_repeats_it():
    maker = Maker(lambda width, _: 1 - 0.1 * (1 - width / 10))
    assert maker.found(0.97).attempt.made == 8
    assert maker.widths == [9, 8]


def test_sentence_of_the_maker_is_the_reason_when_nothing_met_the_target_before():
    assert Maker(lambda *_: "it is broken").found(0.5) == "it is broken"
    maker = Maker(lambda _, number: 0.2 if number == 1 else "it is broken")
    assert maker.found(0.5).attempt.made == 5


def test_error_ends_the_search_only_when_nothing_met_the_target_before():
    def failing(after: int):
        def share(_, number):
            if number > after:
                raise MeasureError("the worker died")
            return 0.2

        return share

    assert Maker(failing(1)).found(0.5).attempt.made == 5
    with pytest.raises(MeasureError):
        Maker(failing(0)).found(0.5)


def test_share_refers_to_the_original_when_earlier_passes_changed_the_model():
    """The table's model costs 0.6 of the original: its prediction is right, and nothing is to be corrected."""
    maker = Maker(lambda width, _: 0.6 * width / 10, whole=0.6)
    met = maker.found(0.3)
    assert maker.widths == [5]
    assert met.predicted.value == pytest.approx(met.attempt.share.value) == pytest.approx(0.3)


def test_correction_and_refusal_refer_to_the_original_when_earlier_passes_changed_the_model():
    maker = Maker(lambda width, _: 0.6 * (1 - 0.8 * (1 - width / 10)), whole=0.6)
    assert maker.found(0.36).attempt.share.value == pytest.approx(0.36)
    assert maker.widths == [6, 5]
    assert maker.found(0.05) == "with the narrowest blocks, 0.060 remains"


def test_target_close_to_1_is_missed_by_a_model_that_saves_nothing():
    assert not meets(CostGoal("latency", 0.99), 1.0)


def test_scaled_cost_keeps_its_sign_and_relative_interval():
    cost = Cost(Estimate(-2.0, -5.0, 1.0, "s", 3, "made up"), Estimate(4.0, 3.0, 5.0, "J", 3, "made up"))
    new, old = (Cost(exactly(value), exactly(3 * value)) for value in (3.0, 2.0))
    found = scaled(cost, new, old)
    assert (found.duration_s.low, found.duration_s.value, found.duration_s.high) == (-7.5, -3.0, 1.5)
    assert (found.energy_j.low, found.energy_j.value, found.energy_j.high) == (4.5, 6.0, 7.5)
