"""Attention with a free number of heads and numbers in each gives what the common kinds give."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
from nets import EXACT, TRANSFORMERS, Tokens, largest_difference, made
from torch import nn

from compress.core.model_stats import count_macs
from compress.exchange.onnx_export import export
from compress.models.attention import SelfAttention, TokenAttention, WindowAttention
from compress.passes.structured_prune import StructuredPrune
from compress.pruning.heads import attentions, head_group, loose, loosen


class EveryAttention(nn.Module):
    """One of each, of other widths inside than outside, as they are once heads are gone."""

    def __init__(self) -> None:
        super().__init__()
        table = {"offsets": 49, "tokens": 16}
        self.patches, self.head = nn.Conv2d(3, 16, 4, 4), nn.Linear(16, 4)
        self.windows = WindowAttention(16, 3, 4, 1.0, **table, cosine=True, window_size=(4, 4), shift_size=(2, 2))
        self.partitions = SelfAttention(16, 1, 6, 0.5, **table)
        self.tokens = TokenAttention(16, 2, 5, 0.4, qkv_bias=False, out_bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.patches(x).permute(0, 2, 3, 1)
        x = (x + self.windows(x)).flatten(1, 2)
        x = x + self.partitions(x.unflatten(1, (4, 16))).flatten(1, 2)
        return self.head((x + self.tokens(x, x, x)[0]).mean(1))


def test_file_agrees_when_heads_are_removed(context, tmp_path):
    torch.manual_seed(0)
    model = EveryAttention().eval()
    with torch.no_grad():
        for module in (model.windows, model.partitions):
            module.relative_position_bias_table.normal_()
            module.relative_position_index.random_(49)
    assert export(model, context.preprocess, tmp_path / "pruned.onnx", classes=4).parity.holds


@pytest.mark.parametrize("name", TRANSFORMERS)
def test_unfused_attention_matches_the_original(name, context):
    original = made(name)
    loosened = copy.deepcopy(original)
    paths = loosen(loosened, context.sample(1))
    assert (len(paths) > 0) == (name not in ("bert", "fused"))
    samples = context.sample(3)
    assert largest_difference(loosened(samples), original(samples)) < EXACT
    share = count_macs(loosened, samples[:1]) / count_macs(original, samples[:1])
    assert share == 1 or (name == "swin_v2" and share < 1)  # whose small network for positions is evaluated
    trained = loosened.train()(samples).sum()
    trained.backward()
    assert all(p.grad is not None for m in loosened.modules() if isinstance(m, SelfAttention) for p in m.parameters())


class Crossing(nn.Module):
    """Attends to other tokens than its own."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(32, 4, batch_first=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        other = x.flip(1) ** 2
        return self.attention(x, other, other, need_weights=False)[0]


def test_attention_is_unchanged_when_it_is_not_self_attention(context):
    model = Tokens(Crossing()).eval()
    assert loosen(model, context.sample(1)) == []
    assert isinstance(model.layers[0].attention, nn.MultiheadAttention)


@pytest.mark.parametrize("batch_first", [True, False])
def test_masks_mean_the_same_as_in_the_standard_attention(batch_first):
    torch.manual_seed(0)
    common = nn.MultiheadAttention(16, 2, batch_first=batch_first).eval()
    ours = loose(common)
    assert isinstance(ours, TokenAttention)
    x = torch.randn(3, 5, 16)
    x = x if batch_first else x.transpose(0, 1)
    padding = torch.zeros(3, 5, dtype=torch.bool)
    padding[1, 3:] = True
    causal = torch.ones(5, 5, dtype=torch.bool).triu(1)
    for masks in ({}, {"key_padding_mask": padding}, {"attn_mask": causal}):
        wanted, _ = common(x, x, x, **masks)
        assert torch.allclose(ours(x, x, x, **masks)[0], wanted, atol=1e-5)


def test_window_attention_is_rebuilt_with_its_windows(context):
    model = made("swin")
    loosen(model, context.sample(1))
    shifts = [module.shift_size for module in model.modules() if isinstance(module, WindowAttention)]
    assert (0, 0) in shifts
    assert (2, 2) in shifts


def test_least_important_head_is_removed_first(context):
    model = made("vit")
    loosen(model, context.sample(1))
    attention = next(iter(attentions(model)))
    weak = model.get_submodule(attention.path)
    with torch.no_grad():
        for rows in (slice(16, 24), slice(48, 56), slice(80, 88)):  # of the third head
            weak.qkv.weight[rows] *= 1e-3
    scores = head_group(model, attention, "heads").scores(model, "magnitude_l2")
    assert scores.shape == (1, 4)
    assert scores[0].argmin() == 2


def test_each_head_loses_its_own_dimensions(context):
    model = made("vit")
    loosen(model, context.sample(1))
    attention = next(iter(attentions(model)))
    group = head_group(model, attention, "head_dims")
    weights = model.get_submodule(attention.path).qkv.weight
    with torch.no_grad():
        weights[[1, 8 + 5, 32 + 1, 32 + 8 + 5]] = 0  # queries and keys: number 1 of the first head, 5 of the second
    scores = group.scores(model, "magnitude_l2")
    assert scores.shape == (8, 8)
    assert scores[0].argmin() == 1
    assert scores[1].argmin() == 5


def test_heads_are_kept_when_attention_is_to_lose_none(context):
    original = made("vit")
    pruned, record = StructuredPrune(macs=0.75, round_to=2, attention="none").apply(
        original, replace(context, teacher=original)
    )
    assert {type(layer.self_attention) for layer in pruned.encoder.layers} == {nn.MultiheadAttention}
    assert record.done["macs_share"] <= 0.75
