"""Running user code in models: the errors that it may raise, one-line descriptions of them, and a runnable copy."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn

MODEL_FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    NotImplementedError,
    OSError,
    RuntimeError,
    StopIteration,
    SystemExit,
    TypeError,
    ValueError,
)
"""Errors that a model or its factory raises on unexpected inputs."""


def describe_error(error: BaseException) -> str:
    """Return type and message of an error in one line.

    Example:
        >>> describe_error(ValueError("no  such   layer"))
        'ValueError: no such layer'
    """
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def eval_copy(model: nn.Module) -> nn.Module:
    """Return a copy on the CPU in evaluation mode, whatever the model's ``eval`` returns."""
    copied = copy.deepcopy(model).cpu()
    # Not chained, because an eval() overridden by user code may return None.
    copied.eval()
    return copied
