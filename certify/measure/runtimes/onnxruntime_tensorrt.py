"""TensorRT through ONNX Runtime (https://onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html).

TensorRT builds its engine at the first inference, for the shape that it is fed, which may take minutes; windows begin
after it. Parts of a graph that it has no layers for run on the CUDA provider, on the same GPU, and their number is
recorded. It is held to the model's own precision: 16-bit floats and TF32 are off, and integers are allowed only where
the file holds Q/DQ operators, which then say where. A graph that it has compiled can't be written back, so that nobody
can read what it fused: for quantized models the guard ``quantization_fused`` is unknown here.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from pathlib import Path

from certify.measure.runtimes.onnxruntime_base import Provider
from certify.measure.runtimes.onnxruntime_cuda import CUDA_OPTIONS, CUDA_PROVIDER, OnnxRuntimeCuda

TENSORRT_PROVIDER = "TensorrtExecutionProvider"


class OnnxRuntimeTensorrt(OnnxRuntimeCuda):
    """Adapter of ONNX Runtime's TensorrtExecutionProvider."""

    provider = TENSORRT_PROVIDER
    writes_graph = False
    own_providers = frozenset({TENSORRT_PROVIDER, CUDA_PROVIDER})
    remedy = (
        "Install the build for NVIDIA GPUs and TensorRT itself: pip uninstall onnxruntime, then pip install "
        "onnxruntime-gpu tensorrt."
    )

    def providers(self, path: Path) -> Sequence[Provider]:
        """TensorRT, and CUDA for what it leaves."""
        options = {
            "device_id": "0",
            "trt_fp16_enable": "False",
            "trt_int8_enable": str(_has_quantization(path)),
            "trt_engine_cache_enable": "False",
        }
        return [(TENSORRT_PROVIDER, options), (CUDA_PROVIDER, dict(CUDA_OPTIONS))]


def _has_quantization(path: Path) -> bool:
    """Whether the file names the operator; protobuf writes names as they are."""
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return content.find(b"QuantizeLinear") >= 0
