"""Feeding a model with samples preprocessed for another one, such as a teacher with the student's."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from certify.core.errors import ModelError
from certify.data import ImagePreprocess, Preprocess, TokenPreprocess
from compress.models.built_model import BuiltModel
from compress.models.tokens import adapt_tokens


class InputAdapter(nn.Module):
    """Wrap a model so that it takes images preprocessed for another model: they are rescaled and resized to its own.

    Args:
        model: model to feed.
        scale: factor of each channel, (C,).
        shift: offset of each channel, (C,).
        size: (H, W) of its input, or None for any size.
    """

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(
        self, model: nn.Module, scale: torch.Tensor, shift: torch.Tensor, size: tuple[int, int] | None
    ) -> None:
        super().__init__()
        self.model, self.size = model, size
        self.register_buffer("scale", scale.view(1, -1, 1, 1))
        self.register_buffer("shift", shift.view(1, -1, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Return the logits of the model: (n, outputs)."""
        images = images * self.scale + self.shift
        if self.size is not None and images.shape[2:] != self.size:
            images = F.interpolate(images, self.size, mode="bilinear", antialias=True)
        logits: torch.Tensor = self.model(images)
        return logits


def adapt_input(built: BuiltModel, preprocess: Preprocess) -> nn.Module:
    """Wrap the model, in evaluation mode, so that it accepts inputs preprocessed for another model.

    Raises:
        ModelError: one takes images and the other tokens, or their tokens differ.
    """
    if isinstance(preprocess, TokenPreprocess):
        return adapt_tokens(built.model, preprocess).eval()
    if built.tokens is not None or not isinstance(preprocess, ImagePreprocess):
        raise ModelError(f"{built.spec} takes tokens, but the preprocessing contract makes images; give another.")
    std, mean = (torch.tensor(values) for values in (preprocess.std, preprocess.mean))
    own_std, own_mean = torch.tensor(built.std or preprocess.std), torch.tensor(built.mean or preprocess.mean)
    return InputAdapter(built.model, std / own_std, (mean - own_mean) / own_std, built.input_size).eval()
