"""Certificates of one model file from several machines: whether they are of one job, and the worst letter."""

from __future__ import annotations

from collections.abc import Sequence

from certify.assessment.claims import Claims
from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.assessments.efficiency.grade import LETTERS


def why_not_one_job(one: Claims, other: Claims) -> list[str]:
    """Return why two certificates of one model file cannot be shown together; empty if they can."""
    if not isinstance(one, EfficiencyClaims) or not isinstance(other, EfficiencyClaims):
        return ["different assessments"]
    pairs = {
        "baseline": (one.baseline.content_digest, other.baseline.content_digest),
        "test data": (one.data.test_digest, other.data.test_digest),
        "batch": (one.workload.batch, other.workload.batch),
        "edition": (one.edition, other.edition),
    }
    return [f"different {name}" for name, (mine, theirs) in pairs.items() if mine != theirs]


def worst(claims: Sequence[EfficiencyClaims]) -> EfficiencyClaims | None:
    """Return the claims with the worst letter, and among those the lowest score; None if none has a letter."""
    graded = [one for one in claims if one.grade.letter is not None]
    return max(graded, key=_badness, default=None)


def _badness(claims: EfficiencyClaims) -> tuple[int, float]:
    letter, score = claims.grade.letter, claims.grade.score_db
    return (-1 if letter is None else LETTERS.index(letter), 0.0 if score is None else -score)
