"""Differentiable preprocessing from grey levels to a model's input."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from certify.core.errors import UsageError
from certify.data import ImagePreprocess, Preprocess


class Pixels(nn.Module):
    """A model that takes images of one size as grey levels, float32 (n, 3, H, W) of 0 to 255, RGB.

    Resizing is torch's with antialiasing, which follows Pillow's filters closely but not exactly; the result of an
    attack is therefore always checked on the file itself.

    Args:
        model: model in evaluation mode.
        contract: its preprocessing contract.

    Raises:
        UsageError: the model does not take images, or takes integers.
    """

    mean: torch.Tensor
    std: torch.Tensor
    grey: torch.Tensor

    def __init__(self, model: nn.Module, contract: Preprocess) -> None:
        super().__init__()
        if not isinstance(contract, ImagePreprocess) or not contract.dtype.startswith("float"):
            raise UsageError("A gradient attack needs a model that takes images as floats; use --method square.")
        self.model = model
        self.contract = contract
        shape = (1, contract.channels, 1, 1)
        self.register_buffer("mean", torch.tensor(contract.mean).view(shape))
        self.register_buffer("std", torch.tensor(contract.std).view(shape))
        self.register_buffer("grey", torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1))  # ITU-R 601-2, as Pillow

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the outputs of the classes, (n, classes), for images in grey levels."""
        contract = self.contract
        if contract.colour == "L":
            pixels = (pixels * self.grey).sum(1, keepdim=True)
        elif contract.colour == "BGR":
            pixels = pixels.flip(1)
        ready = (self._geometry(pixels) / contract.scale - self.mean) / self.std
        if contract.layout == "NHWC":
            ready = ready.permute(0, 2, 3, 1)
        outputs: torch.Tensor = self.model(ready)
        if contract.class_map is not None:
            outputs = outputs[:, list(contract.class_map)]
        # A single output is the logit of the second class; the first class has logit 0.
        if outputs.shape[1] == 1:
            outputs = torch.cat([torch.zeros_like(outputs), outputs], dim=1)
        # Cross-entropy takes logits; the logarithm of probabilities gives the same softmax.
        return outputs.clamp_min(1e-12).log() if contract.reading == "probabilities" else outputs

    def _geometry(self, pixels: torch.Tensor) -> torch.Tensor:
        contract = self.contract
        height, width = pixels.shape[2:]
        size = (height, width)
        if contract.resize == "exact":
            size = (contract.height, contract.width)
        elif contract.resize is not None:
            # Truncated, as torchvision's Resize does.
            long = int(contract.resize * max(height, width) / min(height, width))
            size = (contract.resize, long) if height <= width else (long, contract.resize)
        if size != (height, width):
            if contract.interpolation == "nearest":
                pixels = F.interpolate(pixels, size, mode="nearest-exact")
            else:
                pixels = F.interpolate(pixels, size, mode=contract.interpolation, antialias=True)
        top, left = round((size[0] - contract.height) / 2), round((size[1] - contract.width) / 2)
        return pixels[:, :, top : top + contract.height, left : left + contract.width]
