"""Outcome of a privacy statement: a claim, or a refusal with its reasons."""

from __future__ import annotations

import math

from certify.assessment.outcome import ClaimOutcome
from certify.assessment.profile import Profile
from certify.assessments.privacy.edition import Edition
from certify.assessments.privacy.figures import DELTA, EPSILON, STATED, WAITING
from certify.assessments.privacy.findings import CHECKS

REFUSED = "refused"
DIGITS = 3


def at_most(value: float) -> str:
    """Format a bound with three digits, rounded up.

    Example:
        >>> at_most(7.99963), at_most(7.0701), at_most(0.30001)
        ('8', '7.08', '0.301')
    """
    step = 10.0 ** (math.floor(math.log10(value)) - DIGITS + 1)
    # The factor keeps a value of exactly three digits from being rounded up by an error in its last bit.
    return f"{math.ceil(value / step * (1 - 1e-9)) * step:.{DIGITS}g}"


def judge_claim(profile: Profile, edition: Edition) -> ClaimOutcome:
    """Return the outcome of figures and findings: a refusal if one fails, or is unknown and must not be."""
    waits = WAITING in profile.estimates
    # Some checks may wait for the auditor, but only if there is an auditor file.
    allowed = {*edition.may_be_unknown, *(edition.may_wait_for_auditor if waits else ())}
    reasons, notes = [], []
    for name in CHECKS:
        found = profile.guard(name)
        if found is None:
            reasons.append(f"{name} was not evaluated.")
        elif found.outcome == "fail" or (found.outcome == "unknown" and name not in allowed):
            reasons.append(f"{name}{' is unknown' if found.outcome == 'unknown' else ''}: {found.sentence}")
        elif found.outcome == "unknown":
            notes.append(f"{name} is unknown: {found.sentence}")
    stated, delta = profile.estimates[STATED].value, profile.estimates[DELTA].value
    strength = "weak, " if stated > edition.weak_epsilon else ""
    if strength:
        notes.insert(0, f"An epsilon above {edition.weak_epsilon:g} is weak: it guarantees hardly anything.")
    derived = "" if EPSILON in profile.estimates else ", as stated by the maker"
    text = f"{strength}epsilon at most {at_most(stated)} at delta {delta:g}{derived}"
    return ClaimOutcome(REFUSED if reasons else text, tuple(reasons), tuple(notes))
