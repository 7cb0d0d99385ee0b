"""How answers become one: means to the bit, robust rules, the server's step, and clients that send poison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certify.core.errors import UsageError
from compress.federated import aggregation
from compress.federated.aggregation import Rule, RuleName, ServerStep, aggregate
from compress.federated.client import Client
from compress.federated.forms import Float32, Int8
from compress.federated.local_data import LocalData
from compress.federated.plan import Plan
from tests.compress.federated.conftest import Fleet, accuracy

Make = Callable[..., Fleet]
FORM = Float32(3)


def combined(rows: list[list[float]], rule: Rule, weights: list[float] | None = None) -> list[float]:
    sent = {f"{number:03d}": np.array(row, "<f4").tobytes() for number, row in enumerate(rows)}
    names = sorted(sent)
    return aggregate(names, weights or [1.0] * len(rows), sent.__getitem__, FORM, rule).update.tolist()


def test_mean_divides_by_the_weights_that_clients_have_multiplied_by() -> None:
    assert combined([[2, 0, 0], [1, 3, 0]], Rule(), [2.0, 1.0]) == [1.0, 1.0, 0.0]


def test_median_and_trimmed_mean_leave_the_outlier_out() -> None:
    rows = [[1, 1, 1], [2, 2, 2], [3, 3, 3], [4, 4, 4], [900, -900, 900]]
    assert combined(rows, Rule("median")) == [3.0, 2.0, 3.0]
    assert combined(rows, Rule("trimmed-mean", 0.2)) == pytest.approx([3.0, 2.0, 3.0])
    assert combined(rows[:4], Rule("trimmed-mean", 0.1)) == [2.5, 2.5, 2.5]


def test_norm_bound_scales_large_updates_to_the_median_norm() -> None:
    assert combined([[1, 0, 0], [0, 1, 0], [0, 0, 300]], Rule("norm-bound")) == pytest.approx([1 / 3] * 3)


@given(st.lists(st.lists(st.floats(-5, 5, width=32), min_size=3, max_size=3), min_size=1, max_size=9))
@settings(max_examples=60, deadline=None)
def test_order_statistics_are_the_same_slice_by_slice(rows: list[list[float]]) -> None:
    for rule in (Rule("median"), Rule("trimmed-mean", 0.3)):
        whole = combined(rows, rule)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(aggregation, "SLICE_NUMBERS", len(rows))
            assert combined(rows, rule) == whole


def test_sum_of_integers_is_exact_where_that_of_floats_is_not() -> None:
    form = Int8((3,), (0.1,))
    sent = {str(number): bytes([100, 27, 1, 0]) for number in range(9)}
    total = aggregate(sorted(sent), [1.0] * 9, sent.__getitem__, form, Rule())
    assert total.integers is not None and total.integers.tolist() == [900, 243, 9, 0]
    assert total.update.tolist() == (np.array([900, 243, 9]) * (0.1 / 127) / 9).astype(np.float32).tolist()


@pytest.mark.parametrize("name", ["median", "trimmed-mean", "norm-bound"])
def test_robust_rules_are_refused_with_masks(name: RuleName) -> None:
    with pytest.raises(UsageError, match="compares single answers, and masked answers reveal only their sum"):
        Plan(1, 10, update="int8-masked", rule=Rule(name))


def test_momentum_and_adam_move_parameters_and_leave_statistics_to_the_mean() -> None:
    learned = np.array([True, True, False])
    weights, update = np.zeros(3, dtype=np.float32), np.array([1, 2, 3], dtype=np.float32)
    step = ServerStep("momentum", lr=0.5, momentum=0.5)
    once, state = step.apply(weights, update, step.empty(3), learned)
    twice, _ = step.apply(once, update, state, learned)
    assert once.tolist() == [0.5, 1.0, 3.0] and twice.tolist() == [1.25, 2.5, 6.0]
    adam = ServerStep("adam", lr=0.1, momentum=0.0, second=0.0)
    made, _ = adam.apply(weights, update, adam.empty(3), learned)
    assert made.tolist() == pytest.approx([0.1, 0.1, 3.0], rel=2e-3)


def flipped_signs(client: Client) -> None:
    client.tamper = lambda update: -10 * update


def flipped_labels(client: Client) -> None:
    honest = client.data

    def wrong() -> LocalData:
        data = honest()
        labels = (data.split.labels + 1) % 4
        cached = None if data.cached is None else (data.cached[0], (data.cached[1] + 1) % 4)
        return LocalData(data.split.relabelled(labels), cached)

    client.data = wrong
    client.tamper = lambda update: 10 * update


POISONS: dict[str, Callable[[Client], None]] = {"signs": flipped_signs, "labels": flipped_labels}
POISONED = ("client-00003", "client-00007")


@pytest.mark.parametrize("poison", POISONS)
@pytest.mark.parametrize("rule", ["mean", "median", "trimmed-mean", "norm-bound"])
def test_robust_rules_survive_a_fifth_of_poisoned_clients_and_the_mean_does_not(
    fleet: Make, rule: RuleName, poison: str
) -> None:
    def changed(name: str, client: Client) -> None:
        if name in POISONED:
            POISONS[poison](client)

    simulation = fleet(10, rounds=12, update="float32", rule=Rule(rule, 0.2))
    simulation.changed = changed
    reached = accuracy(simulation.run())
    assert reached < 0.6 if rule == "mean" else reached > 0.9, reached


@pytest.mark.parametrize("rule", ["median", "norm-bound"])
def test_robust_rules_learn_when_nobody_is_poisoned(fleet: Make, rule: Any) -> None:
    assert accuracy(fleet(10, rounds=12, update="int8", rule=Rule(rule)).run()) > 0.9
