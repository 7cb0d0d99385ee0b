"""ONNX Runtime on the CPU (https://onnxruntime.ai/docs/performance/tune-performance/threading.html).

Pool threads spin during an inference and for some milliseconds after it, which is the library's default. Stopping them
after each inference would make the next one wait until they wake up, a tenth of the time of a small model. Between
windows they stop by themselves, and the guard ``sessions_isolated`` checks that they did.
"""

from __future__ import annotations

from certify.measure.runtimes.onnxruntime_base import OnnxRuntime


class OnnxRuntimeCpu(OnnxRuntime):
    """Adapter for ONNX Runtime's CPUExecutionProvider."""
