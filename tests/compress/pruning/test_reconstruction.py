"""Layers that lost inputs are refitted so that the network gives what the original gave, as far as it can."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from compress.core.model_stats import state_digest
from compress.passes.structured_prune import StructuredPrune
from compress.pruning.lane import Shelf
from compress.pruning.reconstruction import Changes, reconstruct
from compress.pruning.refitting import output_error
from compress.pruning.samples import Samples

KEPT = torch.arange(4)


class Copies(nn.Module):
    """A residual block whose last four inner channels are multiples of the first four."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 6, 3, 4, 1)
        self.widen = nn.Conv2d(6, width, 1, bias=False)
        self.norm = nn.BatchNorm2d(width)
        self.depth = nn.Conv2d(width, width, 3, 1, 1, groups=width)
        self.narrow = nn.Conv2d(width, 6, 3, 1, 1)
        self.head = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        x = x + self.narrow(torch.relu(self.depth(self.norm(self.widen(x)))))
        return self.head(x.mean((2, 3)))


def _original() -> nn.Module:
    torch.manual_seed(0)
    model = Copies().eval()
    with torch.no_grad():
        model.widen.weight[4:] = 2 * model.widen.weight[:4]
        model.depth.weight[4:] = 1.5 * model.depth.weight[:4]
        model.depth.bias.zero_()
    return model


def _cut(model: nn.Module) -> nn.Module:
    """The first four inner channels alone."""
    narrow = Copies(4).eval()
    state = {
        name: tensor[:4] if name.split(".")[0] in ("widen", "norm", "depth") and tensor.ndim else tensor
        for name, tensor in model.state_dict().items()
    }
    state["narrow.weight"] = state["narrow.weight"][:, :4]
    narrow.load_state_dict(state)
    return narrow


CHANGES = Changes({"widen": KEPT, "depth": KEPT}, frozenset({"narrow"}))


def test_network_outputs_are_restored_when_removed_channels_are_multiples_of_others(context):
    original = _original()
    pruned, sample = _cut(original), context.sample(8)
    assert output_error(original, pruned, sample) > 1e-2
    report = reconstruct(original, pruned, CHANGES, Samples(context, 64), ridge=1e-9)
    assert list(report.layers) == ["widen", "depth", "narrow", "head"]
    assert report.layers["narrow"].at_sum
    assert not report.declined
    assert output_error(original, pruned, sample) < 1e-6


def test_original_and_layers_before_the_first_change_are_unchanged(context):
    original = _original()
    pruned, digest = _cut(original), state_digest(original)
    stem = pruned.stem.weight.clone()
    reconstruct(original, pruned, CHANGES, Samples(context, 32))
    assert state_digest(original) == digest
    assert torch.equal(pruned.stem.weight, stem)


def test_only_changed_layers_are_refitted_unless_all_are_requested(context):
    original = _original()
    report = reconstruct(original, _cut(original), CHANGES, Samples(context, 32), every=False)
    assert list(report.layers) == ["widen", "depth", "narrow"]


def test_result_depends_only_on_the_seed(context):
    digests = []
    for seed in (0, 0, 1):
        original = _original()
        pruned = _cut(original)
        reconstruct(original, pruned, CHANGES, Samples(replace(context, seed=seed), 32), seed=seed)
        digests.append(state_digest(pruned))
    assert digests[0] == digests[1] != digests[2]


