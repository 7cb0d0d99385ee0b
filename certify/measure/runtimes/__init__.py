"""Runtimes by name; adapters are imported on demand."""

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
    "'auto' chooses the cheapest built-in one.",
    Runtime,
)

AUTO = "auto"
"""Name for the cheapest runtime of each model; see certify.measure.runtime_choice. It tries built-in runtimes only; a
third-party runtime must be named."""


def get(name: str) -> Runtime:
    """Return the adapter of a name, or of ``package.module:Name``.

    Raises:
        UsageError: the name is unknown, or the adapter is broken.
    """
    adapter: Runtime = RUNTIMES.make(name)
    return adapter


def check(name: str) -> None:
    """Check that a name can be used for a measurement here, before any work is done.

    Raises:
        UsageError: as for :func:`require`; ``auto`` is valid wherever the system can measure.
    """
    machine.require_measuring()
    if name != AUTO:
        require(name)


def require(name: str) -> Runtime:
    """Return the adapter of a name, after checking that it can be used here.

    Raises:
        UsageError: the name is unknown, or a requirement of the runtime is not installed.
    """
    runtime = get(name)
    if (reason := runtime.unavailable()) is not None:
        raise UsageError(reason)
    return runtime
