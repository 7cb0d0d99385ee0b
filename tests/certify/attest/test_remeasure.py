"""Measuring a certified pair again: the same files, samples and workload, or not at all."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest

from certify.attest.audit import audit
from certify.attest.certificate import Certificate
from certify.core.errors import CertificateError, UsageError
from certify.core.evidence import Evidence
from certify.data.arrays import ArraySource
from certify.data.dataset import Split, Targets
from certify.data.preprocess import Preprocess
from certify.measure.plan import Plan
from certify.workflows.remeasurement import remeasure

SAMPLES = Split(ArraySource(np.zeros((1500, 1, 1), np.uint8)), [0] * 1500)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, certified_evidence: Callable[..., Evidence]) -> dict[str, Any]:
    """What was asked of the measurement, which measures nothing here; and the data that it is given."""
    evidence = certified_evidence()
    digest = evidence.header.data["test_digest"]
    calls: dict[str, Any] = {"dataset": SimpleNamespace(test_digest=lambda: digest, spec="mnist5k", test=SAMPLES)}

    def measure(*arguments: Any, **named: Any) -> Evidence:
        names = ("models", "data", "plan", "rules")
        calls.update(zip(names, arguments, strict=True), **named)
        return evidence

    monkeypatch.setattr("certify.workflows.remeasurement.measure", measure)
    monkeypatch.setattr("certify.workflows.remeasurement.simplify", lambda path, *_: f"{path.name} again")
    monkeypatch.setattr("certify.workflows.remeasurement.load", lambda *_, **__: calls["dataset"])
    return calls


def test_remeasure_follows_the_certificate_when_all_files_are_there(
    folder: Path, asked: dict[str, Any], make_contract: Callable[..., Preprocess]
) -> None:
    found = audit(folder / "model.onnx")
    plan = Plan(runtime="something-else", batch=8, threads=1, seed=3)
    assert remeasure(folder / "model.onnx", found.certificate, "mnist5k", plan) == found.evidence
    contract = make_contract()
    assert asked["models"] == ((folder / "baseline.onnx", contract), (folder / "model.onnx", contract))
    workload = found.evidence.header.workload
    assert (asked["plan"].runtime, asked["plan"].batch) == (workload.runtime, workload.batch)
    assert (asked["plan"].threads, asked["plan"].seed) == (1, 3)
    assert asked["rules"].edition == "2026"
    assert asked["simplified"] == "baseline.onnx again"
    assert asked["baseline_origin"] == found.evidence.header.baseline_origin


def test_remeasure_tries_both_runtimes_again_when_each_model_had_chosen_its_own(
    folder: Path, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = Certificate.read(folder / "certificate.json")
    workload = certificate.predicate["workload"]
    monkeypatch.setitem(workload, "runtime", "openvino-bf16")
    monkeypatch.setitem(workload, "candidate_runtime", {"runtime": "openvino"})
    remeasure(folder / "model.onnx", certificate, "mnist5k")
    assert asked["plan"].runtime == "auto"
    assert asked["plan"].among == ("onnxruntime-cpu", "openvino-bf16", "openvino")


def test_remeasure_runs_no_code_named_by_a_certificate_unless_the_user_names_it(
    folder: Path, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = Certificate.read(folder / "certificate.json")
    monkeypatch.setitem(certificate.predicate["data"], "metric", "antigravity:fly")
    with pytest.raises(UsageError, match="--metric antigravity:fly"):
        remeasure(folder / "model.onnx", certificate, "mnist5k")
    assert "plan" not in asked


def test_remeasure_refuses_a_metric_when_its_source_differs(
    folder: Path, asked: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "certified_metric.py"
    source.write_text("def right(outputs, labels):\n    return outputs.argmax(axis=1) == labels\n")
    monkeypatch.syspath_prepend(tmp_path)
    certificate = Certificate.read(folder / "certificate.json")
    code = hashlib.sha256(source.read_bytes()).hexdigest()
    for name, value in (("metric", "certified_metric:right"), ("metric_code", code)):
        monkeypatch.setitem(certificate.predicate["data"], name, value)
    plan = Plan(metric="certified_metric:right")
    remeasure(folder / "model.onnx", certificate, "mnist5k", plan)
    assert asked.pop("plan").metric == "certified_metric:right"
    source.write_text(source.read_text() + "# another\n")
    with pytest.raises(CertificateError, match=f"has different source code here .* when certified .{code[:16]}"):
        remeasure(folder / "model.onnx", certificate, "mnist5k", plan)
    monkeypatch.delitem(certificate.predicate["data"], "metric_code")
    with pytest.raises(CertificateError, match="certified .none"):
        remeasure(folder / "model.onnx", certificate, "mnist5k", plan)
    assert "plan" not in asked


def test_remeasure_refuses_before_the_work_when_files_or_samples_differ(folder: Path, asked: dict[str, Any]) -> None:
    model, certificate = folder / "model.onnx", Certificate.read(folder / "certificate.json")
    asked["dataset"].test_digest = lambda: "00" * 32
    with pytest.raises(CertificateError, match="not the certified one"):
        remeasure(model, certificate, "mnist5k")
    baseline = folder / "baseline.onnx"
    other = onnx.load(baseline)
    other.producer_name = "another"
    onnx.save(other, baseline)
    with pytest.raises(CertificateError, match=r"baseline\.onnx is not the file"):
        remeasure(model, certificate, "mnist5k")
    baseline.unlink()
    with pytest.raises(UsageError, match=r"baseline\.onnx is missing"):
        remeasure(model, certificate, "mnist5k")
    assert "plan" not in asked


def test_remeasure_refuses_the_same_samples_when_their_numbers_differ(
    folder: Path, asked: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = Certificate.read(folder / "certificate.json")
    asked["dataset"].test = Split(ArraySource(np.zeros((2, 1, 1), np.uint8)), [0, 1], targets=Targets(np.arange(2.0)))
    with pytest.raises(CertificateError, match="not the certified one"):
        remeasure(folder / "model.onnx", certificate, "mnist5k")
    monkeypatch.setitem(certificate.predicate["data"], "targets", asked["dataset"].test.targets.digest())
    monkeypatch.setitem(certificate.predicate["data"], "metric", "regression:2")
    remeasure(folder / "model.onnx", certificate, "mnist5k")
    assert asked["plan"].metric == "regression:2"
