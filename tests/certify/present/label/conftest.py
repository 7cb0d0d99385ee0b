"""A predicate as the certificate's schema wants it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

DIGEST = "7d" * 32


def estimate(value: float, low: float, high: float, unit: str = "1", evidence: str = "direct") -> dict[str, Any]:
    return {"value": value, "low": low, "high": high, "unit": unit, "n": 10, "method": "test", "evidence": evidence}


def make_predicate(
    letter: str | None = "C",
    level: str = "modelled",
    ratio: tuple[float, float, float] = (0.238, 0.233, 0.243),
    loss: tuple[float, float, float] = (0.31, -0.4, 0.88),
    reasons: tuple[str, ...] = (),
) -> dict[str, Any]:
    modelled = level == "modelled"
    text = f"{letter}~" if modelled else letter
    return {
        "version": 1,
        "leanmark": "0.1.0",
        "created": "2026-11-22T10:11:12Z",
        "model": {"name": "resnet50", "metadata": "ab" * 32},
        "edition": {"name": "2026", "digest": DIGEST},
        "outcome": "graded" if letter else "refused",
        "grade": {
            "letter": letter,
            "modelled": modelled,
            "text": text if letter else "refused",
            "score_db": 6.1 if letter else None,
            "upper_ratio": ratio[2],
            "loss_percent": max(loss[2], 0.0),
            "point_letter": letter,
            "reasons": list(reasons),
            "notes": [],
        },
        "profile": {
            "estimates": {
                "energy_ratio": estimate(*ratio, evidence=level),
                "relative_loss_percent": estimate(*loss, unit="%"),
                "accuracy_baseline": estimate(0.981, 0.97, 0.99),
                "accuracy_candidate": estimate(0.978, 0.97, 0.99),
                "energy_yardstick_candidate": estimate(0.0212, 0.020, 0.022, evidence=level),
                "energy_yardstick_baseline": estimate(0.0881, 0.087, 0.090, evidence=level),
                "smallest_detectable_saving": estimate(0.018, 0.018, 0.018),
            },
            "guards": [
                {"name": "null_holds", "outcome": "pass", "sentence": "It holds."},
                {"name": "test_unseen", "outcome": "unknown", "sentence": "Nobody knows."},
            ],
        },
        "workload": {
            "runtime": "onnxruntime-cpu",
            "runtime_version": "1.31.1",
            "provider": "CPUExecutionProvider",
            "batch": 1,
            "threads": 2,
            "candidate_threads": 2,
            "graph_optimization": "all",
            "spinning": True,
            "precision": "as in the model",
            "library_versions": {"onnxruntime": "1.31.1"},
            "candidate_runtime": {},
        },
        "workload_digest": DIGEST,
        "device": {"processor": "Xeon 8581C", "processors_allowed": 2, "virtualisation": "kvm"},
        "meter": {
            "name": "vcpu-watts" if modelled else "rapl-powercap",
            "level": level,
            "scope": "vcpu" if modelled else "package",
            "method": "CPU time times watts per vCPU" if modelled else "energy counter",
            "relative_error": None if modelled else 1.05,
            "refused": {},
            "parameters": {},
            "code": None,
        },
        "data": {"name": "mnist5k", "spec": "mnist5k", "test_samples": 1500, "test_digest": DIGEST, "classes": 10},
        "baseline": {
            "file_digest": DIGEST,
            "content_digest": DIGEST,
            "origin": "trained here on mnist5k, seed 0",
            "published": None,
            "simplified": None,
            "preprocess": {},
            "contracts_differ": None,
        },
        "preprocess": {},
        "evidence": {"sha256": DIGEST, "bytes": 5},
        "lineage": None,
        "companions": {},
        "attempts": 1,
        "libraries": {"onnxruntime/capi/onnxruntime_pybind11_state.so": DIGEST},
        "label": {"renderer": "resvg"},
        "signer": {"algorithm": "ed25519", "public_key": DIGEST},
    }


@pytest.fixture(scope="session")
def predicate() -> Callable[..., dict[str, Any]]:
    """Makes predicates that pass through JSON, as a certificate's do."""
    return lambda **changes: json.loads(json.dumps(make_predicate(**changes)))
