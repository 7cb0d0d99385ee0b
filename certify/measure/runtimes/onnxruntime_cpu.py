"""ONNX Runtime on the CPU (https://onnxruntime.ai/docs/performance/tune-performance/threading.html).

Pool threads spin while an inference runs and for some milliseconds after it, as the library has it by default. Stopping
them after each inference would make the next one wait until they are awake again, a tenth of the time of a small model;
between two windows they come to rest by themselves, and the guard ``sessions_isolated`` reads that they did.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as state

from certify.errors import ModelError
from certify.measure.runtimes.base import Array, SessionOptions

LEVELS = {
    "none": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}
ERRORS_ONLY = 3
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


class OnnxRuntimeCpu:
    """Adapter of ONNX Runtime's CPUExecutionProvider."""

    device = "cpu"
    provider = "CPUExecutionProvider"

    def version(self) -> str:
        """Version of the installed onnxruntime."""
        return str(ort.__version__)

    def open(self, path: Path, options: SessionOptions) -> OnnxRuntimeSession:
        """Load a model; see :meth:`certify.measure.runtimes.base.Runtime.open`."""
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
        try:
            session = ort.InferenceSession(str(path), settings, providers=[self.provider])
        except _LOAD_ERRORS as error:
            raise ModelError(f"{path}: ONNX Runtime can't load it: {' '.join(str(error).split())}") from error
        # The pool's threads are pinned by the library; this one is the first worker of every inference.
        os.sched_setaffinity(0, {options.cores[0]})
        return OnnxRuntimeSession(session, options)


class OnnxRuntimeSession:
    """One loaded model."""

    def __init__(self, session: ort.InferenceSession, options: SessionOptions) -> None:
        self._session = session
        self._options = options
        self._outputs = [options.output_name]

    def prepare(self, batch: Array) -> dict[str, Array]:
        """The feed of one batch."""
        return {self._options.input_name: batch}

    def run(self, feed: dict[str, Array]) -> Array:
        """One inference; the scored output."""
        output: Array = self._session.run(self._outputs, feed)[0]
        return output

    def facts(self) -> dict[str, Any]:
        """Settings read back from the session."""
        settings = self._session.get_session_options()
        level = next(name for name, value in LEVELS.items() if value == settings.graph_optimization_level)
        return {
            "providers": list(self._session.get_providers()),
            "graph_optimization": level,
            "threads": int(settings.intra_op_num_threads),
            "spinning": settings.get_session_config_entry("session.intra_op.allow_spinning") == "1",
        }
