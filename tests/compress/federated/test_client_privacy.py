"""Noise on the sum of clients' updates, and what it costs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from certify.core.accounting import SubsampledGaussian, spent
from certify.core.errors import UsageError
from certify.data import default_preprocess
from compress.core.context import PassContext, PassData
from compress.core.targets import TARGETS
from compress.federated import client_privacy
from compress.federated.aggregation import Rule
from compress.federated.client_privacy import NoisySum
from compress.federated.forms import Int8
from compress.federated.plan import Plan
from compress.federated.weights import Layout
from compress.passes.federated_finetune import FederatedFinetune
from compress.testing.networks import blobs, network
from tests.compress.federated.conftest import Fleet, small_model

Make = Callable[..., Fleet]


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ((8.0, 1e-5, 1.0, 10, 99), "too few clients for a meaningful client-level epsilon: 99, and 100"),
        ((8.0, 1e-5, None, 10, 100), "set clip"),
        ((8.0, 0.01, 1.0, 10, 100), "delta 0.01 is not below 1/100"),
        ((0.0, 1e-5, 1.0, 10, 100), "must be greater than 0"),
    ],
)
def test_claims_that_would_mean_nothing_are_refused(given: tuple[float, ...], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        NoisySum.of(*given)  # type: ignore[arg-type]


def test_each_client_counts_as_taking_part_in_every_round() -> None:
    noise = NoisySum.of(8.0, 1e-5, 1.0, rounds=20, clients=500)
    alone = spent([(SubsampledGaussian(noise.noise, 1.0, 20), 1)], 1e-5, "add-remove").epsilon
    assert noise.epsilon() == alone <= 8.0
    assert noise.epsilon(10) < noise.epsilon()


def test_noise_on_the_mean_is_that_of_the_sum_over_the_clients() -> None:
    noise = NoisySum(2.0, 3.0, 1e-5, 1)
    drawn = noise.added(np.zeros(200_000, dtype=np.float32), 100)
    assert float(drawn.std()) == pytest.approx(2.0 * 3.0 / 100, rel=0.02)
    again = noise.added(np.zeros(200_000, dtype=np.float32), 100)
    assert (drawn != again).mean() > 0.99


def test_plan_weighs_clients_alike_and_lets_nobody_vote_when_it_adds_noise() -> None:
    plan = Plan(2, 100, update="int8", clip=1.0, noise=NoisySum(1.0, 1.0, 1e-5, 2))
    layout = Layout.of(small_model())
    form = plan.form(layout, plan.bounds(np.zeros(layout.count, dtype=np.float32), layout))
    assert plan.equal and isinstance(form, Int8) and not form.votes and form.clip == 1.0
    with pytest.raises(UsageError, match="not under the rule median"):
        Plan(2, 100, clip=1.0, noise=NoisySum(1.0, 1.0, 1e-5, 2), rule=Rule("median"))


def test_rounds_are_noisy_and_the_log_states_the_noise(fleet: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = NoisySum(1e-6, 0.5, 1e-5, 1)
    quiet, noisy = fleet(clip=0.5, weighting="equal", rounds=1), fleet(clip=0.5, noise=noise, rounds=1)
    monkeypatch.setattr(client_privacy, "gaussian", lambda count: np.full(count, 1e6))
    layout = Layout.of(small_model())
    difference = layout.vector(noisy.run()) - layout.vector(quiet.run())
    assert difference == pytest.approx(np.full(layout.count, 1e6 * 1e-6 * 0.5 / 5), abs=1e-6)
    stated = noisy.read().opening.message.privacy
    assert stated is not None and (stated.noise_multiplier, stated.clip) == (1e-6, 0.5)


def test_pass_refuses_what_epsilon_cannot_stand_beside() -> None:
    for bad in ({"epsilon": 8.0}, {"epsilon": 8.0, "clip": 1.0, "rule": "median"}):
        with pytest.raises(ValueError, match="epsilon needs clip"):
            FederatedFinetune(**bad)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="masked ones reveal only their sum"):
        FederatedFinetune(update="int8-masked", rule="median")


def test_running_statistics_are_refused_with_epsilon(monkeypatch: pytest.MonkeyPatch) -> None:
    data = blobs()
    context = PassContext(PassData.without_test(data), default_preprocess(data), TARGETS["cpu-vnni"])
    few = FederatedFinetune(clients=10, epsilon=8.0, clip=1.0)
    with pytest.raises(UsageError, match="too few clients"):
        few.apply(network("residual"), context)
    monkeypatch.setattr(client_privacy, "FEWEST_CLIENTS", 5)
    with pytest.raises(UsageError, match="fold_norms"):
        few.apply(network("residual"), context)
