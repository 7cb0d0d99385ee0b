"""Channels are really removed, never above the target, and what can't be pruned comes back unchanged."""

from __future__ import annotations

import copy
import signal
import threading
import time
from dataclasses import replace
from typing import get_args

import pytest
import torch
import torch_pruning as tp
from torch import nn

from compress.core.model_stats import count_macs, count_parameters, state_digest
from compress.passes.distill import Distill
from compress.passes.structured_prune import StructuredPrune, _teach
from compress.pruning import limits as limits_of_passes
from compress.pruning.attempt import sparsify
from compress.pruning.channels import group_penalty
from compress.pruning.importance import MEASURES, Estimator
from compress.pruning.limits import LimitExceeded, limits
from compress.pruning.rules import Importance, Scope
from compress.pruning.structured import prune
from compress.training.training import evaluate


@pytest.mark.parametrize("importance", get_args(Importance))
@pytest.mark.parametrize("scope", get_args(Scope))
def test_macs_are_at_most_the_target(model, context, importance, scope):
    config = StructuredPrune(macs=0.5, importance=importance, scope=scope, round_to=2)
    pruned, record = config.apply(model, context)
    sample = context.sample(1)
    share = count_macs(pruned, sample) / count_macs(model, sample)
    assert 0.3 < share <= 0.5
    assert record.done["macs_share"] == pytest.approx(share)
    assert sum(p.numel() for p in pruned.parameters()) < sum(p.numel() for p in model.parameters())
    assert not any(p.grad is not None for p in pruned.parameters())


def test_parameters_are_at_most_the_target_when_they_are_the_measure(model, context):
    pruned, record = StructuredPrune(parameters=0.4, round_to=2).apply(model, context)
    share = count_parameters(pruned) / count_parameters(model)
    assert 0.25 < share <= 0.4
    assert record.done["parameters_share"] == pytest.approx(share)
    with pytest.raises(ValueError, match="choose one target"):
        StructuredPrune(parameters=0.4, macs=0.5)


def test_model_recovers_between_the_rounds_when_requested(model, context):
    taught, _ = Distill(epochs=4, lr=5e-3, batch=16).apply(model, context)
    teacher = replace(context, teacher=taught)
    settings = {"macs": 0.4, "round_to": 2, "steps": 4}
    plain, recovering = (
        StructuredPrune(**settings, recover_epochs=epochs).apply(taught, teacher)[0] for epochs in (0, 4)
    )
    accuracy = [evaluate(m, context.data.validation, context.preprocess).accuracy for m in (plain, recovering)]
    assert accuracy[1] > accuracy[0]
    sample = context.sample(1)
    assert count_macs(recovering, sample) <= 0.4 * count_macs(taught, sample)


def test_penalty_is_strongest_on_the_weakest_group_when_sparse_learning_is_requested(context):
    """Fang et al. 2023, equation 5: from 1 for the strongest group of channels to 16 for the weakest."""
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    pull = group_penalty(net, context.sample(1), net[2], 0.01)
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    pull()
    outer, inner = (net[i].weight.detach() for i in (0, 2))
    norms = (outer.flatten(1).square().sum(1) + inner.transpose(0, 1).flatten(1).square().sum(1)) / 2
    pulled = (net[0].weight.grad / outer).flatten(1)
    assert torch.allclose(pulled, pulled[:, :1].expand_as(pulled), rtol=1e-3)
    strength = pulled[:, 0] / 0.01
    assert strength[norms.argmax()] == pytest.approx(1, rel=1e-3)
    assert strength[norms.argmin()] == pytest.approx(16, rel=1e-3)
    assert torch.equal(strength.argsort(), norms.argsort(descending=True))


def test_sparse_learning_precedes_pruning_when_requested(model, context):
    taught, _ = Distill(epochs=4, lr=5e-3, batch=16).apply(model, context)
    teacher = replace(context, teacher=taught)
    learnt = copy.deepcopy(taught)
    config = StructuredPrune(sparsify_epochs=3, sparsify=0.02, macs=0.6, round_to=2)
    sparsify(config.settings(), "channels", learnt, teacher, _teach)
    before, after = (sum(p.norm().item() for p in m.parameters() if p.ndim > 1) for m in (taught, learnt))
    assert after < 0.99 * before
    assert evaluate(learnt, context.data.validation, context.preprocess).accuracy > 0.9
    pruned, record = config.apply(taught, teacher)
    assert record.done["macs_share"] <= 0.6


