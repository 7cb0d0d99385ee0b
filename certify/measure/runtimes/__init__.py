"""Runtimes by name; an adapter is imported when it is asked for."""

from __future__ import annotations

from certify.core.errors import UsageError
from certify.core.registry import Registry
from certify.measure import machine
from certify.measure.runtimes.base import Runtime

RUNTIMES = Registry(
    "runtime",
    "leanmark.runtimes",
    {
        "onnxruntime-cpu": "certify.measure.runtimes.onnxruntime_cpu:OnnxRuntimeCpu",
        "onnxruntime-cuda": "certify.measure.runtimes.onnxruntime_cuda:OnnxRuntimeCuda",
        "onnxruntime-tensorrt": "certify.measure.runtimes.onnxruntime_tensorrt:OnnxRuntimeTensorrt",
        "openvino": "certify.measure.runtimes.openvino_cpu:OpenVino",
        "openvino-bf16": "certify.measure.runtimes.openvino_cpu:OpenVinoBf16",
        "torch-cuda": "certify.measure.runtimes.torch_cuda:TorchCuda",
    },
    "'auto' takes the cheapest of leanmark's own.",
    Runtime,
)

AUTO = "auto"
"""Stands for the runtime that turns out cheapest for each model; see certify.measure.runtime_choice. It tries
leanmark's own: one of somebody else's runs where it is named."""


def get(name: str) -> Runtime:
    """The adapter of a name, or of ``package.module:Name``.

    Raises:
        UsageError: there is none of that name, or it is broken.
    """
    adapter: Runtime = RUNTIMES.make(name)
    return adapter


def check(name: str) -> None:
    """Make sure that a name can be used for a measurement here, before any work is done for it.

    Raises:
        UsageError: as :func:`require`; ``auto`` is fine wherever the system can measure.
    """
    machine.require_measuring()
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
