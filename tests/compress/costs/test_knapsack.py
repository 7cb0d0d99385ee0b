"""The knapsack's choice is the one that trying everything finds."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compress.costs import knapsack
from compress.costs.knapsack import Option, OverBudget, cheapest, choose, meetings

whole = st.integers(-20, 60).map(float)
loss = st.integers(0, 40).map(float)
options = st.lists(st.builds(Option, whole, loss), min_size=1, max_size=5)
problems = st.lists(options, min_size=1, max_size=5)
few = st.integers(0, 8).map(float)
joining = st.lists(st.builds(Option, few, few, st.sampled_from([False, True, None])), min_size=1, max_size=3)
chains = st.lists(st.tuples(joining, st.sampled_from([0.0, 2.0, 5.0])), min_size=3, max_size=5)
budgets = st.integers(-60, 250).map(float)


def total(items, chosen):
    taken = [options[number] for options, number in zip(items, chosen, strict=True)]
    return sum(o.cost for o in taken), sum(o.loss for o in taken)


def best_of_all(items, budget):
    """Loss and cost of the best choice by trying all, or None."""
    tried = [total(items, numbers) for numbers in itertools.product(*(range(len(each)) for each in items))]
    return min(((loss, cost) for cost, loss in tried if cost <= budget), default=None)


@given(problems, budgets)
@settings(max_examples=150, deadline=None)
def test_choice_matches_exhaustive_search_when_the_problem_is_small(items, budget):
    best = best_of_all(items, budget)
    if best is None:
        with pytest.raises(OverBudget) as raised:
            choose(items, budget)
        assert raised.value.least == sum(min(o.cost for o in each) for each in items)
        return
    cost, loss = total(items, choose(items, budget))
    assert (loss, cost) == best


def saved(taken, shared):
    """What a choice saves where two options that join meet, with nothing but absent items and costs between them."""
    pairs = itertools.combinations(range(len(taken)), 2)
    meet = [(a, b) for a, b in pairs if taken[a].joins and taken[b].joins and all(shared[a + 1 : b + 1])]
    return sum(shared[b] for a, b in meet if all(each.joins is None for each in taken[a + 1 : b]))


@given(chains, st.integers(-5, 40).map(float))
@settings(max_examples=300, deadline=None)
def test_choice_matches_exhaustive_search_when_neighbours_share_costs(problem, budget):
    items, shared = [each for each, _ in problem], [less for _, less in problem]

    def both(numbers):
        taken = [row[number] for row, number in zip(items, numbers, strict=True)]
        met = meetings([each.joins for each in taken], shared)
        assert saved(taken, shared) == sum(less for less, meets in zip(shared, met, strict=True) if meets)
        return sum(each.loss for each in taken), sum(each.cost for each in taken) - saved(taken, shared)

    tried = [both(numbers) for numbers in itertools.product(*(range(len(each)) for each in items))]
    least = min(cost for _, cost in tried)
    assert both(cheapest(items, shared)) == min((loss, cost) for loss, cost in tried if cost == least)
    best = min((each for each in tried if each[1] <= budget), default=None)
    if best is None:
        with pytest.raises(OverBudget) as raised:
            choose(items, budget, shared)
        assert raised.value.least == least
        return
    assert both(choose(items, budget, shared)) == best


@given(problems, budgets, st.integers(0, 80))
@settings(max_examples=80, deadline=None)
def test_loss_does_not_rise_when_the_budget_rises(items, budget, more):
    try:
        tight = total(items, choose(items, budget))[1]
    except OverBudget:
        return
    assert total(items, choose(items, budget + more))[1] <= tight


def test_choice_fits_and_is_close_to_the_best_when_the_front_is_thinned(monkeypatch):
    items = [[Option(float(c), float((17 - c) ** 2 * (n + 3))) for c in range(1, 18)] for n in range(20)]
    exact = total(items, choose(items, 200.5))
    monkeypatch.setattr(knapsack, "MOST_STATES", 40)
    cost, loss = total(items, choose(items, 200.5))
    assert cost <= 200.5
    assert exact[1] <= loss <= 1.1 * exact[1]


def test_cheapest_choice_is_found_when_the_front_is_thinned_and_nothing_else_fits(monkeypatch):
    monkeypatch.setattr(knapsack, "MOST_STATES", 3)
    items = [[Option(c, 10 - c) for c in (0.1, 0.7, 2.3, 5.0)] for _ in range(8)]
    assert choose(items, 8 * 0.1) == (0,) * 8


def test_state_that_joins_is_kept_when_a_cheaper_one_does_not():
    apart, joins = Option(1, 0), Option(2, 0, joins=True)
    assert choose([[apart, joins], [Option(10, 0, joins=True)]], 20, [0, 5]) == (1, 0)


def test_items_on_both_sides_of_an_absent_one_meet_when_both_places_share():
    items = [[Option(5, 0), Option(6, 0, joins=True)], [Option(0, 0, joins=None)], [Option(6, 0, joins=True)]]
    assert choose(items, 20, [0, 5, 5]) == (1, 0, 0)
    assert choose(items, 20, [0, 0, 5]) == (0, 0, 0)


def test_shared_cost_must_be_finite():
    with pytest.raises(ValueError, match="finite"):
        choose([[Option(1, 0, joins=True)]] * 2, 10, [0.0, float("nan")])


@pytest.mark.parametrize("items", [[[]], [[Option(float("nan"), 0)]], [[Option(1, float("inf"))]]])
def test_problem_is_refused_when_an_item_has_no_finite_option(items):
    with pytest.raises(ValueError, match="knapsack"):
        choose(items, 10)


def test_nothing_is_chosen_when_there_are_no_items():
    assert choose([], 0) == cheapest([]) == ()
