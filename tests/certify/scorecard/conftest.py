"""Builders of scorecard records, of figures that somebody names."""

from __future__ import annotations

import datetime
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from certify.assessment.record_file import ModelDigests
from certify.attest.audit import audit
from certify.attest.countersignature import countersign
from certify.attest.envelope import parse_envelope
from certify.attest.keys import SigningKey, generate
from certify.attest.signed import sign_statement
from certify.attest.trust import TrustStore
from certify.core.estimate import Estimate, EvidenceLevel
from certify.scorecard import edition as editions
from certify.scorecard.edition import load_edition
from certify.scorecard.mark import Scheme
from certify.scorecard.records import Attested, Counted, Countersigned, Header, Record, Records
from certify.workflows.award import award_level
from certify.workflows.mark_trust import marks_of
from certify.workflows.scoring import score_model, sign_score

MODEL = ModelDigests("a" * 64, "b" * 64)
MAKER, LAB = "1" * 64, "2" * 64
EDITION = load_edition("secure-2026")
NOW = datetime.datetime(2026, 11, 26, 12, tzinfo=datetime.timezone.utc)


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


SCHEME = Scheme("Example scheme", "Example Foundation", "https://example.org/terms", "Example Ltd", "ISO/IEC 17065",
                "complaints@example.org")  # fmt: skip


@pytest.fixture
def easy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An edition whose levels the small model of the tests reaches: silver asks for somebody else's word."""
    real = editions.read_edition

    def read(package: str, name: str, constants: Any) -> Any:
        found, digest = real(package, name, constants)
        if package == editions.PACKAGE:
            levels = {
                level: replace(one, total=5.0 + number, floors={}, metered="", all_pillars=False,
                               signer=("self-attested", "cross-checked", "reproduced", "reproduced")[number])
                for number, (level, one) in enumerate(found.levels.items())
            }  # fmt: skip
            found = replace(found, levels=levels, prerequisites={})
        return found, digest

    monkeypatch.setattr(editions, "read_edition", read)
    load_edition.cache_clear()
    yield
    load_edition.cache_clear()


class World:
    """A model with a signed count, and the keys of everybody."""

    def __init__(self, graded: Any, folder: Path) -> None:
        shutil.copytree(graded.path.parent, folder / "graded")
        self.model = folder / "graded" / "model.onnx"
        for label in self.model.parent.glob("label.*"):
            label.unlink()  # nothing here is about labels, and drawing takes a second
        self.maker: SigningKey = graded.key
        self.keys = folder / "keys"
        self.lab, self.scheme = (generate(self.keys / f"{name}.key") for name in ("lab", "scheme"))

    def count(self, *, countersigned: bool = True) -> None:
        if countersigned:
            countersign(audit(self.model, trust=[self.maker.public]), self.lab)
        sign_score(score_model(self.model, trust=[self.lab.public], now=NOW), self.maker)

    def award(self, level: str = "silver", key: SigningKey | None = None, **options: Any) -> Path:
        trust = [self.maker.public, self.lab.public]
        return award_level(self.model, level, SCHEME, key or self.scheme, trust=trust, now=NOW, **options)

    def believes(self, key: SigningKey | None = None) -> None:
        """The reader names a scheme's key."""
        TrustStore().with_scheme("known", (key or self.scheme).public).save()

    def rule(self, **options: Any) -> str | None:
        (found,) = marks_of(self.model, now=options.pop("now", NOW), **options)
        assert (found.level is None) == (found.rule is not None)
        return found.rule

    def forged(self, key: SigningKey, level: str = "platinum", **other: Any) -> Path:
        """A mark file that anybody writes with a key of their own."""
        statement = json.loads(parse_envelope(self.scorecard.read_bytes()).payload)
        digest = hashlib.sha256(self.scorecard.read_bytes()).hexdigest()
        about = [statement["subject"][0], {"name": "scorecard.json", "digest": {"sha256": digest}}]
        predicate = {
            "scheme": SCHEME.to_json(), "level": level, "edition": statement["predicate"]["edition"],
            "until": "2028-01-01T00:00:00Z", "checked": "cross-checked", "verifier": self.lab.public.key_id,
            "fresh_data": None, **other,
        }  # fmt: skip
        path = self.model.parent / "marks" / f"{key.public.key_id}.json"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(sign_statement("mark-1", about, predicate, key).content)
        return path

    @property
    def scorecard(self) -> Path:
        return self.model.parent / "statements" / "scorecard.json"


@pytest.fixture
def world(graded: Any, tmp_path: Path, easy: None) -> World:
    """A model that is counted under an edition with easy levels."""
    return World(graded, tmp_path)


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
