from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from certify.assessment.profile import Profile
from certify.core.estimate import Estimate, EvidenceLevel
from certify.core.evidence import Evidence
from certify.measure.plan import Plan
from certify.workflows.profile_result import Profiled, WorkloadProfile

Run = Callable[..., Result]
Make = Callable[..., Path]
NODES = {"nodes": [{"name": "conv\x1b[31m1", "operator": "Conv", "share": 0.4}], "rest": 0.6}


def _workload(make_evidence: Callable[..., Evidence], batch: int) -> WorkloadProfile:
    evidence = make_evidence(observations={"node_costs": {"candidate": NODES}})
    header = replace(evidence.header, workload=replace(evidence.header.workload, batch=batch))
    energy = Estimate(0.8 * batch, 0.7 * batch, 0.9 * batch, "J", 10, "mean", EvidenceLevel.MODELLED)
    estimates = {
        "energy_j_candidate": energy,
        "smallest_detectable_saving": Estimate.exact(0.0211, "1", "half-width"),
        "throughput_per_s_candidate": Estimate(123.4, 120.0, 125.0, "1/s", 10, "rate"),
        "energy_ratio": Estimate(0.4, 0.39, 0.41, "1", 10, "ratio"),
        "macs_candidate": Estimate.exact(4e9, "1", "count"),
    }
    return WorkloadProfile(Profile(estimates, ()), replace(evidence, header=header))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, make_evidence: Callable[..., Evidence]) -> dict[str, Any]:
    """What the command asked of certify.api, which measures nothing here."""
    calls: dict[str, Any] = {}

    def profile(model: Path, **settings: Any) -> Profiled:
        calls.update(model=model, **settings)
        against = settings["against"]
        workloads = tuple(_workload(make_evidence, plan.batch) for plan in settings["plan"])
        return Profiled(model.name, None if against is None else against.name, workloads)

    monkeypatch.setattr("certify.api.profile", profile)
    return calls


def test_profile_shows_figures_and_nodes_when_measured_alone(
    leanmark: Run, onnx_file: Make, asked: dict[str, Any]
) -> None:
    result = leanmark("profile", onnx_file(), "--data", "mnist5k")
    assert result.exit_code == 0, result.output
    assert asked["against"] is None and asked["out"] is None and asked["plan"] == [Plan()]
    for words in ("4.00 G", "2.2 %", "conv [31m1", "40.0 %", "320 mJ"):
        assert words in result.stdout, words


def test_profile_measures_every_batch_in_every_runtime_when_several_are_given(
    leanmark: Run, onnx_file: Make, asked: dict[str, Any]
) -> None:
    result = leanmark("profile", onnx_file(), "--data", "x", "--batch", "1, 8,8", "--runtime",
                      "onnxruntime-cpu,auto", "--threads", 2)  # fmt: skip
    assert result.exit_code == 0, result.output
    assert asked["plan"] == [
        Plan(batch=size, runtime=name, threads=2) for name in ("onnxruntime-cpu", "auto") for size in (1, 8)
    ]
    assert "6.40 J" in result.stdout and "800 mJ" in result.stdout  # an inference of eight samples, and one of them


def test_profile_shows_the_ratio_when_measured_against_another(
    leanmark: Run, onnx_file: Make, asked: dict[str, Any]
) -> None:
    other = onnx_file("other.onnx")
    result = leanmark("profile", onnx_file(), "--data", "x", "--against", other, "--batch", "1,8")
    assert result.exit_code == 0, result.output
    assert asked["against"] == other
    assert "0.400×" in result.stdout


def test_profile_prints_json_alone_when_asked(leanmark: Run, onnx_file: Make, asked: dict[str, Any]) -> None:
    found = json.loads(leanmark("profile", onnx_file(), "--data", "x", "--json").stdout)
    assert found["model"] == "model.onnx" and found["against"] is None
    (workload,) = found["workloads"]
    assert workload["estimates"]["energy_j_candidate"]["value"] == 0.8
    assert workload["nodes"]["candidate"][0]["share"] == 0.4
    assert len(workload["windows"]["candidate"]) == 20


@pytest.mark.parametrize(("ending", "start"), [("svg", b"<svg"), ("png", b"\x89PNG")])
def test_profile_writes_the_plot_when_asked(
    leanmark: Run, onnx_file: Make, asked: dict[str, Any], tmp_path: Path, ending: str, start: bytes
) -> None:
    path = tmp_path / f"plot.{ending}"
    assert leanmark("profile", onnx_file(), "--data", "x", "--plot", path).exit_code == 0
    assert path.read_bytes().startswith(start)


@pytest.mark.parametrize(("flag", "value"), [("--plot", "plot.jpg"), ("--batch", "1;8"), ("--batch", "0")])
def test_profile_refuses_before_the_work_when_an_option_is_wrong(
    leanmark: Run, onnx_file: Make, asked: dict[str, Any], flag: str, value: str
) -> None:
    result = leanmark("profile", onnx_file(), "--data", "x", flag, value)
    assert result.exit_code == 2
    assert value in result.stderr
    assert not asked
