"""What the adapters of ONNX Runtime share (https://onnxruntime.ai/docs/execution-providers/).

A session that may use a GPU may still put nodes on the processor, and its list of providers does not tell which: the
profile of a run does (https://onnxruntime.ai/docs/performance/tune-performance/profiling-tools.html). Nodes that
compute sizes and indices only are kept on the processor by the library on purpose; they take and give integers that
are known before the picture is.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as state

from certify.core.errors import ModelError
from certify.core.feeding import by_input
from certify.measure import machine
from certify.measure.runtimes.base import AS_IN_MODEL, Array, NodeRun, SessionOptions

LEVELS = {
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
ERRORS_ONLY = 3
DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu")
"""Names under which the library is installed."""
SHAPE_OPERATORS = frozenset({"Shape", "Size"})
INDEX_TYPES = frozenset({"int64", "int32", "bool"})
US = 1e-6
_KERNEL_TIME = "_kernel_time"
_LOAD_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    state.EPFail,
    state.Fail,
    state.InvalidArgument,
    state.InvalidGraph,
    state.InvalidProtobuf,
    state.NotImplemented,
    state.RuntimeException,
)
"""What the library raises for a model that it can't load; its own exceptions have no base class in common."""

Provider = str | tuple[str, dict[str, str]]


class OnnxRuntime:
    """An execution provider of ONNX Runtime. Subclasses say which, and with which options."""

    device = "cpu"
    provider = "CPUExecutionProvider"
    suffix = ".onnx"
    precision = AS_IN_MODEL
    spinning = True
    writes_graph = True
    own_providers = frozenset({"CPUExecutionProvider"})
    times_nodes = True
    remedy = "Install it: pip install onnxruntime."

    def unavailable(self) -> str | None:
        """Why the provider can't be used here; see :meth:`certify.measure.runtimes.base.Runtime.unavailable`."""
        has = ort.get_available_providers()
        if self.provider in has:
            return None
        lacks = f"which the installed onnxruntime {ort.__version__} lacks (it has {', '.join(has)})"
        return f"The runtime needs {self.provider}, {lacks}. {self.remedy}"

    def version(self) -> str:
        """Version of the installed onnxruntime."""
        return str(ort.__version__)

    def libraries(self) -> dict[str, str]:
        """Versions of the distributions that bring the library."""
        return {name: version for name in DISTRIBUTIONS if (version := _installed(name)) is not None}

    def accelerator(self) -> Mapping[str, Any]:
        """Nothing beyond the processor."""
        return {}

    def providers(self, path: Path) -> Sequence[Provider]:
        """Execution providers for a model, the preferred first."""
        return [self.provider]

    def open(self, path: Path, options: SessionOptions) -> OnnxRuntimeSession:
        """Load a model; see :meth:`certify.measure.runtimes.base.Runtime.open`."""
        settings = _settings(options)
        folder = tempfile.TemporaryDirectory(prefix="leanmark-profile-") if options.profile else None
        if folder is not None:
            settings.enable_profiling = True
            settings.profile_file_prefix = str(Path(folder.name, "nodes"))
        try:
            session = ort.InferenceSession(str(path), settings, providers=list(self.providers(path)))
        except _LOAD_ERRORS as error:
            raise ModelError(f"{path}: ONNX Runtime can't load it: {' '.join(str(error).split())}") from error
        if self.provider not in session.get_providers():
            raise ModelError(
                f"{path}: {self.provider} was asked for, and ONNX Runtime could start only "
                f"{', '.join(session.get_providers())}; install the driver and the libraries of the GPU."
            )
        # The pool's threads are pinned by the library; this one is the first worker of every inference.
        machine.pin(options.cores[:1])
        return self.session(session, options, folder)

    def session(
        self, session: ort.InferenceSession, options: SessionOptions, folder: tempfile.TemporaryDirectory[str] | None
    ) -> OnnxRuntimeSession:
        """Wrap what the library opened."""
        return OnnxRuntimeSession(session, options, self.precision, folder)


def _settings(options: SessionOptions) -> ort.SessionOptions:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    settings.graph_optimization_level = LEVELS[options.graph_optimization]
    settings.log_severity_level = ERRORS_ONLY
    settings.add_session_config_entry("session.intra_op.allow_spinning", "1" if options.spinning else "0")
    if options.threads > 1:
        # Processors count from 1 here, and the calling thread, which works too, is not in the list.
        others = ";".join(str(core + 1) for core in options.cores[1:])
        settings.add_session_config_entry("session.intra_op_thread_affinities", others)
    if options.optimised is not None:
        settings.optimized_model_filepath = str(options.optimised)
        weights = f"{options.optimised.name}.data"  # one message can't hold over 2 GB
        settings.add_session_config_entry("session.optimized_model_external_initializers_file_name", weights)
    return settings


class OnnxRuntimeSession:
    """One loaded model on the processor.

    Args:
        session: the library's.
        options: that it was opened with.
        precision: that it is held to.
        folder: where the library writes its profile, None where it does not.
    """

    def __init__(
        self,
        session: ort.InferenceSession,
        options: SessionOptions,
        precision: str,
        folder: tempfile.TemporaryDirectory[str] | None = None,
    ) -> None:
        self._session = session
        self._options = options
        self._precision = precision
        self._folder = folder
        self._outputs = [options.output_name]

    def prepare(self, batch: Array) -> Any:
        """The feed of one batch."""
        return by_input(self._options.input_names, batch)

    def run(self, feed: Any) -> Array:
        """One inference; the scored output."""
        output: Array = self._session.run(self._outputs, feed)[0]
        return output

    def synchronize(self) -> None:
        """Nothing: the library returns when the processor is done."""

    def facts(self) -> dict[str, Any]:
        """Settings read back from the session."""
        settings = self._session.get_session_options()
        level = next(name for name, value in LEVELS.items() if value == settings.graph_optimization_level)
        return {
            "providers": list(self._session.get_providers()),
            "graph_optimization": level,
            "threads": int(settings.intra_op_num_threads),
            "spinning": settings.get_session_config_entry("session.intra_op.allow_spinning") == "1",
            "precision": self._precision,
        }

    def nodes(self) -> list[NodeRun]:
        """What every node took, by the library's profile."""
        if self._folder is None:
            raise ModelError("The nodes of a session were asked for that was opened without a profile.")
        events = json.loads(Path(self._session.end_profiling()).read_text())
        self._folder.cleanup()
        return node_runs(events)


def node_runs(events: Sequence[Mapping[str, Any]]) -> list[NodeRun]:
    """Sum the kernel times of a profile by node, in the order in which the nodes first ran.

    Args:
        events: of the library's profile, in the format of Chrome's tracing.
    """
    found: dict[str, NodeRun] = {}
    for event in events:
        title, details = str(event.get("name", "")), event.get("args", {})
        if event.get("cat") != "Node" or not title.endswith(_KERNEL_TIME):
            continue
        name = title.removesuffix(_KERNEL_TIME)
        before = found.get(name)
        found[name] = NodeRun(
            name=name,
            operator=str(details.get("op_name", "")),
            provider=str(details.get("provider", "")),
            duration_s=event["dur"] * US + (before.duration_s if before else 0.0),
            runs=1 + (before.runs if before else 0),
            shapes_only=_shapes_only(details),
        )
    return list(found.values())


def _shapes_only(details: Mapping[str, Any]) -> bool:
    if details.get("op_name") in SHAPE_OPERATORS:
        return True
    ports = [*details.get("input_type_shape", []), *details.get("output_type_shape", [])]
    return bool(ports) and all(INDEX_TYPES.issuperset(port) for port in ports)


def _installed(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
