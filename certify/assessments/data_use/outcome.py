"""What a data-use statement ends in: a claim, or a refusal with its reasons."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from certify.assessment.profile import Profile
from certify.assessments.data_use.edition import Edition
from certify.assessments.data_use.findings import CHECKS

REFUSED = "refused"
CLAIM = "used as the stated policy permits"


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
    """Judge findings: what fails, and what may not be unknown, is a refusal."""
    reasons, notes = [], []
    for name in CHECKS:
        found = profile.guard(name)
        if found is None:
            reasons.append(f"{name} was not judged.")
        elif found.outcome == "fail" or (found.outcome == "unknown" and name not in edition.may_wait_for_auditor):
            reasons.append(f"{name}: {found.sentence}")
        elif found.outcome == "unknown":
            notes.append(f"{name} is unknown: {found.sentence}")
    return Claim(REFUSED if reasons else CLAIM, tuple(reasons), tuple(notes))
