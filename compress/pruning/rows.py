"""Data of a layer for least squares: its inputs and targets at some positions of each sample."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch.fx import Node

from compress.pruning.sites import Layer


@dataclass(frozen=True)
class Rows:
    """Sampling of the positions of a batch for least squares.

    Attributes:
        layer: layer that reads them.
        generator: random generator.
        most: maximum number of positions per sample.
        samples: number of samples in a batch.
    """

    layer: Layer
    generator: torch.Generator
    most: int
    samples: int

    def of(self, weight: torch.Tensor, taken: torch.Tensor, wanted: torch.Tensor) -> tuple[Any, Any]:
        """Return inputs (groups, rows, inputs) and targets (groups, rows, outputs), without groups if there is one.

        Args:
            weight: weight of the layer.
            taken: inputs of the layer.
            wanted: targets of the layer, in the shape of its output.
        """
        if not self.layer.is_convolution:
            x, y = taken.flatten(0, -2), wanted.flatten(0, -2)
            # A linear layer's rows are tokens of all samples, so the limit holds for the batch as a whole.
            most = self.most * self.samples
            if len(x) > most:
                # Sorted, so that the rows of a sample stay together.
                chosen = torch.randperm(len(x), generator=self.generator)[:most].sort().values
                x, y = x[chosen], y[chosen]
            return x.numpy(), y.numpy()
        windows = _windows(self.layer.node, taken, weight.shape[2:])
        places = wanted.shape[2:]
        count = math.prod(places)
        chosen = torch.arange(count)
        if count > self.most:
            chosen = torch.randperm(count, generator=self.generator)[: self.most]
        at = torch.unravel_index(chosen, places)
        groups, kernel = self.layer.groups, weight.shape[2:].numel()
        x = _at(windows, at).reshape(-1, groups, taken.shape[1] // groups * kernel)
        y = _at(wanted, at).reshape(-1, groups, wanted.shape[1] // groups)
        if groups == 1:
            return x[:, 0].numpy(), y[:, 0].numpy()
        return x.movedim(1, 0).contiguous().numpy(), y.movedim(1, 0).contiguous().numpy()


def _at(values: torch.Tensor, at: tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Return (n, positions, channels, ...) from values (n, channels, *places, ...) at some places."""
    everywhere: tuple[Any, ...] = (slice(None), slice(None), *at)
    return values[everywhere].movedim(1, 2)


def _windows(node: Node, taken: torch.Tensor, kernel: torch.Size) -> torch.Tensor:
    """Return the receptive field of each position of a convolution: (n, channels, *positions, *kernel), a view."""
    dims = len(kernel)
    # torch.export leaves out trailing arguments that equal their defaults: stride 1, padding 0, dilation 1.
    settings: list[Any] = [*node.args[3:6], *([1], [0], [1])[len(node.args[3:6]) :]]
    stride, padding, dilation = (
        each * dims if isinstance(each, list) and len(each) == 1 else each for each in settings
    )
    pads: list[int] = []
    # F.pad takes the last dimension first; of an odd "same" padding, torch puts the larger part at the end.
    for dim in reversed(range(dims)):
        whole = dilation[dim] * (kernel[dim] - 1) if padding == "same" else 0
        before = whole // 2 if isinstance(padding, str) else padding[dim]
        pads += [before, whole - before if isinstance(padding, str) else before]
    seen = F.pad(taken, pads)
    for dim in range(dims):
        reach = dilation[dim] * (kernel[dim] - 1) + 1
        seen = seen.unfold(2 + dim, reach, stride[dim])[..., :: dilation[dim]]
    return seen
