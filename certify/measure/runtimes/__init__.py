"""Runtimes by name; an adapter is imported when it is asked for."""

from __future__ import annotations

import importlib

from certify.core.errors import UsageError
from certify.core.suggest import unknown_name
from certify.measure.runtimes.base import Runtime

RUNTIMES = {
    "onnxruntime-cpu": "certify.measure.runtimes.onnxruntime_cpu:OnnxRuntimeCpu",
    "onnxruntime-cuda": "certify.measure.runtimes.onnxruntime_cuda:OnnxRuntimeCuda",
    "onnxruntime-tensorrt": "certify.measure.runtimes.onnxruntime_tensorrt:OnnxRuntimeTensorrt",
    "openvino": "certify.measure.runtimes.openvino_cpu:OpenVino",
    "torch-cuda": "certify.measure.runtimes.torch_cuda:TorchCuda",
}

AUTO = "auto"
"""Stands for the runtime that turns out cheapest for the baseline; see certify.measure.runtime_choice."""


def get(name: str) -> Runtime:
    """The adapter of a name.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in RUNTIMES:
        raise unknown_name("runtime", name, [*RUNTIMES, AUTO])
    module, attribute = RUNTIMES[name].split(":")
    adapter: Runtime = getattr(importlib.import_module(module), attribute)()
    return adapter


def check(name: str) -> None:
    """Make sure that a name can be used for a measurement here, before any work is done for it.

    Raises:
        UsageError: as :func:`require`; ``auto`` is always fine.
    """
    if name != AUTO:
        require(name)


def require(name: str) -> Runtime:
    """The adapter of a name, which can be used here.

    Raises:
        UsageError: there is none of that name, or what it needs is not installed.
    """
    runtime = get(name)
    if (reason := runtime.unavailable()) is not None:
        raise UsageError(reason)
    return runtime
