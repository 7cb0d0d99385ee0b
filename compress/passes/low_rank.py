"""Low-rank factors: a layer becomes two or three thinner ones with nearly the same product."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from compress.core.context import PassContext
from compress.core.pass_protocol import Declined, PassRecord, TorchPass

if TYPE_CHECKING:
    import torch
    from torch import nn

    Layer = nn.Linear | nn.Conv2d


class LowRank(TorchPass):
    """Replace linear layers and convolutions by factors of low rank, where that takes fewer multiply-adds.

    A linear layer and a 1 x 1 convolution become two layers through the truncated singular value decomposition. A
    larger convolution becomes three through Tucker's decomposition of its two channel dimensions: 1 x 1 down, the
    kernel between the two ranks, 1 x 1 up. Each rank is the least that keeps the asked share of the energy (the sum
    of the squared singular values). A layer whose factors would not be cheaper stays as it is.

    Papers: Denton et al. 2014 (arXiv 1404.0736) for the SVD; Kim et al., "Compression of Deep Convolutional Neural
    Networks for Fast and Low Power Mobile Applications", ICLR 2016 (arXiv 1511.06530) for Tucker-2.

    When not to use it: on depthwise or grouped convolutions (left out), on nets that are narrow already (their
    weights have hardly any small singular values), or where latency counts more than multiply-adds: two thin layers
    need more memory traffic than one. Put `distill` or `finetune` behind it.
    """

    name: ClassVar[str] = "low_rank"
    version: ClassVar[int] = 1

    energy: float = Field(0.9, gt=0, lt=1, description="Share of the squared singular values that each factor keeps.")
    least_saving: float = Field(
        0.1, ge=0, lt=1, description="Share of a layer's multiply-adds that must be saved for it to be replaced."
    )

    def apply(self, model: nn.Module, context: PassContext) -> tuple[nn.Module, PassRecord]:
        """See :meth:`Pass.apply`. A model of which no layer becomes cheaper comes back unchanged, declined."""
        import torch
        from torch import nn

        from compress.pruning.channels import find_head

        factored = copy.deepcopy(model).cpu().eval()
        head = find_head(factored, context.sample(1))
        layers = {path: m for path, m in factored.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
        done: dict[str, list[int]] = {}
        declined: list[Declined] = []
        with torch.random.fork_rng(devices=[]), context.progress.task("Factoring layers", total=len(layers)) as bar:
            for path, layer in layers.items():
                bar.advance(1, path)
                why = self._replace(factored, path, layer, done) if layer is not head else "it is the head"
                if why:
                    declined.append(Declined(path, why))
        if not done:
            return copy.deepcopy(model).cpu().eval(), PassRecord.refused(
                f"no layer becomes cheaper by {self.least_saving:g} when its factors keep {self.energy:g} of the energy"
            )
        return factored, PassRecord({"ranks": done}, tuple(declined))

    def _replace(self, model: nn.Module, path: str, layer: Layer, done: dict[str, list[int]]) -> str:
        """Put factors in a layer's place; why not, or an empty string."""
        from torch import nn

        if isinstance(layer, nn.Conv2d) and layer.groups > 1:
            return "a grouped convolution has few weights between its channels to factor"
        if isinstance(model.get_submodule(path.rpartition(".")[0]), nn.MultiheadAttention):
            return "attention reads its weights itself, not by running the layer"
        factors = (
            _of_linear(layer, self.energy) if isinstance(layer, nn.Linear) else _of_convolution(layer, self.energy)
        )
        before, after = _cost([layer]), _cost(factors)
        if after > (1 - self.least_saving) * before:
            return f"its factors would take {after / before:.2f} of its multiply-adds"
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, nn.Sequential(*factors))
        done[path] = [int(factor.weight.shape[0]) for factor in factors[:-1]]
        return ""


