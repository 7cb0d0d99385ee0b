"""Builders of scorecard records, of figures that somebody names."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from certify.assessment.record_file import ModelDigests
from certify.core.estimate import Estimate, EvidenceLevel
from certify.scorecard.edition import load_edition
from certify.scorecard.records import Attested, Counted, Countersigned, Header, Record, Records

MODEL = ModelDigests("a" * 64, "b" * 64)
MAKER, LAB = "1" * 64, "2" * 64
EDITION = load_edition("secure-2026")
EXACT = {"low": None, "high": None}


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def figure(value: float, low: float | None = None, high: float | None = None, evidence: str = "direct") -> Estimate:
    ends = (value if low is None else low, value if high is None else high)
    return Estimate(value, *ends, "1", 100, "test", EvidenceLevel(evidence))


def make_header(**other: Any) -> Header:
    made = Header("2026-11-26T12:00:00Z", "0.1.0", MODEL, EDITION.name, EDITION.digest, {})
    return replace(made, **other)


def make_statement(assessment: str, figures: Mapping[str, Estimate | float], **other: Any) -> Counted:
    """A statement that a score counts; plain numbers are exact figures."""
    estimates = {name: one if isinstance(one, Estimate) else figure(one) for name, one in figures.items()}
    made = Counted(
        assessment=assessment,
        type=f"https://leanmark.org/secure/{assessment}/v1",
        sha256=digest(assessment),
        key=MAKER,
        created="2026-11-01T12:00:00Z",
        edition="2026",
        outcome="claimed",
        refused=False,
        runtime="onnxruntime 1.32.0" if assessment == "efficiency" else "",
        lineage="",
        test_data="",
        baseline=(),
        figures={name: one.to_json() for name, one in estimates.items()},
    )
    return replace(made, **other)


def make_records(
    figures: Mapping[str, Mapping[str, Estimate | float]], *words: Record, header: Header | None = None
) -> Records:
    """Records of statements, given as figures by assessment, and of the words of others."""
    rows = [make_statement(name, found) for name, found in figures.items()]
    return Records(header or make_header(), (*rows, *words))


def measured_again(key: str = LAB, agrees: bool = True, checked: Any = "reproduced") -> Countersigned:
    return Countersigned(digest(f"{key}{checked}{agrees}"), key, checked, agrees, "no")


def attested(credit: str, key: str = LAB) -> Attested:
    return Attested(digest(f"{key}{credit}"), key, "An institute", credit)


DECLARED: dict[str, float | Estimate] = {
    "context_complete": 1, "datasheets_complete": 1, "people_not_judged": 0, "faces_no": 1, "people_none": 0,
}  # fmt: skip
"""Declarations of somebody who answered everything, of a model that judges people and sees no faces."""


def best_case() -> dict[str, dict[str, Estimate | float]]:
    """8.5 dB read from a counter, epsilon 3, and everything measured but the flips: section 1.5 of the notes."""
    counter = figure(0.12, 0.11, 0.13, "counter")
    return {
        "efficiency": {"score_db": 8.5, "energy_ratio": counter, "graded": 1, "lineage_signed": 1,
                       "log10_payback_inferences": figure(5.0, 4.8, 5.2)},
        "declarations": {**DECLARED, "affected_people_asked": 1},
        "federation": {"client_compute_share": figure(0.9, 0.8625, 0.93), "round_bytes_ratio": 0.75,
                       "round_energy_j": figure(90.0, 80, 100, "sampled")},
        "privacy": {"epsilon": 3.0},
        "privacy_audit": {"membership_auc_change": figure(0.0, -0.015, 0.0157)},
        "data_use": {"policy_bound": 1, "withdrawals_honoured": 1},
        "social": {"cells": 14, "cells_within_margin_share": 0.75, "widest_gap_change_points": figure(0.5, -0.4, 1.2),
                   "brier_difference": figure(0.001, -0.001, 0.0025)},
        "robustness": {"worst_corruption_loss_points": figure(1, 0, 3.0),
                       "witnessed_loss_points": figure(0.0, -1.9, 1.9)},
    }  # fmt: skip


@pytest.fixture(autouse=True)
def own_config(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test sees the user's keys."""
    monkeypatch.setenv("LEANMARK_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))


@pytest.fixture(scope="session")
def build() -> Callable[..., Records]:
    """Records of figures by assessment; see :func:`make_records`."""
    return make_records


@pytest.fixture(scope="session")
def best() -> Callable[[], dict[str, dict[str, Any]]]:
    """Figures of the best case of the notes."""
    return best_case


@pytest.fixture(scope="session")
def est() -> Callable[..., Estimate]:
    """A figure: value, low, high, level."""
    return figure


@pytest.fixture(scope="session")
def words() -> dict[str, Callable[..., Any]]:
    """Builders of the words of others, of headers and of single statements."""
    return {"again": measured_again, "attested": attested, "header": make_header, "statement": make_statement}
