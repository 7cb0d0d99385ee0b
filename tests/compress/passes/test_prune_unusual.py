"""Pruning of networks that are frozen, hold constants by channel or couple many channels, and why others are not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from certify.core.progress import Silent
from compress.core.model_stats import count_macs, state_digest
from compress.passes.structured_prune import StructuredPrune
from compress.pruning import attempt
from compress.testing.networks import CLASSES


def stacked(*norms):
    """Two convolutions with what a test puts behind each."""
    first, second = norms
    tail = (nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, CLASSES))
    return nn.Sequential(nn.Conv2d(3, 16, 3, 2), first, nn.ReLU(), nn.Conv2d(16, 32, 3, 2), second, *tail).eval()


def pruned_by(context, net, **settings):
    return StructuredPrune(**{"macs": 0.5, **settings}).apply(net, replace(context, teacher=net))


@pytest.mark.parametrize("importance", ["magnitude_l2", "taylor"])
def test_frozen_network_is_pruned_like_an_unfrozen_one_and_stays_frozen(importance, context):
    net = stacked(nn.BatchNorm2d(16), nn.BatchNorm2d(32))
    wanted, _ = pruned_by(context, net, importance=importance)
    net.requires_grad_(False)
    net[8].weight.requires_grad_(True)  # only the head is learnt, as in a linear probe
    found, record = pruned_by(context, net, importance=importance)
    assert record.done["macs_share"] <= 0.5 and state_digest(found) == state_digest(wanted)
    assert [name for name, p in found.named_parameters() if p.requires_grad] == ["8.weight"]
    assert [name for name, p in net.named_parameters() if p.requires_grad] == ["8.weight"]


class SilentTrain(nn.Sequential):
    """Its ``train``, and so its ``eval``, gives nothing back."""

    def train(self, mode=True):
        super().train(mode)


def test_network_is_pruned_when_its_train_method_returns_nothing(context):
    net = SilentTrain(*stacked(nn.BatchNorm2d(16), nn.BatchNorm2d(32)))
    net.eval()
    found, record = pruned_by(context, net)
    assert record.done["way"] == "channels" and not found.training


class Unwatched(nn.Module):
    """A backbone that runs without gradients."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.head = nn.Conv2d(3, 16, 3, 2), nn.Conv2d(16, 32, 3, 2), nn.Linear(32, CLASSES)

    def forward(self, x):
        with torch.no_grad():
            features = self.two(self.one(x).relu()).relu().mean((2, 3))
        return self.head(features)


def test_network_without_inner_gradients_is_pruned_by_blocks(context):
    _, record = pruned_by(context, Unwatched().eval())
    assert record.done["way"] == "blocks" and record.done["macs_share"] <= 0.5


class Scaled(nn.Module):
    """Constants of each channel, one of them not kept in files."""

    def __init__(self, channels):
        super().__init__()
        self.register_buffer("scale", torch.linspace(0.5, 1.5, channels))
        self.register_buffer("shift", torch.linspace(-0.1, 0.1, channels).view(-1, 1, 1), persistent=False)

    def forward(self, x):
        return x * self.scale.reshape(1, -1, 1, 1) + self.shift


@pytest.mark.parametrize("kind", [FrozenBatchNorm2d, Scaled])
def test_constants_of_channels_are_pruned_with_them_and_stay_constants(kind, context):
    net = stacked(kind(16), kind(32))
    found, record = pruned_by(context, net)
    assert record.done["way"] == "channels" and record.done["layers"].keys() == {"0", "3"}
    for name, buffer in net.named_buffers():
        width = found[int(name[0]) - 1].out_channels
        assert max(found.get_buffer(name).shape) == width < max(buffer.shape)
    assert found.state_dict().keys() == net.state_dict().keys() and not list(found[1].parameters())


def test_statistics_of_instance_norms_are_pruned_with_their_channels(context):
    net = stacked(nn.InstanceNorm2d(16, affine=True, track_running_stats=True), nn.InstanceNorm2d(32, affine=True))
    found, record = pruned_by(context, net)
    assert record.done["way"] == "channels"
    assert len(found[1].running_mean) == len(found[1].running_var) == found[0].out_channels < 16


class Gated(nn.Module):
    """Halves of a layer's channels meet each other."""

    def __init__(self):
        super().__init__()
        self.one, self.two, self.head = nn.Conv2d(3, 32, 3, 2), nn.Conv2d(16, 64, 3, 2), nn.Linear(32, CLASSES)

    def forward(self, x):
        return self.head(F.glu(self.two(F.glu(self.one(x), 1)), 1).mean((2, 3)))


def test_reasons_of_the_layers_are_given_when_no_channel_can_be_removed(context):
    net = Gated().eval()
    same, record = pruned_by(context, net)
    why = "no channel can be removed: its outputs are read outside of its block (2 of 2 layers, such as 'one')"
    assert record.declined[0].why == why and state_digest(same) == state_digest(net)


def test_tracing_of_few_layers_is_given_up_within_seconds(context, monkeypatch):
    monkeypatch.setattr(attempt, "TRACE_S", 0.0)
    monkeypatch.setattr(attempt, "TRACE_S_PER_LAYER", 1e-4)
    _, record = pruned_by(context, stacked(nn.BatchNorm2d(16), nn.BatchNorm2d(32)))
    assert record.done["way"] == "blocks" and "took longer than 0.0003 s" in record.declined[-1].why


class Heard(Silent):
    def __init__(self):
        self.said = []

    def say(self, sentence):
        self.said.append(sentence)


def test_smaller_multiples_are_tried_when_a_narrow_network_would_be_smaller_than_asked(context):
    torch.manual_seed(0)
    net = nn.Sequential(
        *(nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU()),
        *(nn.MaxPool2d(8), nn.Flatten(), nn.Linear(32 * 16, 64), nn.ReLU(), nn.Linear(64, CLASSES)),
    ).eval()
    heard = Heard()
    coarse, record = pruned_by(replace(context, progress=heard), net, round_to=8)
    assert record.done["macs_share"] < 0.45 and record.declined[-1].what == "the target"
    assert "remain where 0.5 was requested" in record.declined[-1].why and len(heard.said) == 1
    fine, record = pruned_by(replace(context, progress=heard), net)
    share = count_macs(fine, context.sample(1)) / count_macs(net, context.sample(1))
    assert 0.45 <= share <= 0.5 and share == record.done["macs_share"] and len(heard.said) == 1