def _cost(layers: list[Layer]) -> int:
    """Multiply-adds of a chain of layers for each of its output positions; those before a stride run more often."""
    total, positions = 0, 1
    for layer in reversed(layers):
        total += layer.weight.numel() * positions
        positions *= math.prod(getattr(layer, "stride", (1,)))
    return total


def _rank(values: torch.Tensor, energy: float) -> int:
    """Least number of singular values whose squares are the asked share of all."""
    shares = values.square().cumsum(0) / values.square().sum()
    return min(len(values), int((shares < energy).sum()) + 1)


def _split(matrix: torch.Tensor, energy: float) -> tuple[torch.Tensor, torch.Tensor]:
    """(out, rank) and (rank, in) with nearly the matrix as their product, both of about the same size."""
    import torch

    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    rank = _rank(values, energy)
    root = values[:rank].sqrt()
    return (left[:, :rank] * root).to(matrix.dtype), (root[:, None] * right[:rank]).to(matrix.dtype)


def _of_linear(layer: nn.Linear, energy: float) -> list[Layer]:
    from torch import nn

    up, down = _split(layer.weight.detach(), energy)
    first = nn.Linear(layer.in_features, len(down), bias=False)
    second = nn.Linear(len(down), layer.out_features, bias=layer.bias is not None)
    return _filled([first, second], [down, up], layer)


def _of_convolution(layer: nn.Conv2d, energy: float) -> list[Layer]:
    from torch import nn

    kernel = layer.weight.detach()
    has_bias = layer.bias is not None
    if kernel.shape[2:] == (1, 1) and layer.padding in (0, (0, 0), "valid", "same"):
        up, down = _split(kernel[:, :, 0, 0], energy)
        first = nn.Conv2d(layer.in_channels, len(down), 1, layer.stride, bias=False)  # type: ignore[arg-type]
        second = nn.Conv2d(len(down), layer.out_channels, 1, bias=has_bias)
        return _filled([first, second], [down[:, :, None, None], up[:, :, None, None]], layer)
    outputs, inputs = (_basis(kernel.transpose(0, dim).flatten(1), energy) for dim in (0, 1))
    core = (outputs.T @ kernel.flatten(1)).view(outputs.shape[1], *kernel.shape[1:])
    core = (inputs.T @ core.transpose(0, 1).flatten(1)).view(inputs.shape[1], outputs.shape[1], *kernel.shape[2:])
    between = nn.Conv2d(
        inputs.shape[1],
        outputs.shape[1],
        layer.kernel_size,  # type: ignore[arg-type]
        layer.stride,  # type: ignore[arg-type]
        layer.padding,  # type: ignore[arg-type]
        layer.dilation,  # type: ignore[arg-type]
        padding_mode=layer.padding_mode,
        bias=False,
    )
    first = nn.Conv2d(layer.in_channels, inputs.shape[1], 1, bias=False)
    last = nn.Conv2d(outputs.shape[1], layer.out_channels, 1, bias=has_bias)
    weights = [inputs.T[:, :, None, None], core.transpose(0, 1), outputs[:, :, None, None]]
    return _filled([first, between, last], weights, layer)


def _basis(unfolding: torch.Tensor, energy: float) -> torch.Tensor:
    """Left singular vectors of an unfolding that keep the asked share of its energy: (channels, rank)."""
    import torch

    left, values, _ = torch.linalg.svd(unfolding.double(), full_matrices=False)
    basis: torch.Tensor = left[:, : _rank(values, energy)].to(unfolding.dtype)
    return basis


def _filled(factors: list[Layer], weights: list[torch.Tensor], layer: Layer) -> list[Layer]:
    """The factors with their weights; the last has the layer's bias."""
    import torch

    with torch.no_grad():
        for factor, weight in zip(factors, weights, strict=True):
            factor.weight.copy_(weight)
        if layer.bias is not None and factors[-1].bias is not None:
            factors[-1].bias.copy_(layer.bias)
    return factors
