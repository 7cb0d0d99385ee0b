from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.guards.models import one_device, quantization_fused
from certify.core.evidence import ARMS, Evidence
from certify.core.run_observations import NodeCosts, SessionFacts
from certify.measure import observations
from certify.measure.model_under_test import subject
from certify.measure.runtimes.accelerators import nvidia
from certify.measure.runtimes.base import NodeRun

CUDA, TENSORRT, CPU = "CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider"


def _node(name: str, provider: str, shapes_only: bool = False) -> NodeRun:
    return NodeRun(name, "Conv", provider, 1e-3, 1, shapes_only)


def _judged(
    make_evidence: Callable[..., Evidence], edition: Edition, runtime: str, provider: str, *nodes: NodeRun
) -> tuple[str, str]:
    costs = {"baseline": NodeCosts([], places=observations.places([_node("a", provider)]))}
    if nodes:
        costs["candidate"] = NodeCosts([], places=observations.places(nodes))
    found = {arm: SessionFacts(providers=[provider, CPU]) for arm in ARMS}
    evidence = make_evidence()
    header = replace(evidence.header, workload=replace(evidence.header.workload, provider=provider))
    kept = [o for o in evidence.observations if o.name != "sessions"]
    evidence = replace(
        evidence, header=header, observations=(*kept, observations.sessions(found, costs, dict.fromkeys(ARMS, runtime)))
    )
    finding = one_device(evidence, edition)
    return finding.outcome, finding.sentence


def test_guard_passes_when_every_node_ran_on_the_gpu(make_evidence, edition: Edition) -> None:
    nodes = _node("conv", CUDA), _node("gather", CPU, shapes_only=True)
    assert _judged(make_evidence, edition, "onnxruntime-cuda", CUDA, *nodes)[0] == "pass"


def test_guard_fails_and_names_the_node_when_one_fell_back_to_the_processor(make_evidence, edition: Edition) -> None:
    outcome, sentence = _judged(
        make_evidence, edition, "onnxruntime-cuda", CUDA, _node("conv", CUDA), _node("odd_conv", CPU)
    )
    assert outcome == "fail" and "odd_conv" in sentence and CPU in sentence


def test_guard_fails_when_the_whole_model_fell_back(make_evidence, edition: Edition) -> None:
    outcome, sentence = _judged(make_evidence, edition, "onnxruntime-cuda", CUDA, _node("conv", CPU))
    assert outcome == "fail" and f"the candidate on {CPU}" in sentence


def test_guard_passes_when_tensorrt_leaves_nodes_to_cuda_on_the_same_gpu(make_evidence, edition: Edition) -> None:
    nodes = _node("engine", TENSORRT), _node("odd", CUDA)
    assert _judged(make_evidence, edition, "onnxruntime-tensorrt", TENSORRT, *nodes)[0] == "pass"


def test_guard_is_unknown_when_there_is_no_profile(make_evidence, edition: Edition) -> None:
    assert _judged(make_evidence, edition, "onnxruntime-cuda", CUDA)[0] == "unknown"


def test_quantization_is_unknown_when_the_runtime_writes_no_graph_and_a_model_is_quantized(
    small_pair, tmp_path, make_evidence, edition: Edition, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Opened:
        facts: dict[str, Any] = {}

        def __init__(self, *_: Any, **__: Any) -> None:
            return

        def __enter__(self) -> Opened:
            return self

        def __exit__(self, *_: object) -> None:
            return

    monkeypatch.setattr(observations, "Worker", Opened)
    both = [subject(arm, getattr(small_pair, arm), small_pair.contract, 1, tmp_path) for arm in ARMS]
    seen = observations.graphs(both, dict.fromkeys(ARMS, "onnxruntime-tensorrt"), 1, tmp_path)[0]
    assert seen.values == {"baseline": {"intended": 0, "fused": 0, "unfused": []}}
    evidence = make_evidence()
    kept = [o for o in evidence.observations if o.name != "quantization"]
    assert quantization_fused(replace(evidence, observations=(*kept, seen)), edition).outcome == "unknown"


class FakeNvml:
    """The few calls of pynvml that describe a board."""

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        self.asked: list[Any] = []

    def __getattr__(self, name: str) -> Any:
        told = {
            "nvmlDeviceGetName": "Some GPU",
            "nvmlDeviceGetMemoryInfo": SimpleNamespace(total=8 << 30),
            "nvmlDeviceGetCudaComputeCapability": (9, 0),
            "nvmlSystemGetDriverVersion": "580.1",
        }

        def call(*arguments: Any) -> Any:
            self.asked.append((name, *arguments))
            if name == "nvmlDeviceGetEnforcedPowerLimit":
                raise self.NVMLError("not supported")
            return told.get(name)

        return call


@pytest.mark.parametrize(
    ("visible", "call"),
    [("2,0", ("nvmlDeviceGetHandleByIndex", 2)), ("GPU-abc", ("nvmlDeviceGetHandleByUUID", "GPU-abc"))],
)
def test_accelerator_is_the_first_visible_gpu_without_fields_it_does_not_report(
    monkeypatch: pytest.MonkeyPatch, visible: str, call: tuple[Any, ...]
) -> None:
    fake = FakeNvml()
    monkeypatch.setitem(sys.modules, "pynvml", fake)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert nvidia() == {
        "accelerator": "Some GPU", "accelerator_memory_bytes": 8 << 30, "accelerator_capability": "9.0",
        "accelerator_driver": "580.1",
    }  # fmt: skip
    assert call in fake.asked and fake.asked[-1] == ("nvmlShutdown",)
