from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest

from certify.assessments.efficiency.guards.models import one_device, quantization_fused
from certify.core.errors import ModelError, UsageError
from certify.core.evidence import ARMS
from certify.core.run_observations import SessionFacts
from certify.measure import observations, runtimes
from certify.measure.client import Worker
from certify.measure.model_under_test import session_settings, subject
from certify.measure.runtimes import openvino_cpu
from certify.measure.runtimes.base import Session, SessionOptions
from certify.model_file.onnx_graph.fusion import fused_quantization
from certify.model_file.onnx_graph.load import load_model


@pytest.fixture(autouse=True)
def own_processors() -> Iterator[None]:
    allowed = os.sched_getaffinity(0)
    yield
    os.sched_setaffinity(0, allowed)


def test_require_names_the_extra_when_openvino_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", absent)
    with pytest.raises(UsageError, match=r"pip install '\.\[openvino\]'"):
        runtimes.require("openvino")


@pytest.mark.parametrize(("flags", "usable"), [({"amx_bf16"}, True), ({"avx512f", "avx512_vnni"}, False)])
def test_bfloat16_needs_a_processor_with_support(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], usable: bool
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setattr(openvino_cpu, "processor_flags", lambda: flags)
    reason = runtimes.get("openvino-bf16").unavailable()
    assert reason is None if usable else "bfloat16 units" in (reason or "")


def test_bfloat16_is_the_precision_reported_by_the_session(small_pair) -> None:
    session = _open(small_pair.baseline, runtime="openvino-bf16")
    assert session.facts()["precision"] == "bf16"


def _open(path: Path, batch: int = 1, profile: bool = False, runtime: str = "openvino") -> Session:
    pytest.importorskip("openvino")
    cores = (min(os.sched_getaffinity(0)),)
    options = SessionOptions(("image",), "classes", 1, cores, input_shape=(batch, 3, 32, 32), profile=profile)
    return runtimes.get(runtime).open(path, options)


@pytest.mark.parametrize("arm", ["baseline", "candidate"])
def test_openvino_scores_like_onnxruntime(small_pair, arm: str) -> None:
    path = getattr(small_pair, arm)
    batch = small_pair.contract.batch(small_pair.dataset.test, range(8))
    other = runtimes.get("onnxruntime-cpu").open(path, SessionOptions(("image",), "classes", 1, (0,)))
    session = _open(path, batch=8)
    mine, theirs = session.run(session.prepare(batch)), other.run(other.prepare(batch))
    assert np.abs(mine - theirs).max() < 0.02 * np.abs(theirs).max()


def test_output_is_not_overwritten_when_the_next_inference_runs(small_pair) -> None:
    session = _open(small_pair.baseline)
    samples = small_pair.contract.batch(small_pair.dataset.test, [0, 1])
    first = session.run(session.prepare(samples[:1]))
    kept = first.copy()
    second = session.run(session.prepare(samples[1:]))
    assert np.array_equal(first, kept) and not np.array_equal(first, second)


def test_precision_is_pinned_and_threads_are_those_requested(small_pair) -> None:
    facts = _open(small_pair.baseline).facts()
    assert (facts["precision"], facts["threads"], facts["providers"]) == ("f32", 1, ["CPU"])
    assert facts["graph_optimization"] == "all" and facts["integer_nodes"] == []


def test_integer_operators_are_read_from_the_executed_graph(small_pair) -> None:
    integer = _open(small_pair.candidate).facts()["integer_nodes"]
    found = fused_quantization(load_model(small_pair.candidate), integer)
    assert (found.intended, found.fused, found.unfused) == (3, 3, ())


def test_operators_are_named_when_they_run_in_float_but_were_meant_for_integers(small_pair) -> None:
    integer = _open(small_pair.candidate).facts()["integer_nodes"]
    found = fused_quantization(load_model(small_pair.candidate), [names for names in integer if "conv2" not in names])
    assert (found.fused, found.unfused) == (2, ("conv2",))


def test_layers_are_timed_when_a_session_profiles(small_pair) -> None:
    session = _open(small_pair.baseline, profile=True)
    session.run(session.prepare(small_pair.contract.batch(small_pair.dataset.test, [0])))
    nodes = session.nodes()
    assert {"Convolution"} <= {node.operator for node in nodes} and {node.provider for node in nodes} == {"CPU"}
    assert sum(node.duration_s for node in nodes) > 0


def test_model_error_gives_the_reason_when_openvino_cannot_load(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no model")
    with pytest.raises(ModelError, match=r"bad\.onnx: OpenVINO cannot load it"):
        _open(tmp_path / "bad.onnx")


def test_worker_runs_openvino_when_requested(small_pair, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    settings = session_settings("openvino", 1, ("image",), "classes", input_shape=(2, 3, 32, 32))
    np.save(tmp_path / "in.npy", small_pair.contract.batch(small_pair.dataset.test, range(5)))
    with Worker("baseline", small_pair.baseline, settings) as worker:
        worker.predict(tmp_path / "in.npy", tmp_path / "out.npy", 2, 1.0)
        assert worker.facts["precision"] == "f32"
    outputs = np.load(tmp_path / "out.npy")
    assert outputs.shape == (5, 4) and len({row.tobytes() for row in outputs}) == 5


def test_guards_read_what_openvino_reports(small_pair, tmp_path: Path, make_evidence, edition) -> None:
    from dataclasses import replace

    pytest.importorskip("openvino")
    both = [
        subject(arm, getattr(small_pair, arm), small_pair.contract, 1, tmp_path) for arm in ("baseline", "candidate")
    ]
    seen = observations.graphs(both, dict.fromkeys(ARMS, "openvino"), 1, tmp_path)
    assert seen[0].values["candidate"] == {"intended": 3, "fused": 3, "unfused": []}
    evidence = make_evidence()
    rest = tuple(o for o in evidence.observations if o.name not in ("quantization", "sessions"))
    sessions = observations.sessions(
        {arm: SessionFacts(providers=["CPU"]) for arm in ARMS}, {}, dict.fromkeys(ARMS, "openvino")
    )
    header = replace(evidence.header, workload=replace(evidence.header.workload, provider="CPU"))
    evidence = replace(evidence, header=header, observations=(*rest, seen[0], sessions))
    assert quantization_fused(evidence, edition).outcome == one_device(evidence, edition).outcome == "pass"
