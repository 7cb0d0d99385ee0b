"""Whether a model that was cut still works."""

from __future__ import annotations

import copy
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


def named(error: Exception) -> str:
    """Type and message of an error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
