"""Rounding blocks of a torch model as a quantized file does, to measure the loss."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from compress.core.forward_hooks import attach_hooks
from compress.core.targets import Target
from compress.costs.items import LAYERS
from compress.quantization.aware_training.fake_quantize import CODES, REDUCED_WEIGHT_CODES, WEIGHT_CODES, codes
from compress.quantization.post_training.blockwise import round_nearest
from compress.quantization.post_training.weight_only import INT4_BITS, INT4_BLOCK

PreHook = Callable[[nn.Module, tuple[Any, ...]], tuple[Any, ...]]
SMALLEST = 1e-12
"""Step of a value that is always 0."""


@dataclass(frozen=True)
class Rounding:
    """How values are rounded.

    Attributes:
        target: integer types.
        per_channel: whether each output channel of a weight has its own step.
        samples: (n, ...) inputs of the model, from which the ranges of activations come.
    """

    target: Target
    per_channel: bool
    samples: torch.Tensor

    def apply(self, model: nn.Module, blocks: Collection[str]) -> None:
        """Round weights and inputs of all convolutions and linear layers inside some blocks, in place.

        Args:
            model: model in eval mode; its hooks round the inputs from now on.
            blocks: paths of the blocks.
        """
        inside = _layers_inside(model, blocks)
        ranges: dict[nn.Module, tuple[float, float]] = {}

        def observe(module: nn.Module, inputs: tuple[Any, ...], _: object) -> None:
            low, high = ranges.get(module, (0.0, 0.0))  # integers must represent 0 exactly
            ranges[module] = min(low, float(inputs[0].min())), max(high, float(inputs[0].max()))

        with attach_hooks((module, observe) for module in inside), torch.no_grad():
            model(self.samples)
            for module in inside:
                module.weight.copy_(self._weight(module.weight))
        for module in inside:
            if module in ranges:
                # Not removed: the copy is thrown away after its loss has been measured.
                module.register_forward_pre_hook(self._rounds(*ranges[module]))

    def _weight(self, weight: torch.Tensor) -> torch.Tensor:
        low, high = REDUCED_WEIGHT_CODES if self.target.reduce_range else WEIGHT_CODES
        # Weights are always symmetric in the quantizer's files, so the largest magnitude alone sets the step.
        flat = weight.abs().flatten(1).amax(1) if self.per_channel else weight.abs().max()
        step = (flat / high).clamp_min(SMALLEST).reshape(-1, *(1,) * (weight.ndim - 1))
        return codes(weight, step, torch.zeros(()), low, high) * step

    def _rounds(self, low: float, high: float) -> PreHook:
        least, most = CODES[self.target.activation_type]
        if self.target.symmetric:
            low, high = -max(-low, high), max(-low, high)
        step = torch.tensor(max((high - low) / (most - least), SMALLEST))
        zero = torch.tensor(float(round(least - low / float(step))))

        def round_input(_: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
            return ((codes(inputs[0], step, zero, least, most) - zero) * step, *inputs[1:])

        return round_input


def int4_weights(model: nn.Module, blocks: Collection[str]) -> None:
    """Round the weights of all linear layers inside some blocks to 4 bits, in place; activations stay float.

    Args:
        model: model in eval mode.
        blocks: paths of the blocks, whose only matrices are weights of linear layers.
    """
    with torch.no_grad():
        for module in _layers_inside(model, blocks):
            rounded = round_nearest(module.weight.numpy(), INT4_BITS, INT4_BLOCK, symmetric=False)
            module.weight.copy_(torch.from_numpy(rounded.values))


def _layers_inside(model: nn.Module, blocks: Collection[str]) -> list[Any]:
    """Return the convolutions and linear layers inside some blocks."""
    return [
        module
        for path, module in model.named_modules()
        if isinstance(module, LAYERS) and any(path == block or path.startswith(f"{block}.") for block in blocks)
    ]
