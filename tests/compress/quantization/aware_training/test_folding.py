"""Batch norms go into the convolutions before them, and only where nothing else looks in between."""

from __future__ import annotations

import torch
from torch import nn

from compress.quantization.aware_training.folding import find_pairs, fold


class Looked(nn.Module):
    """A convolution whose output goes past its batch norm too, and a batch norm with no convolution before it."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
        self.second, self.last = nn.Conv2d(4, 4, 3, bias=False), nn.BatchNorm2d(4, affine=False)
        self.before = nn.BatchNorm2d(4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made = self.first(x)
        return self.last(self.second(self.before(torch.relu(made + self.norm(made)))))


def _with_statistics(net: nn.Module) -> nn.Module:
    with torch.no_grad():
        for _ in range(3):
            net.train()(torch.randn(8, 3, 16, 16))
    return net.eval()


def test_outputs_are_the_same_when_batch_norms_are_folded(model):
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        wanted = model(x)
        pairs = fold(model, x[:1])
        found = model(x)
    assert pairs == {f"{path}.1": f"{path}.0" for path in ("stem", "first", "down", "second")}
    assert all(isinstance(model.get_submodule(path), nn.Identity) for path in pairs)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)


def test_only_sole_readers_are_folded():
    torch.manual_seed(0)
    net = _with_statistics(Looked())
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        wanted = net(x)
        assert fold(net, x[:1]) == {"last": "second"}
        torch.testing.assert_close(net(x), wanted, rtol=1e-5, atol=1e-5)
    assert type(net.norm) is nn.BatchNorm2d
    assert type(net.before) is nn.BatchNorm2d


def test_convolution_is_not_folded_when_it_runs_twice():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.conv(self.conv(x)))

    assert find_pairs(Twice().eval(), torch.randn(1, 3, 8, 8)) == {}
