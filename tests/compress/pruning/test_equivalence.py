"""What a pruned model must still do, beside its outputs."""

from __future__ import annotations

import copy

import torch
from torch import nn

from compress.pruning.equivalence import why_broken


class OwnLoss(nn.Module):
    """Needs targets in training mode, as detectors and many research networks do."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor, target: torch.Tensor | None = None) -> torch.Tensor:
        if self.training:
            assert target is not None
        return self.head(x)


class Normed(nn.Sequential):
    """Its batch norm fails in training mode alone, if a sample has no second value per channel."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(4, 3), nn.BatchNorm1d(3))


def test_pruned_model_is_not_blamed_when_the_original_does_not_run_in_training_mode_either() -> None:
    model = OwnLoss().eval()
    assert why_broken(copy.deepcopy(model), model, torch.ones(2, 4)) == ""


def test_pruned_model_is_refused_when_it_no_longer_runs_in_training_mode() -> None:
    model = Normed().eval()
    pruned = copy.deepcopy(model)
    pruned[1].register_forward_pre_hook(lambda module, inputs: 1 / (not module.training))
    assert "fails once channels are removed" in why_broken(pruned, model, torch.ones(2, 4))


def test_pruned_model_is_refused_when_it_does_not_run_at_all() -> None:
    model = OwnLoss().eval()
    broken = copy.deepcopy(model)
    broken.head = nn.Linear(5, 3)
    assert "mat1 and mat2 shapes" in why_broken(broken, model, torch.ones(2, 4))
