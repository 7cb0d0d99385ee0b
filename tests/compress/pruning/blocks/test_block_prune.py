"""Transformers, and nets whose channels can't be traced, are pruned inside of their blocks, and exactly so."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from nets import EXACT, MODELS, TRANSFORMERS, block_pruner, largest_difference, made
from torch import nn

from compress.core.model_stats import count_macs, state_digest
from compress.exchange import checkpoint
from compress.passes.low_rank import LowRank
from compress.passes.structured_prune import StructuredPrune
from compress.pruning.blocks import block_penalty
from compress.pruning.chains import find_chains
from compress.pruning.embedding import masked_norms
from compress.pruning.equivalence import verified_groups
from compress.pruning.groups import Group
from compress.pruning.heads import attentions, loosen

EVERY = pytest.mark.parametrize("name", MODELS)


@pytest.mark.parametrize(
    ("name", "attention"), [("shufflenet", None), *((n, a) for n in TRANSFORMERS for a in ("heads", "head_dims"))]
)
def test_outputs_equal_those_of_the_masked_original_when_pruned(name, attention, context, monkeypatch):
    original = made(name)
    removed = []
    pruned = copy.deepcopy(original)
    pruner = block_pruner(pruned, context, attention=attention)
    remove = Group.remove
    monkeypatch.setattr(
        Group, "remove", lambda group, model, kept: removed.append((model, group, kept)) or remove(group, model, kept)
    )
    pruner.prune_to(int(0.6 * pruner.left()))
    masked = copy.deepcopy(original)
    if attention:
        loosen(masked, context.sample(1))
    mine = [(group, kept) for model, group, kept in removed if model is pruned]
    kinds = {group.kind for group, _ in mine}
    assert kinds >= {attention} or attention is None or (name, attention) == ("fused", "head_dims")
    for group, kept in mine:
        group.mask(masked, kept)
    samples = context.sample(3)
    assert largest_difference(pruned(samples), masked(samples)) < EXACT
    assert largest_difference(pruned(samples), original(samples)) > 100 * EXACT


@EVERY
def test_macs_fall_to_the_target_and_the_model_loads_again_when_pruned(name, context, tmp_path):
    original = made(name)
    before = state_digest(original)
    context = replace(context, teacher=original)
    pruned, record = StructuredPrune(macs=0.6, round_to=2).apply(original, context)
    assert record.done["way"] == "blocks"
    share = count_macs(pruned, context.sample(1)) / count_macs(original, context.sample(1))
    assert 0.5 < share <= 0.6
    assert record.done["macs_share"] == pytest.approx(share)
    assert state_digest(original) == before
    checkpoint.save(tmp_path / "pruned.safetensors", pruned, None, original=original)
    loaded = checkpoint.load(tmp_path / "pruned.safetensors", into=MODELS[name]())
    samples = context.sample(2)
    assert torch.equal(loaded(samples), pruned(samples))
    heads = {one.path: (one.heads, one.head_dim) for one in attentions(pruned)}
    assert {one.path: (one.heads, one.head_dim) for one in attentions(loaded)} == heads


@EVERY
def test_large_model_is_counted_without_data_and_pruned_the_same(name, context, monkeypatch):
    def widths() -> tuple[dict[str, int], set[str]]:
        model, devices = made(name), set()
        pruner = block_pruner(model, context)
        count = pruner.rules.count

        def noted(tried: nn.Module) -> int:
            devices.add(next(tried.parameters()).device.type)
            return count(tried)

        pruner.rules = replace(pruner.rules, count=noted)
        pruner.prune_to(int(0.6 * pruner.left()))
        return pruner.widths(), devices

    small, with_data = widths()
    monkeypatch.setattr("compress.pruning.blocks.LARGE", 0)
    large, without = widths()
    assert small == large and with_data == {"cpu"}
    assert without == {"cpu", "meta"}


def test_checkpoint_loads_again_when_layers_inside_attention_are_factored(context, tmp_path):
    original = made("vit")
    pruned, _ = StructuredPrune(macs=0.6, round_to=2).apply(original, replace(context, teacher=original))
    factored, record = LowRank(energy=0.5).apply(pruned, context)
    assert any(path.endswith("qkv") for path in record.done["ranks"])
    checkpoint.save(tmp_path / "factored.safetensors", factored, None, original=original)
    loaded = checkpoint.load(tmp_path / "factored.safetensors", into=MODELS["vit"]())
    assert torch.equal(loaded(context.sample(2)), factored(context.sample(2)))


def test_more_can_be_removed_when_heads_and_widths_are_pruned(context):
    original = made("vit")
    context = replace(context, teacher=original)
    once, _ = StructuredPrune(macs=0.6, round_to=2).apply(original, context)
    _, record = StructuredPrune(macs=0.4, round_to=2).apply(once, context)
    assert 0.3 < record.done["macs_share"] <= 0.4


@pytest.mark.parametrize("name", ["vit", "bert"])
def test_embedding_width_is_pruned_exactly_when_requested(name, context):
    original = made(name)
    context = replace(context, teacher=original)
    pruned, record = StructuredPrune(macs=0.5, round_to=2, embedding=True).apply(original, context)
    before, after = record.done["layers"]["the embedding width"]
    assert (before, after) == (32, pruned.get_submodule("heads.head" if name == "vit" else "head").in_features)
    assert after < 32
    model = copy.deepcopy(original)
    pruner = block_pruner(model, context, embedding=True)
    group = next(group for group in pruner.groups if group.kind == "embedding")
    kept = torch.arange(3, 29)[None]
    masked = masked_norms(model, kept)
    group.remove(model, kept)
    samples = context.sample(3)
    assert largest_difference(model(samples), masked(samples)) < EXACT


def test_embedding_width_is_declined_with_the_reason_when_blocks_have_several(context):
    original = made("swin")
    _, record = StructuredPrune(macs=0.6, round_to=2, embedding=True).apply(
        original, replace(context, teacher=original)
    )
    reasons = {declined.what: declined.why for declined in record.declined}
    assert "must have one width" in reasons["the embedding width"]
    assert record.changed


@pytest.mark.parametrize(
    ("importance", "scope"),
    [
        ("taylor", "global"),
        ("activation", "isomorphic"),
        ("lamp", "isomorphic"),
        ("fpgm", "global"),
        ("random", "global"),
    ],
)
def test_every_measure_ranks_heads_and_widths(importance, scope, context):
    original = made("vit")
    config = StructuredPrune(macs=0.6, importance=importance, scope=scope, round_to=2, steps=2, batches=1)
    pruned, record = config.apply(original, replace(context, teacher=original))
    assert 0.45 < record.done["macs_share"] <= 0.6
    assert not any(p.grad is not None for p in pruned.parameters())
    assert not any(hasattr(m, "_importance") for m in pruned.modules())


def test_measure_that_reads_nothing_is_declined_with_the_reason(context):
    original = made("vit")
    _, record = StructuredPrune(importance="bn_scale").apply(original, replace(context, teacher=original))
    assert not record.changed
    assert "no channel can be removed" in record.declined[0].why


class Tricky(nn.Module):
    """Layers that run one after the other and fit in width, of which one pair is also read elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.third = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x[:, 0, 0, :8]
        read_twice = self.first(x)
        return self.third(torch.relu(self.second(torch.relu(read_twice)))) + read_twice


