"""Certificates of one model file from several machines: whether they are of one job, and the worst letter."""

from __future__ import annotations

from collections.abc import Sequence

from certify.assessment.claims import Claims
from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.assessments.efficiency.grade import LETTERS


def why_not_one_job(first: Claims, second: Claims) -> list[str]:
    """Return why two certificates of one model file cannot be shown together; empty if they can."""
    if not isinstance(first, EfficiencyClaims) or not isinstance(second, EfficiencyClaims):
        return ["different assessments"]
    # Energies are comparable only with the same baseline, data, batch and constants.
    pairs = {
        "baseline": (first.baseline.content_digest, second.baseline.content_digest),
        "test data": (first.data.test_digest, second.data.test_digest),
        "batch": (first.workload.batch, second.workload.batch),
        "edition": (first.edition, second.edition),
    }
    return [f"different {name}" for name, (mine, theirs) in pairs.items() if mine != theirs]


def worst(claims: Sequence[EfficiencyClaims]) -> EfficiencyClaims | None:
    """Return the claims with the worst letter, and among those the lowest score; None if none has a letter."""
    graded = [claim for claim in claims if claim.grade.letter is not None]
    # `max` by letter, then by negated score: G is the largest index, and a lower score is worse.
    return max(graded, key=_badness, default=None)


def _badness(claims: EfficiencyClaims) -> tuple[int, float]:
    letter, score = claims.grade.letter, claims.grade.score_db
    return (-1 if letter is None else LETTERS.index(letter), 0.0 if score is None else -score)
