"""A float network that rounds values to 8 bits in the forward pass, with straight-through gradients.

Bengio, Leonard and Courville 2013 (arXiv 1308.3432). It approximates an int8 file that was quantized after training:
the file's own gradients are zero almost everywhere, those of this network are not.
"""

from __future__ import annotations

import copy

import torch
from torch import nn

LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)
LEVELS = 255


class _Rounded(nn.Module):
    """A layer that rounds its input to 256 levels of the observed range, and its weights to 255 per channel."""

    low: torch.Tensor
    high: torch.Tensor

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        self.watching = True
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        weight = layer.weight
        if not isinstance(weight, torch.Tensor):
            raise TypeError(f"{type(layer).__name__} has no weight")
        with torch.no_grad():
            dims = tuple(range(1, weight.ndim))
            step = weight.abs().amax(dims, keepdim=True).clamp_min(1e-12) / 127
            weight.copy_((weight / step).round() * step)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the layer to rounded values."""
        if self.watching:
            # low and high start at 0, because every range in the files contains 0.
            self.low = torch.minimum(self.low, x.detach().amin())
            self.high = torch.maximum(self.high, x.detach().amax())
            rounded = x
        else:
            step = ((self.high - self.low) / LEVELS).clamp_min(1e-12)
            inside = x.clamp(float(self.low), float(self.high))
            # Adds the rounding error as a constant, so the gradient passes as if nothing were rounded.
            rounded = inside + ((inside / step).round() * step - inside).detach()
        output: torch.Tensor = self.layer(rounded)
        return output


def straight_through(model: nn.Module, samples: torch.Tensor) -> nn.Module:
    """Return a copy of a float model that rounds like an int8 file, with gradients.

    Args:
        model: model in evaluation mode.
        samples: preprocessed samples for the ranges, (n, ...).

    Example:
        >>> rounded = straight_through(nn.Sequential(nn.Linear(2, 2)).eval(), torch.ones(4, 2))
        >>> tuple(rounded(torch.ones(1, 2)).shape)
        (1, 2)
    """
    copied = copy.deepcopy(model).eval()
    # A model that is a single layer has no parent in which to replace it.
    if isinstance(copied, LAYERS):
        copied = nn.Sequential(copied)
    for parent in [module for module in copied.modules() if not isinstance(module, _Rounded)]:
        for name, child in list(parent.named_children()):
            if isinstance(child, LAYERS):
                setattr(parent, name, _Rounded(child))
    wrapped = [module for module in copied.modules() if isinstance(module, _Rounded)]
    with torch.no_grad():
        copied(samples)
    for module in wrapped:
        module.watching = False
    return copied.requires_grad_(False)