def _scores(model, context, name):
    """Importance of the first layer's channels, as the pruner sees it."""
    estimator = Estimator(name, context, batches=1, pass_name="test")
    estimator.estimate(model)
    graph = tp.DependencyGraph().build_dependency(model, context.sample(1))
    group = graph.get_pruning_group(model.down[0], tp.prune_conv_out_channels, idxs=list(range(32)))
    return MEASURES[name]()(group)


def test_hessian_is_weight_squared_times_curvature(model, context):
    """The same written out for the one layer that the group's channels begin in and the layers that take them."""
    found = _scores(model, context, "hessian")
    squares = {name: torch.zeros_like(p) for name, p in model.named_parameters()}
    train = context.data.train
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(0)).tolist()[:64]
    for i in order:
        model.zero_grad()
        logits = model(torch.from_numpy(context.preprocess.batch(train, [i])))
        nn.functional.cross_entropy(logits, torch.tensor([int(train.labels[i])])).backward()
        for name, p in model.named_parameters():
            squares[name] += p.grad.square() / 64
    parts = []
    for name, outputs in (("down.0", True), ("second.0", False), ("second.0", True), ("head", False)):
        half = 0.5 * dict(model.named_parameters())[f"{name}.weight"].detach() ** 2 * squares[f"{name}.weight"]
        parts.append((half if outputs else half.transpose(0, 1)).flatten(1).sum(1))
    wanted = torch.stack(parts).mean(0)
    assert torch.allclose(found / found.mean(), wanted / wanted.mean(), rtol=1e-3)


def test_inactive_channels_are_removed_first_when_activation_is_the_measure(model, context):
    with torch.no_grad():
        for dark in (3, 8, 20, 30):
            for norm in (model.down[1], model.second[1]):
                norm.weight[dark], norm.bias[dark] = 0.0, -1.0
    scores = _scores(model, context, "activation")
    assert set(scores.argsort()[:4].tolist()) == {3, 8, 20, 30}


def test_no_hooks_remain_on_the_model_when_importance_came_from_data(model, context):
    for name in ("taylor", "hessian", "activation"):
        pruned, _ = StructuredPrune(importance=name, round_to=2).apply(model, context)
        assert not any(hasattr(m, "_importance") for m in pruned.modules())
        assert not any(p.grad is not None for p in pruned.parameters())


def test_channels_are_multiples_when_rounding_is_requested(model, context):
    pruned, record = StructuredPrune(macs=0.6, round_to=4).apply(model, context)
    assert record.done["round_to"] == 4
    assert all(m.out_channels % 4 == 0 for m in pruned.modules() if isinstance(m, nn.Conv2d))


def test_head_is_not_pruned_and_is_named(model, context):
    pruned, record = StructuredPrune(round_to=2).apply(model, context)
    assert pruned.head.out_features == 4
    assert [d.what for d in record.declined if d.what != "the target"] == ["head"]


def test_target_refers_to_the_original_when_the_model_is_already_pruned(model, context):
    once, _ = StructuredPrune(macs=0.6, round_to=2).apply(model, context)
    twice, record = StructuredPrune(macs=0.3, round_to=2).apply(once, context)
    sample = context.sample(1)
    assert 0.15 < count_macs(twice, sample) / count_macs(model, sample) <= 0.3
    again, record = StructuredPrune(macs=0.6, round_to=2).apply(twice, context)
    assert not record.changed
    assert state_digest(again) == state_digest(twice)


def test_model_is_unchanged_when_the_target_cannot_be_reached(model, context):
    same, record = StructuredPrune(macs=0.1, round_to=16).apply(model, context)
    assert not record.changed
    assert "cannot be reached" in record.declined[0].why
    assert state_digest(same) == state_digest(model)


def test_least_important_channels_are_removed(context, model):
    weak = [1, 5, 6, 12]
    with torch.no_grad():
        model.first[0].weight[weak] *= 1e-6
        model.stem[0].weight[weak] *= 1e-6
        model.first[1].weight[weak] *= 1e-6
        model.stem[1].weight[weak] *= 1e-6
        model.down[0].weight[:, weak] *= 1e-6
    pruned, _ = StructuredPrune(macs=0.6, round_to=4).apply(model, context)
    assert pruned.stem[0].weight.flatten(1).norm(dim=1).min() > 1e-2


