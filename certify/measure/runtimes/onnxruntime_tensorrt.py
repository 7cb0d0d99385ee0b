"""TensorRT through ONNX Runtime (https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html).

TensorRT builds its engine at the first inference, for the given input shape, which may take minutes; windows begin
after it. Operators that it does not support run on the CUDA provider, on the same GPU, and their number is recorded. It
must keep the model's own precision: 16-bit floats and TF32 are off, and integers are allowed only if the file has Q/DQ
operators, which state where. A compiled engine cannot be written back as a graph, so its fusions are not visible: for
quantized models the guard ``quantization_fused`` is unknown here.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path

from certify.measure.runtimes.onnxruntime_base import Provider
from certify.measure.runtimes.onnxruntime_cuda import CUDA_OPTIONS, CUDA_PROVIDER, OnnxRuntimeCuda

TENSORRT_PROVIDER = "TensorrtExecutionProvider"


class OnnxRuntimeTensorrt(OnnxRuntimeCuda):
    """Adapter for ONNX Runtime's TensorrtExecutionProvider."""

    provider = TENSORRT_PROVIDER
    writes_graph = False
    own_providers = frozenset({TENSORRT_PROVIDER, CUDA_PROVIDER})
    remedy = (
        "Install the build for NVIDIA GPUs and TensorRT itself: pip uninstall onnxruntime, then pip install "
        "onnxruntime-gpu tensorrt."
    )

    def providers(self, path: Path) -> Sequence[Provider]:
        """Return TensorRT, and CUDA for operators that TensorRT does not support."""
        options = {
            "device_id": "0",
            "trt_fp16_enable": "False",
            "trt_int8_enable": str(_has_quantization(path)),
            "trt_engine_cache_enable": "False",
        }
        return [(TENSORRT_PROVIDER, options), (CUDA_PROVIDER, dict(CUDA_OPTIONS))]


def _has_quantization(path: Path) -> bool:
    """Return whether the file names the operator; protobuf stores names as plain bytes."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"QuantizeLinear") >= 0
