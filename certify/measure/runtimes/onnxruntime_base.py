"""Common base of the ONNX Runtime adapters (https://onnxruntime.ai/docs/execution-providers/).

A session with a GPU provider may still place nodes on the processor, and its list of providers does not show which; the
profile of a run does (https://onnxruntime.ai/docs/performance/tune-performance/profiling-tools.html). The library
deliberately keeps nodes on the processor that compute only sizes and indices; their inputs and outputs are integers
that do not depend on the values of a sample.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as state

from certify.core.errors import ModelError
from certify.core.input_mapping import by_input
from certify.measure import machine
from certify.measure.runtimes.base import AS_IN_MODEL, Array, NodeRun, SessionOptions
from certify.model_file.suffixes import ONNX

LEVELS = {
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
ERRORS_ONLY = 3
DISTRIBUTIONS = ("onnxruntime", "onnxruntime-gpu")
"""Distribution names of the library."""
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
"""Errors that the library raises for a model that it cannot load; its own exceptions have no common base class."""

Provider = str | tuple[str, dict[str, str]]


class OnnxRuntime:
    """Base class of adapters for execution providers of ONNX Runtime."""

    device = "cpu"
    provider = "CPUExecutionProvider"
    suffix = ONNX
    precision = AS_IN_MODEL
    spinning = True
    writes_graph = True
    own_providers = frozenset({"CPUExecutionProvider"})
    times_nodes = True
    remedy = "Install it: pip install onnxruntime."

    def unavailable(self) -> str | None:
        """Return why the provider cannot be used here; see :meth:`.Runtime.unavailable`."""
        has = ort.get_available_providers()
        if self.provider in has:
            return None
        lacks = f"but the installed onnxruntime {ort.__version__} only has {', '.join(has)}"
        return f"The runtime needs {self.provider}, {lacks}. {self.remedy}"

    def version(self) -> str:
        """Return the version of the installed onnxruntime."""
        return str(ort.__version__)

    def libraries(self) -> dict[str, str]:
        """Return the versions of the installed distributions of the library."""
        return {name: version for name in DISTRIBUTIONS if (version := _installed(name)) is not None}

    def accelerator(self) -> Mapping[str, Any]:
        """Return nothing: there is only the processor."""
        return {}

    def providers(self, path: Path) -> Sequence[Provider]:
        """Return execution providers for a model, in order of preference."""
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
            raise ModelError(f"{path}: ONNX Runtime cannot load it: {' '.join(str(error).split())}") from error
        # The library only warns and falls back to the processor, which would then be measured.
        if self.provider not in session.get_providers():
            raise ModelError(
                f"{path}: {self.provider} was requested, but ONNX Runtime could only start "
                f"{', '.join(session.get_providers())}; install the GPU's driver and libraries."
            )
        # The library pins the threads of its pool; this thread also works in every inference.
        machine.pin(options.cores[:1])
        return self.session(session, options, folder)

    def session(
        self, session: ort.InferenceSession, options: SessionOptions, folder: tempfile.TemporaryDirectory[str] | None
    ) -> OnnxRuntimeSession:
        """Wrap the library's session."""
        return OnnxRuntimeSession(session, options, self.precision, folder)


def _settings(options: SessionOptions) -> ort.SessionOptions:
    settings = ort.SessionOptions()
    settings.intra_op_num_threads = options.threads
    # Operators run one at a time, because the workload's number of threads is that of the pool within an operator.
    settings.inter_op_num_threads = 1
    settings.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    settings.graph_optimization_level = LEVELS[options.graph_optimization]
    settings.log_severity_level = ERRORS_ONLY
    settings.add_session_config_entry("session.intra_op.allow_spinning", "1" if options.spinning else "0")
    if options.threads > 1:
        # Processors count from 1 here; the calling thread also works, but is not in the list.
        others = ";".join(str(core + 1) for core in options.cores[1:])
        settings.add_session_config_entry("session.intra_op_thread_affinities", others)
    if options.optimised is not None:
        settings.optimized_model_filepath = str(options.optimised)
        weights = f"{options.optimised.name}.data"  # a protobuf message holds at most 2 GB
        settings.add_session_config_entry("session.optimized_model_external_initializers_file_name", weights)
    return settings


class OnnxRuntimeSession:
    """A model loaded on the processor.

    Args:
        session: session of the library.
        options: options that it was opened with.
        precision: enforced numeric precision.
        folder: folder for the library's profile, or None.
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
        """Return the feed of one batch."""
        return by_input(self._options.input_names, batch)

    def run(self, feed: Any) -> Array:
        """Run one inference, and return the scored output."""
        output: Array = self._session.run(self._outputs, feed)[0]
        return output

    def synchronize(self) -> None:
        """Do nothing: the library returns when the processor is done."""

    def facts(self) -> dict[str, Any]:
        """Return settings read back from the session."""
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
        """Return the time of every node, from the library's profile."""
        if self._folder is None:
            raise ModelError("The session was opened without a profile; open it with profile=True to time its nodes.")
        events = json.loads(Path(self._session.end_profiling()).read_text())
        self._folder.cleanup()
        return node_runs(events)


def node_runs(events: Sequence[Mapping[str, Any]]) -> list[NodeRun]:
    """Sum the kernel times of a profile by node, in order of first execution.

    Args:
        events: events of the library's profile, in Chrome's tracing format.
    """
    found: dict[str, NodeRun] = {}
    for event in events:
        title, details = str(event.get("name", "")), event.get("args", {})
        if event.get("cat") != "Node" or not title.endswith(_KERNEL_TIME):
            # Other events are of the session, not of a node.
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
    from importlib import metadata  # slow to import, and not needed by a worker

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None