class Asserting(nn.Module):
    """Refuses every batch but that of the data, as vision transformers refuse other sizes once cut."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 32, 3, padding=1)
        self.head = nn.Linear(32, 4)

    def forward(self, x):
        x = self.conv(x)
        return self.head(x.reshape(x.shape[0], 32, -1).mean(2))


def test_model_is_unchanged_when_its_forward_pass_fails_once_pruned(context):
    net = Asserting().eval()
    same, record = StructuredPrune(round_to=2).apply(net, replace(context, teacher=net))
    assert not record.changed
    assert record.declined[0].what == "the whole model"
    assert state_digest(same) == state_digest(net)


class Endless(nn.Module):
    """Never returns once it is traced for the second time."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.head = nn.Linear(8, 4)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        while self.calls > 1:
            time.sleep(0.01)
        return self.head(self.conv(x).mean((2, 3)))


def test_model_is_declined_when_tracing_takes_too_long(context):
    _, record = StructuredPrune(time_limit_s=0.5).apply(Endless().eval(), replace(context, teacher=None))
    assert "took longer than 0.5 s" in record.declined[0].why


def test_time_limit_is_declined_by_name_in_another_thread(model, context):
    found = []
    thread = threading.Thread(target=lambda: found.append(StructuredPrune(round_to=2).apply(model, context)))
    thread.start()
    thread.join()
    ((_, record),) = found
    assert record.changed
    assert "time limit" in [d.what for d in record.declined]


def test_time_limit_raises_when_exceeded_and_leaves_no_alarm():
    before, (left, _) = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    with pytest.raises(LimitExceeded, match="longer than 0.05 s"), limits(0.05):
        time.sleep(2)
    assert signal.getsignal(signal.SIGALRM) == before
    assert signal.getitimer(signal.ITIMER_REAL)[0] <= left


def test_memory_limit_raises_when_the_process_grows_by_half_of_what_was_free(tmp_path, monkeypatch):
    (tmp_path / "statm").write_text("9 1 0")
    monkeypatch.setattr(limits_of_passes, "free_bytes", lambda: 100 * 1024)
    monkeypatch.setattr(limits_of_passes, "STATUS", tmp_path / "statm")
    monkeypatch.setattr(limits_of_passes, "LOOK_S", 0.01)
    with limits(5):
        time.sleep(0.1)
    with pytest.raises(LimitExceeded, match="half of the free memory"), limits(5):
        (tmp_path / "statm").write_text("999 100 0")
        time.sleep(5)


class Padded(nn.Module):
    """A shortcut without weights between two widths, as in the ResNets for CIFAR (arXiv 1512.03385, option A)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.first, self.second = nn.Conv2d(16, 24, 3, 1, 1), nn.Conv2d(24, 32, 3, 1, 1)
        self.head = nn.Linear(32, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = self.second(torch.relu(self.first(x))) + nn.functional.pad(x, (0, 0, 0, 0, 8, 8))
        return self.head(torch.relu(x).mean((2, 3)))


def test_channels_inside_blocks_are_removed_when_removing_others_is_not_equivalent_to_masking(context):
    torch.manual_seed(0)
    model = Padded().eval()
    pruned, record = StructuredPrune(macs=0.6, round_to=2).apply(model, replace(context, teacher=model))
    assert record.done["way"] == "blocks"
    assert list(record.done["layers"]) == ["first"]
    assert any(each.what == "channels across blocks" for each in record.declined)
    kept = [int((model.first.bias == bias).nonzero()) for bias in pruned.first.bias]
    with torch.no_grad():
        for channel in set(range(24)) - set(kept):
            model.first.weight[channel], model.first.bias[channel] = 0, 0
    assert torch.allclose(pruned(context.sample(2)), model(context.sample(2)), atol=1e-5)


def test_training_runs_between_the_rounds_and_not_after_the_last_when_requested(model, context):
    taught = []
    settings = StructuredPrune(steps=3, recover_epochs=2, round_to=4).settings()
    prune(settings, model, context, lambda pruned, context, hooks, **schedule: taught.append((hooks, schedule)))
    assert taught == [(None, {"epochs": 2})] * 2
