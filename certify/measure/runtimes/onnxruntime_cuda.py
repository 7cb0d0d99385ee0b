"""ONNX Runtime on an NVIDIA GPU (https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html).

Inputs are on the GPU before a window begins, and each inference copies the scored output back, through IO binding
(https://onnxruntime.ai/docs/performance/tune-performance/iobinding.html), so an inference ends when its result can be
read. TF32, which ONNX Runtime enables by default and which keeps 10 of float32's 23 mantissa bits, is off: float32
means float32, in both models. Convolution algorithms are searched exhaustively, which is the library's default.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort

from certify.core.input_mapping import by_input
from certify.measure.runtimes.accelerators import nvidia
from certify.measure.runtimes.base import Array, SessionOptions
from certify.measure.runtimes.onnxruntime_base import OnnxRuntime, OnnxRuntimeSession, Provider

CUDA_PROVIDER = "CUDAExecutionProvider"
CUDA_OPTIONS = {"device_id": "0", "use_tf32": "0", "cudnn_conv_algo_search": "EXHAUSTIVE"}
NO_TF32 = "as in the model, without TF32"
TF32_OVERRIDE = "NVIDIA_TF32_OVERRIDE"
"""Variable read by cuBLAS, cuDNN and TensorRT on loading; 0 disables TF32 whatever a program requests."""


class OnnxRuntimeCuda(OnnxRuntime):
    """Adapter for ONNX Runtime's CUDAExecutionProvider."""

    device = "cuda"
    provider = CUDA_PROVIDER
    precision = NO_TF32
    own_providers = frozenset({CUDA_PROVIDER})
    remedy = "Install the build for NVIDIA GPUs: pip uninstall onnxruntime, then pip install onnxruntime-gpu."

    def accelerator(self) -> Mapping[str, Any]:
        """Return the GPU, its memory and its driver."""
        return nvidia()

    def providers(self, path: Path) -> Sequence[Provider]:
        """Return CUDA; the library itself adds the processor for operators without a CUDA kernel."""
        return [(CUDA_PROVIDER, dict(CUDA_OPTIONS))]

    def open(self, path: Path, options: SessionOptions) -> OnnxRuntimeSession:
        """Load a model; see :meth:`certify.measure.runtimes.base.Runtime.open`."""
        os.environ[TF32_OVERRIDE] = "0"  # this process is a worker and has not loaded those libraries yet
        return super().open(path, options)

    def session(
        self, session: ort.InferenceSession, options: SessionOptions, folder: tempfile.TemporaryDirectory[str] | None
    ) -> OnnxRuntimeSession:
        """Wrap the library's session."""
        return BoundSession(session, options, self.precision, folder)


class BoundSession(OnnxRuntimeSession):
    """A model loaded on the GPU and fed from the GPU's memory."""

    def prepare(self, batch: Array) -> Any:
        """Return the feed of one batch: a binding with inputs on the GPU and the output in main memory."""
        binding = self._session.io_binding()
        for name, values in by_input(self._options.input_names, batch).items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(values, "cuda", 0))
        binding.bind_output(self._options.output_name, "cpu")
        return binding

    def run(self, feed: Any) -> Array:
        """Run one inference, and return the scored output once it is in main memory."""
        self._session.run_with_iobinding(feed)
        feed.synchronize_outputs()
        output: Array = feed.copy_outputs_to_cpu()[0]
        return output
