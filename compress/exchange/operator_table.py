"""The operators that torch's current exporter knows, read once per process and not for every file."""

from __future__ import annotations

import contextlib
import functools
import importlib
from collections.abc import Callable, Iterator
from typing import Any

REGISTRATION, TABLE, READ = "torch.onnx._internal.exporter._registration", "onnxscript_apis", "get_torchlib_ops"
"""Where torch 2.9 to 2.14 ask onnxscript for its operators, which parses the source of 500 functions."""


@contextlib.contextmanager
def kept_operators() -> Iterator[None]:
    """Let exports reuse the operators that the first one read; it takes 0.5 s, a third of a small model's export.

    Has no effect with a version of torch that asks elsewhere.
    """
    with contextlib.ExitStack() as back:
        with contextlib.suppress(ImportError, AttributeError):
            table = getattr(importlib.import_module(REGISTRATION), TABLE)
            read = getattr(table, READ)
            back.callback(setattr, table, READ, read)
            # Give each export its own list, in case the exporter extends it.
            setattr(table, READ, lambda: list(_operators(read)))
        yield


@functools.cache
def _operators(read: Callable[[], list[Any]]) -> tuple[Any, ...]:
    return tuple(read())
