"""ONNX Runtime on the CPU: sessions and runs, with one-sentence errors."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.checker
import onnx.shape_inference

from certify.core.errors import ModelError
from compress.core import onnx_file
from compress.core.onnx_reads import names_read
from compress.core.targets import detect

PROVIDERS = ("CPUExecutionProvider",)
FATAL_ALONE = 4
"""Severity from which ONNX Runtime logs: its errors are also raised, and reported in our own words."""
_NOISE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : |/\S+\.(cc|h):\d+:? (.*?\) |adapter_lookup: Assertion `false` failed: )|"
    r"Load model from .*? failed:|This is an invalid model\. (Error: )?|Fatal error: |"
    r"Non-zero status code returned while running |Status Message: "
)
"""Codes, source locations, the file's own name and other parts of messages that do not help a user."""


def failures() -> tuple[type[Exception], ...]:
    """Return the errors that ONNX Runtime and its tools raise on models that they cannot handle."""
    from onnxruntime.capi import onnxruntime_pybind11_state as states

    return (
        states.Fail, states.InvalidArgument, states.InvalidGraph, states.InvalidProtobuf, states.NoSuchFile,
        states.NotImplemented, states.RuntimeException, onnx.checker.ValidationError,
        onnx.shape_inference.InferenceError, AssertionError, ValueError, RuntimeError,
    )  # fmt: skip


def reason(error: Exception) -> str:
    """Return the message of an ONNX Runtime error on one line, without the parts that only its authors understand.

    Example:
        >>> reason(RuntimeError("[ONNXRuntimeError] : 1 : FAIL : no such kernel."))
        'no such kernel'
    """
    return _NOISE.sub("", " ".join(str(error).split())).rstrip(".") or type(error).__name__


def session(model: onnx.ModelProto | Path, *, fused: bool = True, as_here: bool = False) -> Any:
    """Open a CPU session of a file, or of a model in memory.

    On a processor whose sums of bytes saturate, Q/DQ pairs compute in floats, as exactly as elsewhere. Operators on
    integers, such as MatMulInteger, saturate there.

    Args:
        model: model to run.
        fused: whether the runtime may rewrite the graph; if not, Q/DQ pairs compute in floats.
        as_here: whether sums of bytes may saturate if this processor's do.

    Raises:
        ModelError: ONNX Runtime cannot load the model.
    """
    taken = (str(model), {}) if isinstance(model, Path) else onnx_file.split(model)
    return opened(*taken, fused=fused, as_here=as_here)


def opened(
    model: onnx.ModelProto | str, weights: onnx_file.Weights, *, fused: bool = True, as_here: bool = False
) -> Any:
    """Open a session like :func:`session`, from a file name, or from a model and its external constants."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = FATAL_ALONE
    options.enable_cpu_mem_arena = False  # the arena keeps the memory of a run, and grows by doubling
    options.enable_mem_pattern = False
    # The runtime drops a constant that nothing reads, and then refuses a value for it.
    read = names_read(model.graph) if isinstance(model, onnx.ModelProto) else set()
    values = onnx_file.runtime_values({name: tensor for name, tensor in weights.items() if name in read})
    if values:  # higher levels rearrange weights and hold each of them three times
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    if not fused:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # a file for another processor is judged by what it computes there
    options.add_session_config_entry("session.disable_quant_qdq", "1" if detect().saturates and not as_here else "0")
    # otherwise idle threads busy-wait: half of the processor time of calibrating a network of many small layers
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_external_initializers(list(values), list(values.values()))
    with tempfile.TemporaryDirectory(prefix="leanmark-session-") as folder:
        path = Path(model) if isinstance(model, str) else Path(folder, "model.onnx")
        if isinstance(model, onnx.ModelProto):  # from a file, since a session keeps the bytes it is created from
            path.write_bytes(model.SerializeToString())
        try:
            running = onnxruntime.InferenceSession(str(path), options, providers=list(PROVIDERS))
        except failures() as error:
            raise ModelError(f"ONNX Runtime cannot load the model ({reason(error)}).") from error
    running.leanmark_values = values  # the session reads them in place
    return running


def run(running: Any, outputs: Sequence[str] | None, feed: Mapping[str, npt.NDArray[Any]]) -> list[npt.NDArray[Any]]:
    """Return the outputs of a session for one feed; all outputs if ``outputs`` is None.

    Raises:
        ModelError: ONNX Runtime cannot run the model.
    """
    try:
        found: list[npt.NDArray[Any]] = running.run(None if outputs is None else list(outputs), dict(feed))
    except failures() as error:
        raise ModelError(f"ONNX Runtime cannot run the model ({reason(error)}).") from error
    return [np.asarray(each) for each in found]