def test_pair_is_refused_when_its_channels_are_read_elsewhere(context):
    model = Tricky().eval()
    sample = context.sample(1)
    candidates = find_chains(model, sample, ())
    assert [group.name for group in candidates] == ["first", "second"]
    assert [group.name for group in verified_groups(model, sample, candidates)] == ["second"]


class NormWithActivation(nn.BatchNorm2d):
    """As timm builds them."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.act = nn.SiLU()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(super().forward(x))


def test_channels_are_traced_when_the_norm_contains_its_activation(context):
    net = nn.Sequential(
        nn.Conv2d(3, 8, 1),
        NormWithActivation(8),
        nn.Conv2d(8, 8, 3, groups=8),
        NormWithActivation(8),
        nn.Conv2d(8, 4, 1),
    ).eval()
    (group,) = verified_groups(net, context.sample(1), find_chains(net, context.sample(1), ()))
    assert (group.name, group.units) == ("0", 8)


def test_blocks_are_pruned_when_tracing_the_whole_model_fails(context):
    original = made("shufflenet")
    _, record = StructuredPrune(macs=0.6, round_to=2).apply(original, replace(context, teacher=original))
    across = next(declined for declined in record.declined if declined.what == "channels across blocks")
    assert "torch-pruning cannot handle this architecture" in across.why


def test_penalty_is_strongest_on_the_weakest_unit_of_a_block(context):
    """Fang et al. 2023, equation 5, as for the groups of a trace."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(3072, 8), nn.ReLU(), nn.Linear(8, 4)).eval()
    penalty = block_penalty(model, context.sample(1), 0.01)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    penalty()
    outer, inner = model[1].weight.detach(), model[3].weight.detach()
    norms = (outer.square().sum(1) + inner.square().sum(0)) / 2
    strength = (model[1].weight.grad / outer)[:, 0] / 0.01
    assert strength[norms.argmax()] == pytest.approx(1, rel=1e-3)
    assert strength[norms.argmin()] == pytest.approx(16, rel=1e-3)
    assert torch.allclose(model[3].weight.grad / inner / 0.01, strength.expand(4, 8), rtol=1e-3)
