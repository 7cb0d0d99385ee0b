"""Factors give nearly the same product for fewer multiply-adds."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from compress.core.model_stats import count_macs, state_digest
from compress.exchange import checkpoint
from compress.models.built_model import ModelSource
from compress.passes.low_rank import LowRank
from compress.pruning.low_rank import least_rank


class Low(nn.Module):
    """Layers whose weights have few directions; one of each kind that is factored, and two that are not."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 3, 2, 1)
        self.wide = nn.Conv2d(32, 64, 3, 2, 1)
        self.point = nn.Conv2d(64, 64, 1, 2)
        self.depth = nn.Conv2d(64, 64, 3, padding=1, groups=64)
        self.hidden = nn.Linear(64, 64)
        self.head = nn.Linear(64, 4)
        with torch.no_grad():
            for layer, rank in ((self.wide, 3), (self.point, 4), (self.hidden, 5)):
                shape = layer.weight.shape
                outer, inner = torch.randn(shape[0], rank), torch.randn(rank, shape[1])
                kernel = torch.randn(1, 1, *shape[2:]) if layer.weight.ndim == 4 else 1.0
                layer.weight.copy_((outer @ inner).view(*shape[:2], *[1] * (len(shape) - 2)) * kernel / shape[1])

    def forward(self, x):
        x = torch.relu(self.wide(torch.relu(self.stem(x))))
        x = torch.relu(self.depth(self.point(x)))
        return self.head(torch.relu(self.hidden(x.mean((2, 3)))))


@pytest.fixture
def low():
    torch.manual_seed(0)
    return Low().eval()


def test_factors_give_the_same_outputs_when_the_weights_have_that_rank(low, context):
    context = replace(context, teacher=low)
    factored, record = LowRank(energy=0.999999).apply(low, context)
    assert record.done["ranks"] == {"wide": [3, 3], "point": [4], "hidden": [5]}
    sample = context.sample(8)
    with torch.no_grad():
        assert torch.allclose(factored(sample), low(sample), atol=1e-4)
    assert count_macs(factored, sample[:1]) < 0.6 * count_macs(low, sample[:1])
    reasons = {d.what: d.why for d in record.declined}
    assert "grouped" in reasons["depth"] and reasons["head"] == "it is the head" and "would take" in reasons["stem"]


def test_model_is_unchanged_when_no_layer_becomes_cheaper(model, context):
    same, record = LowRank(energy=0.999).apply(model, context)
    assert not record.changed and "no layer becomes cheaper" in record.declined[0].why
    assert state_digest(same) == state_digest(model)


@pytest.mark.parametrize(("energy", "rank"), [(0.5, 1), (0.79, 1), (0.81, 2), (0.99, 3)])
def test_rank_is_the_least_that_keeps_the_energy(energy, rank):
    assert least_rank(torch.tensor([4.0, 1.5, 1.3, 0.0]), energy) == rank  # squares 16, 2.25, 1.69


def test_attention_is_not_factored(context):
    attention = nn.MultiheadAttention(16, 2, batch_first=True)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.patch, self.attention, self.head = nn.Conv2d(3, 16, 8, 8), attention, nn.Linear(16, 4)

        def forward(self, x):
            x = self.patch(x).flatten(2).transpose(1, 2)
            return self.head(self.attention(x, x, x)[0].mean(1))

    _, record = LowRank(energy=0.1).apply(Net().eval(), replace(context, teacher=None))
    assert "patch" in record.done["ranks"]
    assert not any(path.startswith("attention") for path in record.done["ranks"])


def test_checkpoint_restores_a_factored_model(context, tmp_path):
    source = ModelSource("torchvision.models:squeezenet1_1", {}, 4)
    model = source.instantiate().eval()
    factored, _ = LowRank(energy=0.4).apply(model, replace(context, teacher=model))
    checkpoint.save(tmp_path / "m.safetensors", factored, source)
    loaded = checkpoint.load(tmp_path / "m.safetensors")
    with torch.no_grad():
        assert torch.equal(loaded(context.sample(2)), factored(context.sample(2)))
