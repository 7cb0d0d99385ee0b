"""Outcome of a data-use statement: a claim, or a refusal with its reasons."""

from __future__ import annotations

from certify.assessment.outcome import ClaimOutcome
from certify.assessment.profile import Profile
from certify.assessments.data_use.edition import Edition
from certify.assessments.data_use.findings import CHECKS

REFUSED = "refused"
CLAIM = "used as the stated policy permits"


def judge_claim(profile: Profile, edition: Edition) -> ClaimOutcome:
    """Return the outcome of the findings: a refusal if one fails, or is unknown and must not be."""
    reasons, notes = [], []
    for name in CHECKS:
        found = profile.guard(name)
        if found is None:
            reasons.append(f"{name} was not evaluated.")
        elif found.outcome == "fail" or (found.outcome == "unknown" and name not in edition.may_wait_for_auditor):
            reasons.append(f"{name}: {found.sentence}")
        elif found.outcome == "unknown":
            notes.append(f"{name} is unknown: {found.sentence}")
    return ClaimOutcome(REFUSED if reasons else CLAIM, tuple(reasons), tuple(notes))
