"""Runtimes by name; an adapter is imported when it is asked for."""

from __future__ import annotations

import importlib

from certify.measure.runtimes.base import Runtime
from certify.suggest import unknown_name

RUNTIMES = {
    "onnxruntime-cpu": "certify.measure.runtimes.onnxruntime_cpu:OnnxRuntimeCpu",
}


def get(name: str) -> Runtime:
    """The adapter of a name.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in RUNTIMES:
        raise unknown_name("runtime", name, RUNTIMES)
    module, attribute = RUNTIMES[name].split(":")
    adapter: Runtime = getattr(importlib.import_module(module), attribute)()
    return adapter
