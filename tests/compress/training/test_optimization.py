from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from certify.core.errors import UsageError
from compress.training import optimization
from compress.training.config import TrainingConfig
from compress.training.task import Task


def test_loss_is_cross_entropy_plus_the_softened_divergence():
    student, teacher = nn.Linear(5, 4), nn.Linear(5, 4)
    config = TrainingConfig(temperature=3.0, alpha=0.5, label_smoothing=0.0)
    run = optimization.Run(student, teacher, config, Task(None), torch.device("cpu"), 1)
    run.autocast = False
    x, y = torch.randn(6, 5), torch.arange(6) % 4
    with torch.no_grad():
        p = (teacher(x) / 3).softmax(1)
        log_q = (student(x) / 3).log_softmax(1)
        wanted = -student(x).log_softmax(1)[range(6), y].mean() + 0.5 * 9 * (p * (p.log() - log_q)).sum(1).mean()
    assert run._loss(x, y).item() == pytest.approx(float(wanted), rel=1e-5)


@pytest.mark.parametrize(
    ("setting", "sentence"),
    [
        ({"optimizer": "adam"}, "did you mean 'adamw'"),
        ({"epochs": 0}, "'epochs' parameter of training must be at least 1, got 0"),
        ({"lr": 0.0}, "lr"),
        ({"warmup": 1.0}, "warmup"),
        ({"temperature": 0.0}, "temperature"),
        ({"batch": 1}, "batch"),
    ],
)
def test_config_refuses_invalid_values(setting, sentence):
    with pytest.raises(UsageError, match=sentence):
        TrainingConfig(**setting)


@given(st.floats(0, 0.9), st.integers(1, 500))
def test_schedule_rises_to_one_and_falls_to_zero(warmup, steps):
    factors = [optimization._cosine(i / steps, warmup, 1 / steps) for i in range(steps + 1)]
    assert all(0 <= f <= 1 + 1e-9 for f in factors) and factors[-1] == pytest.approx(0, abs=1e-9)
    top = factors.index(max(factors))
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)


@given(st.floats(0, 0.9), st.floats(1e-4, 0.1))
def test_learning_rate_rises_to_its_peak_and_falls_along_a_cosine_during_training(warmup, step):
    rate = optimization._cosine
    assert rate(warmup, warmup, step) == pytest.approx(1)
    assert rate((1 + warmup) / 2, warmup, step) == pytest.approx(0.5)
    assert rate(1.0, warmup, step) == pytest.approx(0, abs=1e-9)
    if warmup > 0.01:
        assert rate(0.0, warmup, step) == pytest.approx(step / (warmup + step))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_biases_and_norms_do_not_decay_when_weights_do(optimizer):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    found = optimization._optimizer(list(net.parameters()), TrainingConfig(optimizer=optimizer, weight_decay=0.1))
    decays = {id(p): group["weight_decay"] for group in found.param_groups for p in group["params"]}
    assert {name: decays[id(p)] for name, p in net.named_parameters()} == {
        "0.weight": 0.1, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0, "3.weight": 0.1, "3.bias": 0.0,
    }  # fmt: skip
