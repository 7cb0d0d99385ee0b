"""Rounding to 8-bit integers inside a float network, with learnt step sizes.

Esser, McKinstry, Bablani, Appuswamy and Modha, "Learned Step Size Quantization" (LSQ), ICLR 2020 (arXiv 1902.08153).
With v = x / s, codes from low to high and zero point z::

    y = (clip(round(v) + z, low, high) - z) * s
    dy/dx = 1 inside, 0 where clipped
    dy/ds = round(v) - v inside, low - z or high - z where clipped                        (their equation 3)
    dy/dz = 0 inside, -s where clipped           (LSQ+, Bhalgat et al. 2020, arXiv 2004.09576, for beta = -z * s)

Rounding is half to even and the division comes first, as in ONNX's QuantizeLinear, so that a file with these steps
rounds the same values in the same way.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from compress.core.targets import IntegerType

CODES: dict[IntegerType, tuple[int, int]] = {"uint8": (0, 255), "int8": (-128, 127)}
# Symmetric without -128, as ONNX Runtime's quantizer rounds weights.
WEIGHT_CODES = (-127, 127)
REDUCED_WEIGHT_CODES = (-64, 64)
"""7-bit codes, for processors that add two products in 16 bits (see :mod:`compress.core.targets`)."""
BIAS_CODES = (-(2.0**31), 2.0**31 - 128)
"""32-bit codes; the upper end is the largest float32 below the limit."""


class LearnedRounding(torch.autograd.Function):
    """The formulas above; ``balance`` multiplies the gradient of the step (the g of LSQ's section 2.2)."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        step: torch.Tensor,
        zero: torch.Tensor,
        low: int,
        high: int,
        balance: torch.Tensor,
    ) -> torch.Tensor:
        """Round x; step, zero and balance broadcast against it."""
        ctx.save_for_backward(x, step, zero, balance)
        ctx.codes = low, high
        return codes(x, step, zero, low, high).sub_(zero).mul_(step)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients for x, step and zero."""
        (grad,) = grads
        x, step, zero, balance = ctx.saved_tensors
        low, high = ctx.codes
        # Compute it again instead of storing a tensor as large as each activation.
        v = x / step
        # The straight-through estimator: the gradient passes where nothing was clipped.
        inside = (v >= low - zero) & (v <= high - zero)
        by_step = torch.round(v).clamp_(low - zero, high - zero).sub_(v.mul_(inside))
        for_zero = (torch.where(inside, 0.0, -step) * grad).sum_to_size(zero.shape) if ctx.needs_input_grad[2] else None
        for_step = by_step.mul_(grad).sum_to_size(step.shape) * balance
        return grad * inside, for_step, for_zero, None, None, None


def codes(x: torch.Tensor, step: torch.Tensor, zero: torch.Tensor, low: float, high: float) -> torch.Tensor:
    """Return the integers of QuantizeLinear, as floats."""
    return torch.div(x, step).round_().add_(zero).clamp_(low, high)


class FakeQuantize(nn.Module):
    """Rounds a tensor to the values of 8-bit integers.

    The logarithm of the step is learnt, so that it stays above 0 and an optimizer with normalised gradients changes
    small and large steps by the same share. The gradient is balanced so that under plain gradient descent the relative
    change of a step is the same as in LSQ.

    Args:
        low: smallest code.
        high: largest code.
        step: float32, () or (channels,) for one each along the first axis.
        zero: zero point; a code.
        learn_zero: whether it is learnt too (LSQ+). One at an end of the codes, as after a ReLU, is fixed.

    Attributes:
        log_step: natural logarithm of the step.
        offset: zero point as a share of the span of codes; the nearest code is used.
    """

    def __init__(self, low: int, high: int, step: torch.Tensor, zero: int = 0, *, learn_zero: bool = False) -> None:
        super().__init__()
        self.low, self.high = low, high
        self.log_step = nn.Parameter(torch.log(step.detach().clone()))
        self.offset = nn.Parameter(torch.tensor(zero / (high - low)), requires_grad=learn_zero and low < zero < high)

    @property
    def step(self) -> torch.Tensor:
        """Value of one code."""
        return self.log_step.exp()

    @property
    def zero(self) -> torch.Tensor:
        """Code of 0; its gradient is that of the offset, as if it were not rounded."""
        wanted = self.offset * (self.high - self.low)
        rounded = torch.clamp(torch.round(wanted.detach()), self.low, self.high)
        # Adds 0, but lets the gradient pass around the rounding.
        return rounded + (wanted - wanted.detach())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Round x, of any shape, in float32."""
        step = self._along(self.step, x)
        # N counts the features of one sample or, with a step per channel, the weights of a channel.
        count = x[0].numel() if step.ndim == 0 else x.numel() // step.numel()
        # LSQ's g = 1 / sqrt(N Q), over s^2: the gradient of log s is s times that of s, and the relative change of s
        # is 1 / s of the absolute one.
        balance = 1 / (math.sqrt(max(1, count) * self.high) * step.detach() ** 2)
        rounded: torch.Tensor = LearnedRounding.apply(x.float(), step, self.zero, self.low, self.high, balance)  # type: ignore[no-untyped-call]
        return rounded

    @torch.no_grad()
    def codes(self, x: torch.Tensor) -> torch.Tensor:
        """Return the integers for x, as floats."""
        return codes(x, self._along(self.step, x), self.zero, self.low, self.high)

    @staticmethod
    def _along(values: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return values if values.ndim == 0 else values.reshape(-1, *(1,) * (x.ndim - 1))


def round_bias(bias: torch.Tensor, activation: FakeQuantize, weight: FakeQuantize) -> torch.Tensor:
    """Round a bias to 32-bit integers with the products' step (Jacob et al. 2018, arXiv 1712.05877, section 2.4).

    Args:
        bias: (channels,).
        activation: fake quantizer of the layer's input.
        weight: fake quantizer of its weight.
    """
    step = bias_step(activation, weight)
    return bias + (bias_codes(bias, step) * step - bias).detach()


def bias_step(activation: FakeQuantize, weight: FakeQuantize) -> torch.Tensor:
    """Return the step of a bias, () or (channels,)."""
    return (activation.step * weight.step).detach()


def bias_codes(bias: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    """Return the integers of a bias, as floats."""
    return torch.clamp(torch.round(bias.detach() / step), *BIAS_CODES)
