from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from certify.errors import UsageError
from compress import optimization
from compress.optimization import TrainingConfig


def test_loss_is_cross_entropy_plus_the_softened_divergence():
    student, teacher = nn.Linear(5, 4), nn.Linear(5, 4)
    config = TrainingConfig(temperature=3.0, alpha=0.5, label_smoothing=0.0)
    run = optimization.Run(student, teacher, config, None, torch.device("cpu"), 1)
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
        ({"epochs": 0}, "epochs is 0 and must be at least 1"),
        ({"lr": 0.0}, "lr"),
        ({"warmup": 1.0}, "warmup"),
        ({"temperature": 0.0}, "temperature"),
        ({"batch": 1}, "batch"),
    ],
)
def test_config_refuses_what_makes_no_sense(setting, sentence):
    with pytest.raises(UsageError, match=sentence):
        TrainingConfig(**setting)


@given(st.floats(0, 0.9), st.integers(1, 500))
def test_schedule_rises_to_one_and_falls_to_zero(warmup, steps):
    factors = [optimization._cosine(i / steps, warmup, 1 / steps) for i in range(steps + 1)]
    assert all(0 <= f <= 1 + 1e-9 for f in factors) and factors[-1] == pytest.approx(0, abs=1e-9)
    top = factors.index(max(factors))
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)


def test_schedule_starts_with_a_first_step_above_zero_when_there_is_a_warm_up():
    """Of 100 steps 10 warm up: 1/11, 2/11 ... 10/11, and the eleventh is at the peak."""
    factors = [optimization._cosine(i / 100, 0.1, 1 / 100) for i in range(11)]
    assert factors == pytest.approx([i / 11 for i in range(1, 12)])


@pytest.mark.parametrize(("optimizer", "strength"), [("adamw", 1.0), ("sgd", 1.9)])
def test_weights_decay_and_biases_and_normalisation_do_not(optimizer, strength):
    """Without gradients a step takes lr * weight_decay off; with Nesterov momentum of 0.9 it is 1.9 times that."""
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))
    config = TrainingConfig(optimizer=optimizer, lr=0.1, weight_decay=0.5)
    run = optimization.Run(net, None, config, None, torch.device("cpu"), 1)
    before = {name: p.detach().clone() for name, p in net.named_parameters()}
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    run.optimizer.step()
    for name, p in net.named_parameters():
        left = 1 - 0.1 * 0.5 * strength if name in ("0.weight", "3.weight") else 1.0
        torch.testing.assert_close(p.detach(), before[name] * left)
