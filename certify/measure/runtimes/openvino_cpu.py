"""OpenVINO on the CPU (https://docs.openvino.ai/2025/openvino-workflow/running-inference.html).

It reads the same ONNX file as ONNX Runtime. Its precision is fixed (``INFERENCE_PRECISION_HINT``), since on processors
with bfloat16 units it would otherwise silently compute in 16 bits: ``openvino`` computes in float32, ``openvino-bf16``
in bfloat16, which is a separate choice for ``--runtime auto``. Quantized operators run on integers in either case;
which ones do is read from the executed graph (``runtimePrecision`` of get_runtime_model). There is one stream, so an
inference uses all threads; the threads are pinned to the workload's processors. The model is compiled for a fixed
batch. Graph optimisation cannot be turned off.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from certify.core.errors import MissingExtra, ModelError
from certify.core.input_mapping import by_input
from certify.measure import machine
from certify.measure.machine import processor_flags
from certify.measure.runtimes.base import Array, NodeRun, SessionOptions
from certify.model_file.suffixes import ONNX

EXTRA = "openvino"
DEVICE = "CPU"
MULTIPLYING = frozenset({"Convolution", "Deconvolution", "FullyConnected", "MatMul"})
"""Layer types of the executed graph that perform multiply-adds."""
INTEGERS = frozenset({"i8", "u8"})
BFLOAT16_FLAGS = frozenset({"amx_bf16", "avx512_bf16", "bf16"})
"""Flags of processors with bfloat16 multiplication; without one the library would emulate it and be slower."""


class OpenVino:
    """Adapter for OpenVINO's CPU plugin."""

    device = "cpu"
    provider = DEVICE
    suffix = ONNX
    precision = "float32 where the model is not quantized"
    hint = "f32"
    spinning = False
    writes_graph = False
    own_providers = frozenset({DEVICE})
    times_nodes = True

    def unavailable(self) -> str | None:
        """Return why the package cannot be used here; see :meth:`.Runtime.unavailable`."""
        from importlib import metadata  # slow to import, and not needed by a worker

        try:
            metadata.version("openvino")
        except metadata.PackageNotFoundError:
            return str(MissingExtra("The runtime openvino", EXTRA))
        return None

    def version(self) -> str:
        """Return the version of the installed openvino."""
        from importlib import metadata

        return metadata.version("openvino")

    def libraries(self) -> dict[str, str]:
        """Return the version of the only library."""
        return {"openvino": self.version()}

    def accelerator(self) -> Mapping[str, Any]:
        """Return nothing: there is only the processor."""
        return {}

    def open(self, path: Path, options: SessionOptions) -> OpenVinoSession:
        """Load a model; see :meth:`certify.measure.runtimes.base.Runtime.open`."""
        machine.pin(options.cores)  # inherited by threads that the library starts
        import openvino as ov

        settings = {
            "INFERENCE_PRECISION_HINT": self.hint,
            "INFERENCE_NUM_THREADS": options.threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": True,
            "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,  # only operators that the file quantizes run on integers
            "PERF_COUNT": options.profile,
        }
        core = ov.Core()
        try:
            model = core.read_model(str(path))
            if options.input_shape is not None and model.is_dynamic():
                model.reshape({name: list(options.input_shape) for name in options.input_names})
            compiled = core.compile_model(model, DEVICE, settings)
            output = compiled.output(options.output_name)
            # Called for its error: an unknown input is reported here, not at the first inference.
            for name in options.input_names:
                compiled.input(name)
        except RuntimeError as error:
            raise ModelError(f"{path}: OpenVINO cannot load it: {' '.join(str(error).split())}") from error
        return OpenVinoSession(ov, compiled, output, options)


class OpenVinoBf16(OpenVino):
    """Adapter for OpenVINO in bfloat16, for processors with bfloat16 units."""

    precision = "bfloat16 where the model is not quantized"
    hint = "bf16"

    def unavailable(self) -> str | None:
        """Return the reason if the package is not installed or the processor has no bfloat16 units."""
        if (reason := super().unavailable()) is not None or processor_flags() & BFLOAT16_FLAGS:
            return reason
        return (
            "The runtime openvino-bf16 requires a processor with bfloat16 units; use openvino, which computes in "
            "float32."
        )


class OpenVinoSession:
    """A compiled model.

    Args:
        library: the module openvino.
        compiled: compiled model of the library.
        output: its scored output.
        options: options that it was opened with.
    """

    def __init__(self, library: Any, compiled: Any, output: Any, options: SessionOptions) -> None:
        self._library = library
        self._compiled = compiled
        self._output = output
        self._options = options
        self._request = compiled.create_infer_request()

    def prepare(self, batch: Array) -> Any:
        """Return the feed of one batch, without copying it."""
        fed = by_input(self._options.input_names, batch.copy())
        return {name: self._library.Tensor(values) for name, values in fed.items()}

    def run(self, feed: Any) -> Array:
        """Run one inference, and return a copy of the scored output, which the next inference overwrites."""
        self._request.infer(feed, share_inputs=True)
        output: Array = self._request.get_tensor(self._output).data.copy()
        return output

    def synchronize(self) -> None:
        """Do nothing: the library returns when the processor is done."""

    def facts(self) -> dict[str, Any]:
        """Return settings read back from the compiled model, and its integer operators."""
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
        """Return the time of every layer in the last inference, from the library's counters."""
        return [
            NodeRun(info.node_name, info.node_type, DEVICE, info.real_time.total_seconds(), 1)
            for info in self._request.profiling_info
            if info.status == self._library.ProfilingInfo.Status.EXECUTED
        ]

    def _executed(self) -> list[Any]:
        return list(self._compiled.get_runtime_model().get_ordered_ops())


def _is_integer(node: Any) -> bool:
    entries = node.get_rt_info()
    return _text(entries, "layerType") in MULTIPLYING and _text(entries, "runtimePrecision") in INTEGERS


def _names(node: Any) -> list[str]:
    """Return the names, as in the file, of the operators fused into a layer."""
    names = _text(node.get_rt_info(), "originalLayersNames").split(",")
    return [node.get_friendly_name(), *filter(None, names)]


def _text(entries: Any, key: str) -> str:
    """Return a value of a node's runtime information; empty if absent."""
    if key not in entries:
        return ""
    value = entries[key]
    return str(value.astype(str) if hasattr(value, "astype") else value)
