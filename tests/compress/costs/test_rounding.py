"""Blocks that are rounded in torch lose about as much as in the quantized file."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from compress.core.targets import TARGETS
from compress.costs.rounding import Rounding

VNNI = TARGETS["cpu-vnni"]


@pytest.fixture
def samples(context):
    return context.sample(8)


def levels(weight: torch.Tensor) -> int:
    """Number of different values in the channel that has most."""
    return max(len(channel.unique()) for channel in weight.flatten(1))


def test_only_layers_inside_the_blocks_are_rounded(deep, samples):
    before = copy.deepcopy(deep)
    Rounding(VNNI, True, samples).apply(deep, ["blocks.1"])
    for (path, old), new in zip(before.named_modules(), deep.modules(), strict=True):
        if isinstance(old, nn.Conv2d | nn.Linear):
            assert torch.equal(old.weight, new.weight) is (path != "blocks.1.conv")
    assert not torch.equal(before(samples), deep(samples))


def test_block_is_not_found_when_only_its_name_begins_alike(samples):
    model = nn.Sequential()
    model.add_module("1", nn.Conv2d(3, 4, 3))
    model.add_module("11", nn.Conv2d(4, 4, 3))
    weight = model[1].weight.clone()
    Rounding(VNNI, True, samples).apply(model, ["1"])
    assert torch.equal(weight, model[1].weight)


@pytest.mark.parametrize("per_channel", [True, False])
def test_weight_moves_by_at_most_half_a_step_when_rounded(deep, samples, per_channel):
    before = deep.stem.weight.detach().clone()
    Rounding(VNNI, per_channel, samples).apply(deep, ["stem"])
    largest = before.abs().flatten(1).amax(1) if per_channel else before.abs().max().expand(len(before))
    moved = (deep.stem.weight - before).abs().flatten(1).amax(1)
    assert (moved <= 0.5 * largest / 127 + 1e-7).all()
    assert moved.max() > 0


def test_weight_has_7_bits_when_the_target_saturates(samples):
    wide = nn.Sequential(nn.Conv2d(3, 2, 15, bias=False))
    Rounding(TARGETS["cpu-avx2"], True, samples).apply(wide, ["0"])
    assert 64 < levels(wide[0].weight) <= 129


@pytest.mark.parametrize(("target", "most"), [("cpu-vnni", 256), ("cpu-arm", 256), ("cuda-tensorrt", 255)])
def test_input_takes_at_most_as_many_values_as_there_are_codes(samples, target, most):
    class Copy(nn.Conv2d):
        def forward(self, x):
            self.seen = x
            return super().forward(x)

    model = nn.Sequential(Copy(3, 2, 3))
    Rounding(TARGETS[target], True, samples).apply(model, ["0"])
    model(samples)
    seen = model[0].seen
    step = (samples.max() - samples.min().clamp_max(0)) / 255
    limit = step if target != "cuda-tensorrt" else samples.abs().max() / 127
    assert 100 < len(seen.unique()) <= most
    assert (seen - samples).abs().max() <= 0.51 * limit


def test_zero_stays_zero_when_activations_are_rounded(samples):
    model = nn.Sequential(nn.ReLU(), nn.Conv2d(3, 2, 3, padding=1, bias=False))
    Rounding(VNNI, True, samples).apply(model, ["1"])
    assert not model(-samples.abs()).any()
