"""Folding norms keeps the network; layers that mix samples are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from certify.core.errors import UsageError
from compress.exchange import checkpoint
from compress.private.norms import fold, mixing_layers, require_separate_samples
from compress.testing.networks import network


class Before(nn.Module):
    """A norm that no layer stands before alone."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, (n, 2)."""
        y = self.conv(x)
        return self.head((torch.relu(self.norm(y)) + y).mean((2, 3)))


def used(model: nn.Module) -> nn.Module:
    torch.manual_seed(1)
    for _ in range(3):
        model.train()(2 + torch.randn(16, 3, 32, 32))
    return model.eval()


@pytest.mark.parametrize(("model", "by_channel"), [(network("residual"), False), (used(Before()), True)])
def test_outputs_are_the_same_when_norms_are_folded(model: nn.Module, by_channel: bool) -> None:
    samples = torch.randn(8, 3, 32, 32)
    folded_model, folded, left = fold(model)
    assert folded and not left
    assert {how == "into a scale and a shift per channel" for how in folded.values()} == {by_channel}
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in folded_model.modules())
    torch.testing.assert_close(folded_model(samples), model(samples), rtol=1e-4, atol=1e-4)
    assert mixing_layers(folded_model.train()) == []


def test_folded_model_loads_again_from_its_checkpoint(tmp_path: Path) -> None:
    model, samples = network("residual"), torch.randn(2, 3, 32, 32)
    folded_model, _, _ = fold(model)
    checkpoint.save(tmp_path / "m.safetensors", folded_model, None, original=model)
    torch.testing.assert_close(checkpoint.load(tmp_path / "m.safetensors", into=model)(samples), folded_model(samples))


@pytest.mark.parametrize("frozen", [False, True])
def test_batch_norm_in_train_mode_is_refused_when_its_weights_are_frozen_too(frozen: bool) -> None:
    model = network("residual").train()
    for parameter in model.parameters():
        parameter.requires_grad_(not frozen)
    with pytest.raises(UsageError, match="stem.1 mixes samples; put fold_norms"):
        require_separate_samples(model)
    require_separate_samples(model.eval())


def test_norm_without_statistics_mixes_samples_in_eval_mode_too() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False)).eval()
    assert mixing_layers(model) == ["1"] and set(fold(model)[2]) == {"1"}
    assert mixing_layers(nn.Sequential(nn.GroupNorm(1, 4), nn.LayerNorm(4)).train()) == []
