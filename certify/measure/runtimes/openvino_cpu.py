"""OpenVINO on the CPU (https://docs.openvino.ai/2025/openvino-workflow/running-inference.html).

It reads the same ONNX file as ONNX Runtime does. Its precision is pinned (``INFERENCE_PRECISION_HINT``), since
on processors with bfloat16 units it would otherwise compute in 16 bits and say nothing: ``openvino`` computes in
float32, ``openvino-bf16`` in bfloat16, which is a choice of its own for ``--runtime auto``. Operators that the file
holds quantized run on integers all the same, and which of them do is read from the graph that it executes
(``runtimePrecision`` of get_runtime_model). One stream, so that one inference has all threads; the threads stay on the
processors that the workload names. The model is compiled for the very batch that it is fed. There is no level of graph
optimisation to turn off.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from certify.core.errors import MissingExtra, ModelError
from certify.core.feeding import by_input
from certify.measure import machine
from certify.measure.machine import processor_flags
from certify.measure.runtimes.base import Array, NodeRun, SessionOptions

EXTRA = "openvino"
DEVICE = "CPU"
MULTIPLYING = frozenset({"Convolution", "Deconvolution", "FullyConnected", "MatMul"})
"""Layer types of the executed graph that hold the multiply-adds."""
INTEGERS = frozenset({"i8", "u8"})
BFLOAT16_FLAGS = frozenset({"amx_bf16", "avx512_bf16", "bf16"})
"""Flags of processors that multiply in bfloat16; without one the library would only imitate it, and be slower."""


class OpenVino:
    """Adapter of OpenVINO's CPU plugin."""

    device = "cpu"
    provider = DEVICE
    suffix = ".onnx"
    precision = "float32 where the model is not quantized"
    hint = "f32"
    spinning = False
    writes_graph = False
    own_providers = frozenset({DEVICE})
    times_nodes = True

    def unavailable(self) -> str | None:
        """Whether the package is installed; see :meth:`certify.measure.runtimes.base.Runtime.unavailable`."""
        try:
            metadata.version("openvino")
        except metadata.PackageNotFoundError:
            return str(MissingExtra("The runtime openvino", EXTRA))
        return None

    def version(self) -> str:
        """Version of the installed openvino."""
        return metadata.version("openvino")

    def libraries(self) -> dict[str, str]:
        """Version of the only library."""
        return {"openvino": self.version()}

    def accelerator(self) -> Mapping[str, Any]:
        """Nothing beyond the processor."""
        return {}

    def open(self, path: Path, options: SessionOptions) -> OpenVinoSession:
        """Load a model; see :meth:`certify.measure.runtimes.base.Runtime.open`."""
        machine.pin(options.cores)  # threads that the library starts inherit it
        import openvino as ov

        settings = {
            "INFERENCE_PRECISION_HINT": self.hint,
            "INFERENCE_NUM_THREADS": options.threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": True,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,  # nothing runs on integers that the file does not say so of
            "PERF_COUNT": options.profile,
        }
        core = ov.Core()
        try:
            model = core.read_model(str(path))
            if options.input_shape is not None and model.is_dynamic():
                model.reshape({name: list(options.input_shape) for name in options.input_names})
            compiled = core.compile_model(model, DEVICE, settings)
            output = compiled.output(options.output_name)
            for name in options.input_names:
                compiled.input(name)
        except RuntimeError as error:
            raise ModelError(f"{path}: OpenVINO can't load it: {' '.join(str(error).split())}") from error
        return OpenVinoSession(ov, compiled, output, options)


class OpenVinoBf16(OpenVino):
    """The same in bfloat16, for processors that have units for it."""

    precision = "bfloat16 where the model is not quantized"
    hint = "bf16"

    def unavailable(self) -> str | None:
        """Whether the package is installed and the processor has bfloat16 units."""
        if (reason := super().unavailable()) is not None or processor_flags() & BFLOAT16_FLAGS:
            return reason
        return (
            "The runtime openvino-bf16 needs a processor with bfloat16 units; use openvino, which computes in float32."
        )


class OpenVinoSession:
    """One compiled model.

    Args:
        library: the module openvino.
        compiled: the library's model.
        output: its scored output.
        options: that it was opened with.
    """

    def __init__(self, library: Any, compiled: Any, output: Any, options: SessionOptions) -> None:
        self._library = library
        self._compiled = compiled
        self._output = output
        self._options = options
        self._request = compiled.create_infer_request()

    def prepare(self, batch: Array) -> Any:
        """The feed of one batch, which is not copied."""
        fed = by_input(self._options.input_names, batch.copy())
        return {name: self._library.Tensor(values) for name, values in fed.items()}

    def run(self, feed: Any) -> Array:
        """One inference; a copy of the scored output, since the next one writes over it."""
        self._request.infer(feed, share_inputs=True)
        output: Array = self._request.get_tensor(self._output).data.copy()
        return output

    def synchronize(self) -> None:
        """Nothing: the library returns when the processor is done."""

    def facts(self) -> dict[str, Any]:
        """Settings read back from the compiled model, and its integer operators."""
        read = self._compiled.get_property
        return {
            "providers": [str(device) for device in read("EXECUTION_DEVICES")],
            "graph_optimization": "all",
            "threads": int(read("INFERENCE_NUM_THREADS")),
            "spinning": False,
            "precision": str(read("INFERENCE_PRECISION_HINT").get_type_name()),
            "integer_nodes": [_names(node) for node in self._executed() if _is_integer(node)],
        }

    def nodes(self) -> list[NodeRun]:
        """What every layer took in the last inference, by the library's own counters."""
        return [
            NodeRun(info.node_name, info.node_type, DEVICE, info.real_time.total_seconds(), 1)
            for info in self._request.profiling_info
            if info.status == self._library.ProfilingInfo.Status.EXECUTED
        ]

    def _executed(self) -> list[Any]:
        return list(self._compiled.get_runtime_model().get_ordered_ops())


def _is_integer(node: Any) -> bool:
    told = node.get_rt_info()
    return _text(told, "layerType") in MULTIPLYING and _text(told, "runtimePrecision") in INTEGERS


def _names(node: Any) -> list[str]:
    """Names of the operators that were fused into a layer, as the file has them."""
    names = _text(node.get_rt_info(), "originalLayersNames").split(",")
    return [node.get_friendly_name(), *filter(None, names)]


def _text(told: Any, key: str) -> str:
    """A value of a node's runtime information, empty where it is absent."""
    if key not in told:
        return ""
    value = told[key]
    return str(value.astype(str) if hasattr(value, "astype") else value)
