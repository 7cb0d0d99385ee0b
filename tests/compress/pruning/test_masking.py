"""The masked original computes the same as the pruned network, and changes other than cuts are detected."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from compress.pruning.equivalence import why_inexact
from compress.pruning.masking import NotComparable, lively, masked

CUT = [0, 2, 3, 6, 7]


class Mixed(nn.Module):
    """A convolution, a normalisation over channels, and a classifier that sees several places."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.batch = nn.BatchNorm2d(width)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(4 * width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.batch(self.conv(x)))
        x = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return self.head(x.flatten(1))


@pytest.fixture
def samples() -> torch.Tensor:
    return torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def original(samples) -> Mixed:
    torch.manual_seed(0)
    net = Mixed().eval()
    lively(net, samples)
    return net


@pytest.fixture
def pruned(original) -> Mixed:
    """The original without three of its eight channels."""
    net = Mixed(len(CUT)).eval()
    places = [4 * channel + place for channel in CUT for place in range(4)]
    state = {name: t if t.ndim == 0 else t[CUT] for name, t in original.state_dict().items() if "head" not in name}
    state["head.weight"], state["head.bias"] = original.head.weight[:, places].detach(), original.head.bias.detach()
    net.load_state_dict(state)
    return net


def test_masked_original_matches_the_pruned_network(original, pruned, samples):
    before = copy.deepcopy(original.state_dict())
    found = masked(original, pruned)(samples)
    assert torch.allclose(found, pruned(samples), atol=1e-6)
    assert not torch.allclose(found, original(samples), atol=1e-2)
    assert all(torch.equal(t, before[name]) for name, t in original.state_dict().items())


def test_masked_original_differs_when_the_pruned_network_computes_something_else(original, pruned, samples):
    pruned.forward = lambda x: Mixed.forward(pruned, x) * 1.01
    assert not torch.allclose(masked(original, pruned)(samples), pruned(samples), atol=1e-3)


@pytest.mark.parametrize("name", ["conv.weight", "head.weight", "head.bias"])
def test_network_is_not_comparable_when_its_weights_are_not_those_of_the_original(original, pruned, name):
    with torch.no_grad():
        pruned.get_parameter(name).mul_(1.01)
    with pytest.raises(NotComparable, match=name):
        masked(original, pruned)


def test_network_is_not_comparable_when_channels_were_reordered(original, pruned):
    with torch.no_grad():
        pruned.conv.weight.copy_(pruned.conv.weight.flip(0))
    with pytest.raises(NotComparable, match=r"conv.weight"):
        masked(original, pruned)


def test_network_is_not_comparable_when_it_has_other_tensors(original, pruned):
    pruned.extra = nn.Linear(1, 1)
    with pytest.raises(NotComparable, match=r"extra\.bias"):
        masked(original, pruned)


def test_positions_are_found_when_rows_begin_with_the_same_number(original, pruned, samples):
    """Rows 1 and 2 of the original begin with the same number; only 2 is left."""
    with torch.no_grad():
        original.conv.weight[:3, 0, 0, 0] = 0.125
        pruned.conv.weight[:2, 0, 0, 0] = 0.125
    assert torch.allclose(masked(original, pruned)(samples), pruned(samples), atol=1e-6)


def test_every_constant_becomes_a_row_of_different_numbers(samples):
    net = Mixed().eval()
    nn.init.zeros_(net.head.weight)
    lively(net, samples)
    for name, tensor in net.named_parameters():
        assert len(np.unique(tensor.detach())) == tensor.numel(), name
    assert net.batch.running_mean.abs().min() > 0 and not net.batch.training


def _cut(net: Mixed, batch: list[int]) -> None:
    """Leave five channels of all layers, of the batch norm those that are given."""
    places = [4 * channel + place for channel in CUT for place in range(4)]
    for layer, kept in ((net.conv, CUT), (net.norm, CUT), (net.batch, batch)):
        for tensor in (*layer.parameters(), *layer.buffers()):
            if tensor.ndim:
                tensor.data = tensor.data[kept]
    net.norm.normalized_shape = (len(CUT),)
    net.head.weight.data = net.head.weight.data[:, places]


def test_cut_is_exact_when_all_layers_lose_the_same_channels(samples):
    net = Mixed().eval()
    before = copy.deepcopy(net.state_dict())
    assert why_inexact(net, lambda copied: _cut(copied, CUT), samples) == ""
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())


def test_cut_is_inexact_when_one_layer_loses_others(samples):
    why = why_inexact(Mixed().eval(), lambda copied: _cut(copied, [0, 1, 2, 3, 4]), samples)
    assert "not equivalent to masking" in why


def test_cut_is_inexact_when_it_changes_the_rest(samples):
    def cut(net: Mixed) -> None:
        _cut(net, CUT)
        net.conv.weight.data *= 1.5

    assert "cannot be shown" in why_inexact(Mixed().eval(), cut, samples)
