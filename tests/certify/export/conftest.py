"""Certificates to export: graded, modelled, refused and without a meter."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from certify.assessments.efficiency.assessment import Efficiency
from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.grade import grade
from certify.assessments.efficiency.profile import derive
from certify.attest.certificate import Certificate
from certify.attest.envelope import sign
from certify.attest.keys import generate
from certify.attest.statement import Binding, build_statement
from certify.core.evidence import Evidence, MeterFacts, ModelFacts
from certify.data.images import ImagePreprocess

HEX = "ab" * 32
ENERGY = {"value": 7.5, "low": 3.75, "high": 15.0, "unit": "J", "n": 1, "method": "m", "evidence": "modelled"}

CONTRACT = ImagePreprocess(
    "image", "scores", 8, 8, "NCHW", "RGB", 255.0, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25), "exact", "none", "bilinear",
    "logits",
)  # fmt: skip

KNOBS: dict[str, dict[str, Any]] = {
    "graded": {},
    "modelled": {"level": "modelled"},
    "refused": {"null_noise": 0.4, "level": "modelled"},
    "no meter": {"level": None},
}

LINEAGE: dict[str, Any] = {
    "baseline": {"trained_here": True, "energy_j": ENERGY},
    "rows": [
        {"pass": "structured_prune", "version": 1, "stage": "torch", "config": {"macs": 0.5}, "parameters": 10,
         "macs": 20, "bytes": 40, "validation_accuracy": 0.5, "seconds": 3.5, "energy_j": ENERGY},
        {"pass": "distill", "version": 1, "stage": "torch", "config": {}, "parameters": 10, "macs": 20, "bytes": 40,
         "validation_accuracy": None, "seconds": 60.5, "energy_j": None},
    ],
}  # fmt: skip


@pytest.fixture(scope="session")
def lineage() -> dict[str, Any]:
    return LINEAGE


@pytest.fixture(scope="session")
def certificates(
    make_evidence: Callable[..., Evidence], edition: Edition, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Certificate]:
    """By what is special about them."""
    key = generate(tmp_path_factory.mktemp("key") / "k.key")
    facts = ModelFacts(HEX, "cd" * 32, 1000, 100, 200, 1.0)
    data = {"name": "mnist5k", "spec": "mnist5k", "test_samples": 1500, "test_digest": HEX, "classes": 10}
    binding = Binding(
        model="tinynet",
        metadata="56" * 32,
        subject="model.onnx",
        digests={"sha256": HEX, "leanmarkContent": "cd" * 32},
        evidence=("ef" * 32, 4000),
        lineage="12" * 32,
        companions={"baseline.onnx": "34" * 32},
        stated={"preprocess": CONTRACT.to_json(), "label": {"renderer": "renderer"}},
        signer=key.public,
    )
    found = {}
    for name, knobs in KNOBS.items():
        evidence = make_evidence(header={"models": {"baseline": facts, "candidate": facts}, "data": data}, **knobs)
        if knobs.get("level") == "modelled":
            meter = MeterFacts("vcpu-watts", "modelled", "vcpu", "CPU time times watts", 2.0, {"nvml": "no"}, {"w": 1})
            evidence = replace(evidence, header=replace(evidence.header, meter=meter))
        profile = derive(evidence, edition)
        payload = build_statement(Efficiency(), evidence, profile, grade(profile, edition), edition, binding)
        found[name] = Certificate(sign(payload, key).to_bytes())
    return found


@pytest.fixture(scope="session")
def make_statement(certificates: dict[str, Certificate]) -> Callable[[str], dict[str, Any]]:
    """A fresh copy of a statement, to be changed."""
    return lambda name: json.loads(certificates[name].envelope.payload)  # type: ignore[no-any-return]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path
