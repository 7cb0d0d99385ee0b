"""The operators that torch's current exporter knows, collected once per process and not for every file."""

from __future__ import annotations

import contextlib
import copy
import functools
import importlib
from collections.abc import Callable, Iterator
from typing import Any

REGISTRATION, REGISTRY, READ = "torch.onnx._internal.exporter._registration", "ONNXRegistry", "from_torchlib"
"""Where torch 2.9 to 2.14 ask onnxscript for its operators, and parse the source and signatures of 500 functions."""

UTILITIES, LISTING = "torch._export.utils", "_materialize_cpp_cia_ops"
"""Where they look up all composite operators, for each of 30 namespaces and twice an export."""


@contextlib.contextmanager
def kept_operators() -> Iterator[None]:
    """Let exports reuse the operators that the first one read; reading takes half of a small model's export.

    Has no effect with a version of torch that asks elsewhere.
    """
    with contextlib.ExitStack() as back:
        with contextlib.suppress(ImportError, AttributeError):
            registry = getattr(importlib.import_module(REGISTRATION), REGISTRY)
            read = getattr(registry, READ)
            back.callback(setattr, registry, READ, vars(registry)[READ])
            setattr(registry, READ, staticmethod(functools.partial(_registry, read)))
        with contextlib.suppress(ImportError, AttributeError):
            utilities = importlib.import_module(UTILITIES)
            look_up = getattr(utilities, LISTING)
            back.callback(setattr, utilities, LISTING, look_up)
            # Kept only during one export, because a model's code may define operators before the next.
            setattr(utilities, LISTING, functools.cache(look_up))
        yield


def _registry(read: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    found = copy.copy(_read_once(read, *arguments, **named))
    # Give each export its own lists, in case the exporter extends them.
    found.functions = {name: list(functions) for name, functions in found.functions.items()}
    return found


@functools.cache
def _read_once(read: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
    return read(*arguments, **named)
