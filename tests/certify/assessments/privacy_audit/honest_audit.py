"""Records of an honest audit, and functions that change one thing in them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from certify.assessments.privacy_audit.coins import coins_of, commitment_of, pack_bits
from certify.assessments.privacy_audit.findings import terms_of
from certify.assessments.privacy_audit.records import (
    KINDS,
    Canaries,
    Extraction,
    Header,
    Membership,
    ModelDigests,
    Opened,
    Record,
    Records,
    ScoresOf,
    Step,
)
from certify.core.estimate import Estimate, EvidenceLevel
from certify.core.private_data import DataKey

KEY = DataKey(bytes(range(32)))
DIGESTS = {"sha256": "ab" * 32, "leanmarkContent": "cd" * 32}
RECIPE = "5e" * 32
SEED = "0f" * 32
N, SHADOWS, CANARIES, GUESSES = 400, 8, 400, 80
LEAK = 1.5
"""Increase of a sample's score by training on it."""


def half(count: int, random: np.random.Generator) -> np.ndarray:
    """A random half of a number of samples, as bits."""
    chosen = np.zeros(count, dtype=bool)
    chosen[random.permutation(count)[: count // 2]] = True
    return chosen


def membership_rows(leak: Mapping[str, float] | None = None) -> list[Record]:
    """A model and eight shadows; each sample is in exactly four, and samples differ in hardness."""
    random = np.random.default_rng(7)
    leaks = leak or {"baseline": LEAK, "candidate": LEAK / 2}
    hardness = random.normal(0, 2, N)
    inside = np.zeros((SHADOWS, N), dtype=bool)
    for i in range(N):
        inside[random.permutation(SHADOWS)[: SHADOWS // 2], i] = True
    rows: list[Record] = [Membership(N, "aa" * 32)]
    for of, bits in (("target", half(N, random)), *((str(k), inside[k]) for k in range(SHADOWS))):
        for arm, more in leaks.items():
            values = hardness + more * bits + random.normal(0, 1, N)
            rounded = tuple(np.round(values, 4).tolist())
            rows.append(ScoresOf(of, arm, RECIPE, pack_bits(bits), rounded))  # type: ignore[arg-type]
    return rows


def canary_rows(leak: float = 0.1, **fixed: Any) -> list[Record]:
    """Canaries of a twin; ``leak`` is the increase of the scores of included ones, in standard deviations."""
    stated = Canaries(CANARIES, GUESSES, "00" * 32, "2026-01-02T03:05:00Z", "cc" * 32, 8.0, 1e-5, "add-remove")
    stated = replace(stated, **fixed)
    committed = replace(stated, commitment=commitment_of(SEED, terms_of(stated)))
    scores = np.random.default_rng(3).normal(0, 1, stated.canaries) + leak * coins_of(SEED, stated.canaries)
    opened = Opened(SEED, "2026-01-02T04:00:00Z", RECIPE, tuple(np.round(scores, 4).tolist()))
    return [committed, opened]


def extraction_rows() -> list[Record]:
    """Copies of a thief that agree hardly more than a control."""
    return [
        Extraction(160, 16, 14, 10, queries=100, access="labels", control="100 true labels"),
        Extraction(165, 20, 9, 6, queries=100, access="probabilities", control="100 true labels"),
    ]


def steps(metered: bool = True) -> list[Record]:
    """Costs of the audit."""
    energy = Estimate(50.0, 40.0, 60.0, "J", 1, "a model of the processor", EvidenceLevel.MODELLED).to_json()
    touched = {"train": ("raw",)}
    return [Step(f"shadow {k}", 4.0, 5.0, energy if metered else None, touched) for k in range(SHADOWS)]


def records(rows: list[Record], **header: Any) -> Records:
    """Records in order, with a header that names their parts."""
    stated: dict[str, Any] = {
        "created": "2026-01-02T03:04:05Z",
        "leanmark": "0.1.0",
        "model": ModelDigests(**DIGESTS),
        "baseline": ModelDigests("ba" * 32, "bb" * 32),
        "data": "photos",
        "private": False,
        "recipe": RECIPE,
        "baseline_trained": True,
        "parts": tuple(
            name
            for name, kind in (("membership", Membership), ("canaries", Canaries), ("extraction", Extraction))
            if any(type(row) is kind for row in rows)
        ),
        "lineage": "ef" * 32,
    }
    order = list(KINDS.values())
    return Records(Header(**{**stated, **header}), tuple(sorted(rows, key=lambda row: order.index(type(row)))))


def honest(**header: Any) -> Records:
    """Records of every part of an audit."""
    return records([*steps(), *membership_rows(), *canary_rows(), *extraction_rows()], **header)


def changed(made: Records, kind: type[Any], change: Callable[[Any], Any]) -> Records:
    """The same records with each of one kind changed, or left out if the change returns None."""
    rows = (change(row) if type(row) is kind else row for row in made.rows)
    return replace(made, rows=tuple(row for row in rows if row is not None))


def head(made: Records, **fields: Any) -> Records:
    """The same records with changed fields of the header."""
    return replace(made, header=replace(made.header, **fields))
