"""What a privacy statement ends in: a claim, or a refusal with its reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from certify.assessment.profile import Profile
from certify.assessments.privacy.edition import Edition
from certify.assessments.privacy.figures import DELTA, EPSILON, STATED, WAITING
from certify.assessments.privacy.findings import CHECKS

REFUSED = "refused"


@dataclass(frozen=True)
class Claim:
    """A claim, or a refusal.

    Attributes:
        text: as it is printed.
        reasons: for a refusal, one sentence each.
        notes: what a reader should know, one sentence each.
    """

    text: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def refused(self) -> bool:
        """Whether there is no claim."""
        return bool(self.reasons)

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {"text": self.text, "reasons": list(self.reasons), "notes": list(self.notes)}


def judge_claim(profile: Profile, edition: Edition) -> Claim:
    """Judge figures and findings: anything that fails is a refusal, and so is what may not be unknown."""
    waits = WAITING in profile.estimates
    allowed = {*edition.may_be_unknown, *(edition.may_wait_for_auditor if waits else ())}
    reasons, notes = [], []
    for name in CHECKS:
        found = profile.guard(name)
        if found is None:
            reasons.append(f"{name} was not judged.")
        elif found.outcome == "fail" or (found.outcome == "unknown" and name not in allowed):
            reasons.append(f"{name}{' is unknown' if found.outcome == 'unknown' else ''}: {found.sentence}")
        elif found.outcome == "unknown":
            notes.append(f"{name} is unknown: {found.sentence}")
    stated, delta = profile.estimates[STATED].value, profile.estimates[DELTA].value
    strength = "weak, " if stated > edition.weak_epsilon else ""
    if strength:
        notes.insert(0, f"An epsilon above {edition.weak_epsilon:g} is weak: it bounds hardly anything.")
    derived = "" if EPSILON in profile.estimates else ", as stated"
    text = f"{strength}epsilon at most {stated:g} at delta {delta:g}{derived}"
    return Claim(REFUSED if reasons else text, tuple(reasons), tuple(notes))
