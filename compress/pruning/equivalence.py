"""Whether a model that was cut still works, and whether cutting is what it is taken for."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import nn

TRACE_FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What is raised on an architecture that a tracing does not understand, or by layers that no longer fit together."""

OF_EFFECT, OF_OUTPUT = 1e-2, 1e-5
"""Largest difference between removing and masking, as shares of what masking changes and of the outputs; rounding alone
makes far less of the first, and a channel taken for another far more."""


def why_broken(pruned: nn.Module, original: nn.Module, sample: torch.Tensor) -> str:
    """Why a pruned model can't be used, or an empty string: it must run in both modes and keep its outputs.

    Args:
        pruned: in eval mode; left as it is.
        original: what it was made from.
        sample: (2, ...): batch norms need two to train.
    """
    import torch

    training = copy.deepcopy(pruned).train()
    try:
        with torch.no_grad():
            outputs = pruned(sample)
            training(sample)
            wanted = copy.deepcopy(original).cpu().eval()(sample).shape
    except TRACE_FAILURES as error:
        return f"its forward pass fails once channels are removed ({named(error)})"
    if outputs.shape != wanted:
        return f"its output changes its shape from {tuple(wanted)} to {tuple(outputs.shape)} once channels are removed"
    if not bool(torch.isfinite(outputs).all()):
        return "its outputs are not finite once channels are removed"
    return ""


def why_inexact(model: nn.Module, cut: Callable[[nn.Module], object], sample: torch.Tensor) -> str:
    """Why removing channels is something else than masking them, or an empty string.

    Tried on a copy with numbers among which none is like another, so that what was removed can be read off them. A
    trace can take one channel for another where both are of one width: behind channels that were padded, for example.

    Args:
        model: left as it is.
        cut: removes channels of the model that it is given, in place.
        sample: (2, ...) to compare on.
    """
    import torch

    from compress.pruning.masking import NotComparable, lively, masked

    original = copy.deepcopy(model).cpu().eval()
    lively(original, sample)
    pruned = copy.deepcopy(original)
    cut(pruned)
    with torch.no_grad():
        try:
            wanted = masked(original, pruned)(sample)
        except NotComparable as error:
            return f"that removing its channels is the same as masking them can't be shown ({error})"
        difference = float((pruned(sample) - wanted).abs().max())
        effect = float((original(sample) - wanted).abs().max())
    if difference <= max(OF_EFFECT * effect, OF_OUTPUT * float(wanted.abs().max())):
        return ""
    return (
        f"removing its channels is not the same as masking them: outputs differ by {difference:.2g} where masking "
        f"changes them by {effect:.2g}"
    )


def named(error: Exception) -> str:
    """Type and message of an error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