class Projected(nn.Module):
    """A block like torchvision's: the shortcut has a layer of its own, which runs after the others."""

    def __init__(self, first_shortcut: bool = False) -> None:
        super().__init__()
        self.first_shortcut = first_shortcut
        self.stem = nn.Conv2d(3, 6, 3, 4, 1)
        self.conv1, self.norm1 = nn.Conv2d(6, 8, 3, 1, 1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 12, 3, 1, 1, bias=False), nn.BatchNorm2d(12)
        self.down, self.norm3 = nn.Conv2d(6, 12, 1, bias=False), nn.BatchNorm2d(12)
        self.head = nn.Linear(12, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        shortcut = self.norm3(self.down(x)) if self.first_shortcut else None
        y = self.norm2(self.conv2(torch.relu(self.norm1(self.conv1(x)))))
        x = torch.relu(y + (self.norm3(self.down(x)) if shortcut is None else shortcut))
        return self.head(x.mean((2, 3)))


def test_layer_stays_as_it_is_when_it_has_too_few_rows(context):
    original = _original()
    pruned = _cut(original)
    report = reconstruct(original, pruned, CHANGES, Samples(context, 8))
    assert torch.equal(pruned.head.weight, original.head.weight), "six inputs, eight rows"
    assert report.layers["head"].after == report.layers["head"].before > 0
    assert not torch.equal(pruned.narrow.weight, original.narrow.weight[:, :4])


@pytest.mark.parametrize("first_shortcut", [False, True])
def test_layer_of_a_shortcut_is_refitted_before_the_sum(context, first_shortcut):
    torch.manual_seed(0)
    net = Projected(first_shortcut).eval()
    alone = replace(context, teacher=net, training_follows=False)
    asked = StructuredPrune(macs=0.5, round_to=2, refit_samples=64)
    made = asked.apply(net, alone)[1].done["reconstruction"]
    order = list(made["layers"])
    assert order.index("down") < order.index("conv2")
    assert made["layers"]["conv2"]["at_sum"] and not made["layers"]["down"]["at_sum"]
    assert made["output_error_after"] < 0.5 * made["output_error_before"]


class Branches(nn.Module):
    """Two branches of equal depth, added."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = (nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), nn.Conv2d(8, 6, 1)) for _ in range(2))
        self.head = nn.Linear(6, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head((self.left(x) + self.right(x)).mean((2, 3)))


def test_one_of_two_equal_branches_compensates_at_the_sum(context):
    original = Branches().eval()
    changes = Changes(inputs=frozenset({"left.0"}))
    made = reconstruct(original, copy.deepcopy(original), changes, Samples(context, 16))
    assert list(made.layers) == ["left.0", "right.0", "right.1", "left.1", "head"]
    assert [path for path, refit in made.layers.items() if refit.at_sum] == ["left.1"]


def test_layer_is_declined_when_no_operator_reads_its_weight(context):
    original = _original()
    report = reconstruct(original, _cut(original), Changes(inputs=frozenset({"narrow", "other"})), Samples(context, 16))
    assert [each.what for each in report.declined] == ["other"]


def test_memory_is_bounded_when_values_of_many_batches_wait(tmp_path: Path):
    shelf, node = Shelf(tmp_path, most_bytes=4000), object()
    for batch in range(20):
        shelf.put(batch, {node: torch.full((250,), float(batch))})
        assert shelf.bytes_held <= 4000
    assert len(list(tmp_path.iterdir())) == 16
    assert [float(shelf.take(batch)[node][0]) for batch in range(20)] == list(range(20))


@pytest.mark.parametrize("importance", ["magnitude_l2", "obs"])
def test_outputs_are_closer_to_the_original_when_nothing_is_trained_afterwards(model, context, importance):
    alone = replace(context, training_follows=False)
    asked = StructuredPrune(macs=0.6, round_to=2, importance=importance, refit_samples=64)
    (plain, without), (refitted, record) = (asked.apply(model, each) for each in (context, alone))
    assert "reconstruction" not in without.done
    assert record.done["layers"] == without.done["layers"]
    assert record.done["reconstruction"]["samples"] == 64
    sample = context.sample(32)
    assert output_error(model, refitted, sample) < 0.5 * output_error(model, plain, sample)


def test_attention_and_mlp_are_refitted_when_heads_are_removed(context):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 4, 32, 0.0, batch_first=True)
    net = nn.Sequential(nn.Conv2d(3, 16, 8, 8), nn.Flatten(2), _Turn(), layer, _Mean(), nn.Linear(16, 4)).eval()
    alone = replace(context, teacher=copy.deepcopy(net), training_follows=False)
    _, record = StructuredPrune(macs=0.75, round_to=2, refit_samples=64).apply(net, alone)
    report = record.done["reconstruction"]
    assert report["output_error_after"] < report["output_error_before"]
    assert report["layers"]["3.self_attn.proj"]["at_sum"]
    assert report["layers"]["3.linear2"]["at_sum"]


class _Turn(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.transpose(1, 2)


class _Mean(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(1)
