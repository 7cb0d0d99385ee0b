"""The bound of an audit by one training, against the paper's formula written out."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from certify.core.accounting import epsilon_showable, epsilon_shown, guesses_p, refutes_claim
from certify.core.errors import UsageError


def formula(m: int, r: int, v: int, epsilon: float, delta: float) -> float:
    """Theorem 5.2 term by term, in exact fractions of the chance that the floating-point exponential gives."""
    chance = Fraction(math.exp(epsilon) / (1 + math.exp(epsilon)))
    mass = [math.comb(r, k) * chance**k * (1 - chance) ** (r - k) for k in range(r + 1)]
    beyond = max(sum(mass[max(0, v - i) : v], Fraction(0)) / i for i in range(1, m + 1))
    return min(1.0, float(sum(mass[v:], Fraction(0)) + 2 * m * Fraction(delta) * beyond))


@settings(deadline=None, max_examples=60)
@given(some.data())
def test_p_matches_the_formula_for_any_counts(data: some.DataObject) -> None:
    m = data.draw(some.integers(1, 24))
    r = data.draw(some.integers(1, m))
    v = data.draw(some.integers(0, r))
    epsilon, delta = data.draw(some.floats(0, 6)), data.draw(some.sampled_from([0.0, 1e-5, 1e-2]))
    assert guesses_p(m, r, v, epsilon, delta) == pytest.approx(formula(m, r, v, epsilon, delta), rel=1e-9, abs=1e-15)


@pytest.mark.parametrize(
    ("guesses", "right", "shown"),
    [(1000, 1000, 5.78), (100, 100, 3.47), (100, 60, 0.05), (200, 199, 3.71), (400, 387, 2.92), (200, 121, 0.18)],
)
def test_bound_matches_the_published_value_for_a_thousand_canaries(guesses: int, right: int, shown: float) -> None:
    assert round(epsilon_shown(1000, guesses, right, 1e-5, 0.95), 2) == shown


def test_bound_is_where_p_equals_the_level() -> None:
    epsilon = epsilon_shown(1000, 200, 180, 1e-5, 0.95)
    assert guesses_p(1000, 200, 180, epsilon, 1e-5) == pytest.approx(0.05, rel=1e-6)


def test_bound_falls_with_delta_and_rises_with_right_guesses() -> None:
    assert epsilon_shown(1000, 200, 190, 1e-3, 0.95) < epsilon_shown(1000, 200, 190, 1e-5, 0.95)
    rising = [epsilon_shown(1000, 200, right, 1e-5, 0.95) for right in range(100, 201, 10)]
    assert rising == sorted(rising) and rising[0] == 0.0 and rising[-1] == epsilon_showable(1000, 200, 1e-5, 0.95)


@pytest.mark.parametrize("counts", [(10, 11, 5), (10, 5, 6), (10, 0, 0), (10, 5, -1)])
def test_impossible_counts_are_refused(counts: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="is impossible"):
        guesses_p(*counts, 1.0, 1e-5)


@pytest.mark.parametrize(("epsilon", "delta"), [(-1.0, 0.0), (1.0, 1.0), (1.0, -0.1)])
def test_impossible_claims_are_refused(epsilon: float, delta: float) -> None:
    with pytest.raises(UsageError, match="at least 0"):
        guesses_p(10, 5, 5, epsilon, delta)


def test_confidence_out_of_range_is_refused() -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        epsilon_shown(10, 5, 5, 0.0, 1.0)


@given(some.floats(0, 60), some.floats(0, 0.5), some.floats(1e-3, 60), some.floats(0, 0.5))
def test_bound_refutes_a_claim_when_it_is_larger_for_a_delta_as_large(
    shown: float, shown_delta: float, claimed: float, delta: float
) -> None:
    refuted = refutes_claim(shown, shown_delta, claimed, delta)
    assert refuted == (shown_delta >= delta and shown > claimed * (1 + 1e-9))
    assert not refutes_claim(claimed * (1 + 1e-10), shown_delta, claimed, delta)  # rounding
