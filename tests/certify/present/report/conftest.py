"""A small certified model with its sidecar files, and a lineage with passes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

HEX = "ab" * 32


def joules(value: float) -> dict[str, Any]:
    return {
        "value": value,
        "low": value / 2,
        "high": value * 2,
        "unit": "J",
        "n": 1,
        "method": "m",
        "evidence": "counter",
    }


def row(name: str, macs: int, size: int, accuracy: float | None, spent: float | None) -> dict[str, Any]:
    return {
        "pass": name, "version": 1, "stage": "torch", "config": {}, "model_digest_in": HEX, "model_digest_out": HEX,
        "parameters": 200, "macs": macs, "bytes": size, "validation_accuracy": accuracy, "seconds": 2.0,
        "energy_j": None if spent is None else joules(spent), "done": {}, "declined": [],
    }  # fmt: skip


ROWS = [row("structured_prune", 7000, 700, 0.6, 28.0), row("distill", 7000, 700, 0.95, 336.0)]
NODES = [
    {"name": "conv", "operator": "Conv", "share": 0.75},
    {"name": "head", "operator": "MatMul", "share": 0.25},
]


@pytest.fixture(autouse=True)
def own_config(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's keys."""
    monkeypatch.setenv("LEANMARK_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))


@pytest.fixture(scope="session")
def graded(certify_small: Callable[..., Any]) -> Path:
    """A certified model with passes and node costs."""
    observations = {"node_costs": {"candidate": {"nodes": NODES}}}
    path: Path = certify_small(lineage={"rows": ROWS}, observations=observations).path
    return path


@pytest.fixture(scope="session")
def rows() -> list[dict[str, Any]]:
    return ROWS


@pytest.fixture(scope="session")
def make_row() -> Callable[..., dict[str, Any]]:
    return row
