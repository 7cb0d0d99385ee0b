"""Forward hooks on the modules of a model."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import nn

ForwardHook = Callable[[nn.Module, tuple[Any, ...], Any], None]
"""Called with a module after it has run, its inputs and its output."""


@contextlib.contextmanager
def attach_hooks(listeners: Iterable[tuple[nn.Module, ForwardHook]]) -> Iterator[None]:
    """Call each hook whenever its module has run, for the duration of the ``with`` block."""
    hooks = [module.register_forward_hook(listener) for module, listener in listeners]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
