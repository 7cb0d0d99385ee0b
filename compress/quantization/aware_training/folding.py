"""Folding of batch normalisation into the preceding convolution, so that training rounds the weights that ship.

Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference", CVPR 2018
(arXiv 1712.05877), section 3.2; with frozen statistics, as Krishnamoorthi 2018 (arXiv 1806.08342, section 3.2.2)
recommends for the end of a training: w' = w * gamma / sigma, b' = (b - mean) * gamma / sigma + beta.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from compress.quantization.aware_training.value_places import ACCESSORS, Walk

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
CONVOLUTIONS = frozenset({F.conv1d, F.conv2d, F.conv3d})


def fold(model: nn.Module, sample: torch.Tensor) -> dict[str, str]:
    """Fold every batch norm that is the only reader of a convolution's output, in place, leaving an identity.

    Args:
        model: model in eval mode, on the CPU.
        sample: (1, ...), for tracing which layer follows which.

    Returns:
        Path of the convolution by that of the batch norm.
    """
    pairs = find_pairs(model, sample)
    for norm_path, conv_path in pairs.items():
        _fold(model.get_submodule(conv_path), model.get_submodule(norm_path))
        owner, _, name = norm_path.rpartition(".")
        setattr(model.get_submodule(owner), name, nn.Identity())
    return pairs


def give_biases(model: nn.Module, paths: Iterable[str]) -> None:
    """Give convolutions without a bias one of zeros: the form in which folding leaves them."""
    for path in paths:
        conv = model.get_submodule(path)
        if conv.bias is None:
            weight = conv.weight
            conv.bias = nn.Parameter(torch.zeros(len(weight), dtype=weight.dtype, device=weight.device))  # type: ignore[arg-type]


def find_pairs(model: nn.Module, sample: torch.Tensor) -> dict[str, str]:
    """Return paths of batch norms and of the convolutions before them; both run once, with no other reader between."""
    seen = _Readers(model)
    with torch.no_grad(), seen:
        model(sample)
    found = {}
    for value, (conv_path, _) in seen.convolved.items():
        readers = seen.readers[value]
        # Folding changes the convolution for every reader and every call.
        if len(readers) != 1 or seen.runs[conv_path] > 1:
            continue
        function, path = readers[0]
        norm = model.get_submodule(path)
        # Match exact types, because subclasses such as timm's BatchNormAct2d compute more than a norm.
        if function is F.batch_norm and type(norm) in NORMS and norm.track_running_stats and seen.runs[path] == 1:
            found[path] = conv_path
    return found


class _Readers(Walk):
    """Records which functions read the outputs of convolutions."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__(model)
        self._model = model
        self.convolved: dict[int, tuple[str, torch.Tensor]] = {}
        """By the id of the value, which is kept alive so that no other value gets the same id."""
        self.readers: dict[int, list[tuple[Any, str]]] = {}
        self.runs: dict[str, int] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in ACCESSORS:
            return func(*args, **kwargs)
        output = func(*args, **kwargs)
        if any(True for _ in _tensors((output,))):  # querying a shape is not a read
            for value in _tensors((args, tuple(kwargs.values()))):
                self.readers.setdefault(id(value), []).append((func, self.path))
        if func in CONVOLUTIONS or func is F.batch_norm:
            self.runs[self.path] = self.runs.get(self.path, 0) + 1
        conv = self._model.get_submodule(self.path)
        if func in CONVOLUTIONS and isinstance(conv, nn.modules.conv._ConvNd) and conv.weight is args[1]:
            self.convolved[id(output)] = self.path, output
            self.readers[id(output)] = []  # drop those of an older value with the same id
        return output


def _tensors(values: Any) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(value)


@torch.no_grad()
def _fold(conv: Any, norm: Any) -> None:
    """Fold in double precision, so that only the result is rounded."""
    sigma = torch.sqrt(norm.running_var.double() + norm.eps)
    gamma = torch.ones_like(sigma) if norm.weight is None else norm.weight.double()
    beta = torch.zeros_like(sigma) if norm.bias is None else norm.bias.double()
    bias = torch.zeros_like(sigma) if conv.bias is None else conv.bias.double()
    factor = gamma / sigma
    weight = conv.weight.double() * factor.reshape(-1, *(1,) * (conv.weight.ndim - 1))
    shifted = (bias - norm.running_mean.double()) * factor + beta
    conv.weight = nn.Parameter(weight.to(conv.weight.dtype))
    conv.bias = nn.Parameter(shifted.to(conv.weight.dtype))
