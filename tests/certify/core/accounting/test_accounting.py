"""The accountant against published figures, exact arithmetic, numerical integrals and another library."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate

from certify.core.accounting import (
    ORDERS,
    Adjacency,
    GnMax,
    SubsampledGaussian,
    epsilon_from_rdp,
    noise_for,
    require_reachable,
    spent,
)
from certify.core.errors import UsageError

DELTA = 1e-5

TABLE = [
    # q, noise, steps, delta, epsilon
    (1 / 12, 1.5, 480, 1e-5, 7.2207),
    (1 / 12, 0.8, 480, 1e-5, 22.5340),
    (0.01, 1.0, 5000, 1e-5, 4.5961),
    (0.004, 1.1, 15000, 1e-5, 2.5064),
    (256 / 60000, 0.7, 14000, 1e-6, 8.2163),
    (1.0, 20.0, 100, 1e-5, 2.1680),
]
FRACTIONAL_ORDERS = 0.015
"""By which epsilon may exceed that of fractional orders, relative."""


def sgd(rate: float, noise: float, steps: int, delta: float = DELTA, adjacency: Adjacency = "add-remove") -> float:
    return spent([(SubsampledGaussian(noise, rate, steps), 1)], delta, adjacency).epsilon


@pytest.mark.parametrize(("rate", "noise", "steps", "delta", "epsilon"), TABLE)
def test_epsilon_matches_published_values_when_adding_or_removing_a_record(
    rate: float, noise: float, steps: int, delta: float, epsilon: float
) -> None:
    assert sgd(rate, noise, steps, delta) == pytest.approx(epsilon, abs=0.004)


EXACT = [(1 / 12, 1.5, 4), (0.01, 1.0, 64), (0.004, 0.7, 512), (0.9, 3, 7)]


@pytest.mark.parametrize(("rate", "noise", "order"), EXACT)
def test_divergence_matches_the_exact_sum_when_computed_with_fifty_digits(
    rate: float, noise: float, order: int
) -> None:
    mpmath = pytest.importorskip("mpmath")
    with mpmath.workdps(50):
        q, s = mpmath.mpf(rate), mpmath.mpf(noise)
        terms = (
            mpmath.binomial(order, k) * (1 - q) ** (order - k) * q**k * mpmath.exp(mpmath.mpf(k * (k - 1)) / (2 * s**2))
            for k in range(order + 1)
        )
        exact = float(mpmath.log(mpmath.fsum(terms)) / (order - 1))
    found = SubsampledGaussian(noise, rate, 1).rdp([order], "add-remove")[0]
    assert found == pytest.approx(exact, rel=1e-11)


@pytest.mark.parametrize(("rate", "noise", "steps", "delta", "epsilon"), TABLE)
def test_epsilon_is_at_least_that_of_opacus(
    rate: float, noise: float, steps: int, delta: float, epsilon: float
) -> None:
    """Ours is 0 to 1.5 % above: Opacus adds fractional orders, which can only lower the least."""
    rdp = pytest.importorskip("opacus.accountants.analysis.rdp")
    fractional = [1 + x / 10 for x in range(1, 100)]
    theirs = [*fractional, *ORDERS]
    divergence = rdp.compute_rdp(q=rate, noise_multiplier=noise, steps=steps, orders=theirs)
    other, _ = rdp.get_privacy_spent(orders=theirs, rdp=divergence, delta=delta)
    relative = sgd(rate, noise, steps, delta) / float(other) - 1
    assert -1e-9 <= relative <= FRACTIONAL_ORDERS, relative


@pytest.mark.parametrize(("rate", "noise"), [(1 / 12, 1.5), (0.01, 1.0), (0.5, 2.0), (1.0, 4.0)])
@pytest.mark.parametrize("order", [2, 3, 8])
def test_replacing_one_record_is_bounded_when_the_divergence_is_integrated(
    rate: float, noise: float, order: int
) -> None:
    true, bound = replaced(rate, noise, order), SubsampledGaussian(noise, rate, 1).rdp([order], "replace-one")[0]
    assert true * (1 - 1e-6) <= bound <= (true * 4 if order < 4 else np.inf)  # loose at high orders, never too small


def test_replacing_one_record_costs_more_than_necessary_when_sampled() -> None:
    orders = list(range(2, 7))
    true = epsilon_from_rdp(orders, np.array([480 * replaced(1 / 12, 1.5, order) for order in orders]), DELTA)
    assert true.epsilon == pytest.approx(13.67, abs=0.01)
    assert sgd(1 / 12, 1.5, 480, adjacency="replace-one") == pytest.approx(19.12, abs=0.01)


def replaced(rate: float, noise: float, order: int) -> float:
    """The divergence of the pair of records that lie farthest apart, +1 and -1, integrated numerically."""

    def log_density(z: float, centre: float) -> float:
        inner, outer = -(z**2) / (2 * noise**2), -((z - centre) ** 2) / (2 * noise**2)
        return float(np.logaddexp(math.log1p(-rate) + inner if rate < 1 else -math.inf, math.log(rate) + outer))

    def moment(z: float) -> float:
        return math.exp(order * log_density(z, 1) + (1 - order) * log_density(z, -1))

    reach = 2 * order + 12 * noise
    total, _ = integrate.quad(moment, -reach, reach, limit=500)
    return math.log(total / (noise * math.sqrt(2 * math.pi))) / (order - 1)


def test_replacing_one_record_doubles_the_sensitivity_when_nothing_is_sampled() -> None:
    assert sgd(1.0, 20.0, 100, adjacency="replace-one") == pytest.approx(sgd(1.0, 10.0, 100), rel=1e-12)


def test_amplification_is_lost_when_the_sampling_is_public() -> None:
    assert sgd(1.0, 1.5, 480) > 20 * sgd(1 / 12, 1.5, 480)


@settings(deadline=None, max_examples=8)
@given(
    rate=st.floats(1e-3, 1.0),
    noise=st.floats(0.5, 20.0),
    steps=st.integers(1, 2000),
    adjacency=st.sampled_from(["add-remove", "replace-one"]),
)
def test_epsilon_grows_when_noise_shrinks(rate: float, noise: float, steps: int, adjacency: Adjacency) -> None:
    here = sgd(rate, noise, steps, adjacency=adjacency)
    assert here <= sgd(rate, noise, steps + 1, adjacency=adjacency) * (1 + 1e-12)
    assert here <= sgd(min(1.0, rate * 1.1), noise, steps, adjacency=adjacency) * (1 + 1e-9)
    assert here <= sgd(rate, noise * 0.9, steps, adjacency=adjacency) * (1 + 1e-12)
    assert here <= sgd(rate, noise, steps, adjacency="replace-one") * (1 + 1e-12)


def test_runs_and_mechanisms_add_up_when_composed() -> None:
    step, votes = SubsampledGaussian(2.0, 0.1, 100), GnMax(40.0, 1264, 150.0, 2000)
    five = spent([(step, 5)], DELTA, "add-remove").epsilon
    assert five == pytest.approx(sgd(0.1, 2.0, 500), rel=1e-12)
    both = spent([(step, 1), (votes, 1)], DELTA, "add-remove").epsilon
    alone = [spent([(one, 1)], DELTA, "add-remove").epsilon for one in (step, votes)]
    assert max(alone) < both < sum(alone)


def test_votes_cost_what_their_counts_imply() -> None:
    """250 teachers on Fashion-MNIST: 2,000 answers at 40 votes, and 1,264 answers after 2,000 checks at 150."""
    assert spent([(GnMax(40.0, 2000), 1)], DELTA, "add-remove").epsilon == pytest.approx(8.08, abs=0.01)
    confident = GnMax(40.0, 1264, 150.0, 2000)
    found = spent([(confident, 1)], DELTA, "replace-one").epsilon  # 6.36 at the order 4.5, 6.42 at whole ones
    assert found == pytest.approx(6.42, abs=0.01)


@pytest.mark.parametrize(("epsilon", "noise"), [(8.0, 2.384), (3.0, 5.312), (1.0, 14.122), (0.5, 26.66)])
def test_noise_never_exceeds_the_budget(epsilon: float, noise: float) -> None:
    found = noise_for(epsilon, DELTA, sampling_rate=0.2, steps=300, adjacency="add-remove")
    assert found == pytest.approx(noise, rel=2e-4)
    assert sgd(0.2, found, 300) <= epsilon < sgd(0.2, found * (1 - 3e-4), 300)


def test_noise_is_refused_when_it_prevents_training() -> None:
    noise = noise_for(0.5, DELTA, sampling_rate=0.2, steps=300, adjacency="add-remove")
    with pytest.raises(UsageError, match=r"epsilon 0.5 needs noise 26.7 at 300 steps.*fewer steps, a larger batch"):
        require_reachable(noise, 20.0, epsilon=0.5, steps=300)


def budget(epsilon: float, steps: int) -> float:
    return noise_for(epsilon, DELTA, sampling_rate=1, steps=steps, adjacency="add-remove")


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: SubsampledGaussian(0.0, 0.1, 1), "noise multiplier must be greater than 0, got 0"),
        (lambda: SubsampledGaussian(math.nan, 0.1, 1), "noise multiplier must be greater than 0"),
        (lambda: SubsampledGaussian(1.0, 1.1, 1), r"'sampling_rate' of a mechanism must be in \(0, 1\], got 1.1"),
        (lambda: SubsampledGaussian(1.0, 0.0, 1), "sampling_rate"),
        (lambda: SubsampledGaussian(1.0, 0.1, 0), "'steps' of a mechanism must be at least 1"),
        (lambda: GnMax(0.0, 1), "noise of the votes must be greater than 0"),
        (lambda: GnMax(1.0, 0), "'answers' of a mechanism must be at least 1"),
        (lambda: GnMax(1.0, 5, 1.0, 4), "must not exceed the 4 queries, got 5"),
        (lambda: GnMax(1.0, 5, 1.0), "together or not at all"),
        (lambda: spent([], DELTA, "add-remove"), "no releases"),
        (lambda: spent([(GnMax(1.0, 5), 0)], DELTA, "add-remove"), "runs of a mechanism must be at least 1"),
        (lambda: spent([(GnMax(1.0, 5), 1)], DELTA, "add"), "adjacency"),  # type: ignore[arg-type]
        (lambda: spent([(GnMax(1.0, 5), 1)], 0.0, "add-remove"), r"'delta' of a budget must be in \(0, 1\), got 0"),
        (lambda: budget(0.0, 1), "'epsilon' of a budget must be greater than 0, got 0"),
        (lambda: budget(1e-9, 10**9), "No noise keeps"),
    ],
)  # fmt: skip
def test_accountant_explains_when_a_number_is_wrong(make: object, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        make()  # type: ignore[operator]


def test_conversion_matches_the_paper_when_one_order_is_given() -> None:
    found = epsilon_from_rdp([10], np.array([0.5]), 1e-6)
    assert found.epsilon == pytest.approx(0.5 + math.log(0.9) - (math.log(1e-6) + math.log(10)) / 9, rel=1e-15)
    assert found.order == 10 and epsilon_from_rdp([2], np.array([0.0]), 0.9).epsilon == 0.0
