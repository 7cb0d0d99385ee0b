"""Certificates of one model file from several machines: whether they are of one job, and which letter is the worst."""

from __future__ import annotations

from collections.abc import Sequence

from certify.assessment.claims import Claims
from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.assessments.efficiency.grade import LETTERS


def why_not_one_job(one: Claims, other: Claims) -> list[str]:
    """Reasons why two certificates of one model file do not stand beside each other; empty where they do."""
    if not isinstance(one, EfficiencyClaims) or not isinstance(other, EfficiencyClaims):
        return ["another assessment"]
    pairs = {
        "baseline": (one.baseline.content_digest, other.baseline.content_digest),
        "test data": (one.data.test_digest, other.data.test_digest),
        "batch": (one.workload.batch, other.workload.batch),
        "edition": (one.edition, other.edition),
    }
    return [f"another {name}" for name, (mine, theirs) in pairs.items() if mine != theirs]


def worst(claims: Sequence[EfficiencyClaims]) -> EfficiencyClaims | None:
    """The one with the worst letter, and of several the lowest score; None where none has a letter."""
    graded = [one for one in claims if one.grade.letter is not None]
    return max(graded, key=_badness, default=None)


def _badness(claims: EfficiencyClaims) -> tuple[int, float]:
    letter, score = claims.grade.letter, claims.grade.score_db
    return (-1 if letter is None else LETTERS.index(letter), 0.0 if score is None else -score)
