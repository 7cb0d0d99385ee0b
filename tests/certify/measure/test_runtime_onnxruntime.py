from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from certify.core.errors import ModelError, UsageError
from certify.measure import runtimes
from certify.measure.runtimes import onnxruntime_base
from certify.measure.runtimes.base import SessionOptions
from certify.measure.runtimes.onnxruntime_cuda import BoundSession, OnnxRuntimeCuda
from certify.measure.runtimes.onnxruntime_tensorrt import OnnxRuntimeTensorrt

OPTIONS = SessionOptions(("image",), "classes", 1, (min(os.sched_getaffinity(0)),))
CUDA, TENSORRT, CPU = "CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider"


@pytest.fixture(autouse=True)
def own_processors(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Opening a session pins the calling thread and turns TF32 off; both are put back."""
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "unset")
    allowed = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, allowed)


class FakeGpu:
    """ONNX Runtime's session on the processor, which says that it is on a GPU and notes what it is asked."""

    def __init__(self, path: str, settings: ort.SessionOptions, providers: list[Any]) -> None:
        self.asked = providers
        self._real = REAL(path, settings, providers=[CPU])

    def get_providers(self) -> list[str]:
        return [*(name for name, _ in self.asked), CPU]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


REAL = ort.InferenceSession


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnxruntime_base.ort, "InferenceSession", FakeGpu)
    monkeypatch.setattr(onnxruntime_base.ort, "get_available_providers", lambda: [TENSORRT, CUDA, CPU])


@pytest.mark.parametrize("name", ["onnxruntime-cuda", "onnxruntime-tensorrt"])
def test_require_names_the_package_to_install_when_the_provider_is_absent(name: str) -> None:
    with pytest.raises(UsageError, match="needs .*ExecutionProvider, but .* only has .*pip install onnxruntime-gpu"):
        runtimes.require(name)


def test_cuda_is_available_when_the_library_has_its_provider(gpu: None) -> None:
    assert OnnxRuntimeCuda().unavailable() is None


