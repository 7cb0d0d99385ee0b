"""ONNX Runtime on the CPU (https://onnxruntime.ai/docs/performance/tune-performance/threading.html).

Pool threads spin while an inference runs and for some milliseconds after it, as the library has it by default. Stopping
them after each inference would make the next one wait until they are awake again, a tenth of the time of a small model;
between two windows they come to rest by themselves, and the guard ``sessions_isolated`` reads that they did.
"""

from __future__ import annotations

from certify.measure.runtimes.onnxruntime_base import OnnxRuntime


class OnnxRuntimeCpu(OnnxRuntime):
    """Adapter of ONNX Runtime's CPUExecutionProvider."""
