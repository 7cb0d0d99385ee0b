"""Replacing layers by low-rank factors, where these take fewer multiply-adds."""

from __future__ import annotations

import math

import torch
from torch import nn

from compress.core.context import PassContext
from compress.core.foreign_code import eval_copy
from compress.core.pass_protocol import Declined, PassRecord
from compress.pruning.channels import find_head
from compress.pruning.reconstruction import Changes
from compress.pruning.refitting import reconstructed

Layer = nn.Linear | nn.Conv2d


def factorize(
    model: nn.Module, context: PassContext, *, energy: float, least_saving: float, refit_samples: int = 0
) -> tuple[nn.Module, PassRecord]:
    """Return a copy of a model with layers replaced by factors; unchanged and declined if no layer becomes cheaper.

    Args:
        model: model to factorize; not modified.
        context: context of the pass.
        energy: share of the squared singular values that each factor keeps.
        least_saving: smallest saving, as a share of a layer's multiply-adds, for which the layer is replaced.
        refit_samples: number of samples for refitting the last factors and the following layers; 0 disables it.

    Raises:
        UsageError: the data has only test samples.
    """
    factored = eval_copy(model)
    head = find_head(factored, context.sample(1))
    layers = {path: m for path, m in factored.named_modules() if isinstance(m, nn.Linear | nn.Conv2d)}
    done: dict[str, list[int]] = {}
    declined: list[Declined] = []
    with torch.random.fork_rng(devices=[]), context.progress.task("Factoring layers", total=len(layers)) as bar:
        for path, layer in layers.items():
            bar.advance(1, path)
            found = "it is the head" if layer is head else _factors(factored, path, layer, energy, least_saving)
            if isinstance(found, str):
                declined.append(Declined(path, found))
            else:
                parent, _, name = path.rpartition(".")
                setattr(factored.get_submodule(parent), name, nn.Sequential(*found))
                done[path] = [int(factor.weight.shape[0]) for factor in found[:-1]]
    if not done:
        return eval_copy(model), PassRecord.refused(
            f"no layer becomes cheaper by {least_saving:g} with factors that keep {energy:g} of the energy"
        )
    record = PassRecord({"ranks": done}, tuple(declined))
    if refit_samples:
        names = {f"{path}.{len(ranks)}": path for path, ranks in done.items()}
        record = reconstructed(record, eval_copy(model), factored, Changes(names=names), context, refit_samples)
    return factored, record


def _factors(model: nn.Module, path: str, layer: Layer, energy: float, least_saving: float) -> list[Layer] | str:
    """Return the factors that replace a layer, or why it stays."""
    if isinstance(layer, nn.Conv2d) and layer.groups > 1:
        return "a grouped convolution has few weights between its channels to factor"
    # torch passes out_proj.weight to a fused function; a Sequential has no such attribute.
    if isinstance(model.get_submodule(path.rpartition(".")[0]), nn.MultiheadAttention):
        return "attention reads its weights directly, without running the layer"
    factors = _of_linear(layer, energy) if isinstance(layer, nn.Linear) else _of_convolution(layer, energy)
    before, after = _cost([layer]), _cost(factors)
    if after > (1 - least_saving) * before:
        return f"its factors would take {after / before:.2f} of its multiply-adds"
    return factors


def _cost(layers: list[Layer]) -> int:
    """Return the multiply-adds of a chain of layers per output position; layers before a stride run more often."""
    total, positions = 0, 1
    for layer in reversed(layers):
        total += layer.weight.numel() * positions
        positions *= math.prod(getattr(layer, "stride", (1,)))
    return total


def least_rank(values: torch.Tensor, energy: float) -> int:
    """Return the smallest number of singular values whose squares reach the requested share.

    Example:
        >>> least_rank(torch.tensor([3.0, 1.0]), energy=0.8)
        1
    """
    shares = values.square().cumsum(0) / values.square().sum()
    return min(len(values), int((shares < energy).sum()) + 1)


def _split(matrix: torch.Tensor, energy: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (out, rank) and (rank, in) with nearly the matrix as their product, of about equal norms."""
    # In float32 the small singular values drown in rounding, and the rank depends on their sum.
    left, values, right = torch.linalg.svd(matrix.double(), full_matrices=False)
    rank = least_rank(values, energy)
    root = values[:rank].sqrt()
    return (left[:, :rank] * root).to(matrix.dtype), (root[:, None] * right[:rank]).to(matrix.dtype)


def _of_linear(layer: nn.Linear, energy: float) -> list[Layer]:
    up, down = _split(layer.weight.detach(), energy)
    first = nn.Linear(layer.in_features, len(down), bias=False)
    second = nn.Linear(len(down), layer.out_features, bias=layer.bias is not None)
    return _filled([first, second], [down, up], layer)


def _of_convolution(layer: nn.Conv2d, energy: float) -> list[Layer]:
    kernel = layer.weight.detach()
    has_bias = layer.bias is not None
    # The stride goes to the first factor, so that both run on the smaller map.
    if kernel.shape[2:] == (1, 1) and layer.padding in (0, (0, 0), "valid", "same"):
        up, down = _split(kernel[:, :, 0, 0], energy)
        first = nn.Conv2d(layer.in_channels, len(down), 1, layer.stride, bias=False)  # type: ignore[arg-type]
        second = nn.Conv2d(len(down), layer.out_channels, 1, bias=has_bias)
        return _filled([first, second], [down[:, :, None, None], up[:, :, None, None]], layer)
    # Tucker-2 (see the pass low_rank): the spatial dimensions are small and stay whole.
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
    # Padding stays at the convolution in the middle: without a bias, 1 x 1 layers map zeros to zeros.
    first = nn.Conv2d(layer.in_channels, inputs.shape[1], 1, bias=False)
    last = nn.Conv2d(outputs.shape[1], layer.out_channels, 1, bias=has_bias)
    weights = [inputs.T[:, :, None, None], core.transpose(0, 1), outputs[:, :, None, None]]
    return _filled([first, between, last], weights, layer)


def _basis(unfolding: torch.Tensor, energy: float) -> torch.Tensor:
    """Return the left singular vectors of an unfolding that keep a share of its energy: (channels, rank)."""
    left, values, _ = torch.linalg.svd(unfolding.double(), full_matrices=False)
    basis: torch.Tensor = left[:, : least_rank(values, energy)].to(unfolding.dtype)
    return basis


def _filled(factors: list[Layer], weights: list[torch.Tensor], layer: Layer) -> list[Layer]:
    """Return the factors with their weights; the last gets the layer's bias."""
    with torch.no_grad():
        for factor, weight in zip(factors, weights, strict=True):
            factor.weight.copy_(weight)
        if layer.bias is not None and factors[-1].bias is not None:
            factors[-1].bias.copy_(layer.bias)
    return factors
