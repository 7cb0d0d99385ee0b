"""Running a model whose code is the user's: what it may raise, how that is told, and a copy that is ready to run."""

from __future__ import annotations

import copy

from torch import nn

MODEL_FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    StopIteration,
    TypeError,
    ValueError,
)
"""What a model or its factory raises on what it was not written for."""


def describe_error(error: BaseException) -> str:
    """Type and message of an error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def eval_copy(model: nn.Module) -> nn.Module:
    """A copy on the CPU in evaluation mode; what ``eval`` of the model gives back does not matter."""
    copied = copy.deepcopy(model).cpu()
    copied.eval()
    return copied
