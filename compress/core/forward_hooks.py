"""Listening to the modules of a model while it runs."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from torch import nn

ForwardHook = Callable[[nn.Module, tuple[Any, ...], Any], None]
"""Takes a module that has run, what it took and what it gave."""


@contextlib.contextmanager
def attach_hooks(listeners: Iterable[tuple[nn.Module, ForwardHook]]) -> Iterator[None]:
    """Let each listener hear whenever its module has run, as long as the ``with`` block lasts."""
    hooks = [module.register_forward_hook(listener) for module, listener in listeners]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