def test_open_refuses_when_the_gpu_cannot_be_started(small_pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def fallen_back(path: str, settings: ort.SessionOptions, providers: list[Any]) -> ort.InferenceSession:
        return REAL(path, settings, providers=[CPU])

    monkeypatch.setattr(onnxruntime_base.ort, "InferenceSession", fallen_back)
    with pytest.raises(ModelError, match="CUDAExecutionProvider was requested, but .* only start CPUExecutionProvider"):
        OnnxRuntimeCuda().open(small_pair.baseline, OPTIONS)


def test_cuda_session_reads_from_the_gpu_and_returns_the_same_output(
    gpu: None, small_pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = OnnxRuntimeCuda().open(small_pair.baseline, OPTIONS)
    assert isinstance(session, BoundSession)
    batch = small_pair.contract.batch(small_pair.dataset.test, range(2))
    expected = REAL(str(small_pair.baseline), providers=[CPU]).run(["classes"], {"image": batch})[0]
    moved: list[tuple[str, int]] = []

    def to_gpu(array: np.ndarray, device: str, index: int) -> ort.OrtValue:
        moved.append((device, index))
        return to_processor(array)

    to_processor = ort.OrtValue.ortvalue_from_numpy
    monkeypatch.setattr(ort.OrtValue, "ortvalue_from_numpy", staticmethod(to_gpu))
    first = session.run(session.prepare(batch))
    assert moved == [("cuda", 0)]
    again = session.run(session.prepare(batch + 1))
    assert np.allclose(first, expected, rtol=1e-5) and not np.allclose(first, again)


def test_precision_is_not_lowered_when_a_gpu_is_used(gpu: None, small_pair) -> None:
    session = OnnxRuntimeCuda().open(small_pair.baseline, OPTIONS)
    assert os.environ["NVIDIA_TF32_OVERRIDE"] == "0"
    (asked,) = session._session.asked
    assert asked[0] == CUDA and asked[1]["use_tf32"] == "0"
    assert session.facts()["precision"] == "as in the model, without TF32"
    assert session.facts()["providers"] == [CUDA, CPU]


@pytest.mark.parametrize(("arm", "integers"), [("baseline", "False"), ("candidate", "True")])
def test_tensorrt_allows_integers_when_the_file_holds_quantized_operators(small_pair, arm: str, integers: str) -> None:
    first, second = OnnxRuntimeTensorrt().providers(getattr(small_pair, arm))
    assert first[0] == TENSORRT and second[0] == CUDA
    assert first[1]["trt_int8_enable"] == integers and first[1]["trt_fp16_enable"] == "False"


def test_nodes_are_timed_and_placed_when_a_session_profiles(small_pair, tmp_path: Path) -> None:
    options = SessionOptions(("image",), "classes", 1, OPTIONS.cores, profile=True)
    session = runtimes.get("onnxruntime-cpu").open(small_pair.candidate, options)
    feed = session.prepare(small_pair.contract.batch(small_pair.dataset.test, [0]))
    for _ in range(3):
        session.run(feed)
    nodes = session.nodes()
    assert sum(node.operator == "QLinearConv" for node in nodes) == 2
    assert {(node.provider, node.runs) for node in nodes} == {(CPU, 3)}
    assert all(node.duration_s > 0 and not node.shapes_only for node in nodes)


def test_nodes_need_a_profile_when_they_are_asked_for(small_pair) -> None:
    session = runtimes.get("onnxruntime-cpu").open(small_pair.baseline, OPTIONS)
    with pytest.raises(ModelError, match="without a profile"):
        session.nodes()


def _event(name: str, operator: str, into: str, out: str, provider: str = CPU) -> dict[str, Any]:
    details = {
        "op_name": operator,
        "provider": provider,
        "input_type_shape": [{into: [1, 3]}],
        "output_type_shape": [{out: [2]}],
    }
    return {"cat": "Node", "name": f"{name}_kernel_time", "dur": 2, "args": details}


def test_shape_arithmetic_is_separated_from_work_when_a_profile_is_read() -> None:
    events = [
        {"cat": "Session", "name": "model_run", "dur": 100},
        _event("shape", "Shape", "float", "int64"),
        _event("gather", "Gather", "int64", "int64"),
        _event("argmax", "ArgMax", "float", "int64"),
        _event("conv", "Conv", "float", "float", CUDA),
        _event("conv", "Conv", "float", "float", CUDA),
    ]
    nodes = {node.name: node for node in onnxruntime_base.node_runs(events)}
    assert {name for name, node in nodes.items() if node.shapes_only} == {"shape", "gather"}
    assert nodes["conv"].runs == 2 and nodes["conv"].duration_s == pytest.approx(4e-6)
    assert nodes["conv"].provider == CUDA


def test_error_names_the_nearest_runtime_when_it_is_unknown() -> None:
    with pytest.raises(UsageError, match="did you mean 'onnxruntime-cpu'"):
        runtimes.check("onnxruntime_cpu")
    runtimes.check("auto")


def test_help_names_every_runtime() -> None:
    from certify.cli.plan import RUNTIME_NAMES

    assert [name.split()[0] for name in RUNTIME_NAMES.replace(" or ", " ").split(", ")] == [
        *runtimes.RUNTIMES.own,
        "auto",
    ]


@pytest.mark.parametrize("name", runtimes.RUNTIMES.own)
def test_every_runtime_describes_what_the_evidence_needs(name: str) -> None:
    runtime = runtimes.get(name)
    assert runtime.device in ("cpu", "cuda") and runtime.suffix in (".onnx", ".pt2")
    assert runtime.provider in runtime.own_providers and runtime.precision
    assert runtime.unavailable() is None or runtime.unavailable().endswith(".")
    assert runtime.accelerator() == {} or "accelerator" in runtime.accelerator()
