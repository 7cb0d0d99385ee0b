"""Outcome of a privacy audit: its main figures, or a refusal if a check of the records or the claim fails."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from certify.assessment.outcome import ClaimOutcome
from certify.assessment.profile import Profile
from certify.assessments.privacy_audit.edition import Edition
from certify.assessments.privacy_audit.figures import CLAIMED, SHOWABLE, SHOWN, WAITING
from certify.assessments.privacy_audit.findings import CHECKS
from certify.core.finding import Finding

REFUSED = "refused"
CONTRADICTED = "claim_not_contradicted"
"""Check that a claim fails; an audit that fails no other one is valid."""
NOT_ASSESSED = ("Inversion is not assessed: there is no accepted measure of it.",)


def judge_audit(profile: Profile, edition: Edition) -> ClaimOutcome:
    """Judge findings: a failed one is a refusal, and so is an unknown one that the edition does not excuse.

    A high area is a property of the model and not a refusal; a gate can limit it with ``--require
    'privacy_audit.membership_auc_pair<=0.6'``.
    """
    waits = WAITING in profile.estimates
    allowed = {*edition.may_be_unknown, *(edition.may_wait_for_auditor if waits else ())}
    reasons, notes = [], list(NOT_ASSESSED)
    for name in CHECKS:
        found = profile.guard(name)
        if found is None:
            reasons.append(f"{name} was not judged.")
        elif found.outcome == "fail" or (found.outcome == "unknown" and name not in allowed):
            reasons.append(f"{name}{' is unknown' if found.outcome == 'unknown' else ''}: {found.sentence}")
        elif found.outcome == "unknown":
            notes.append(f"{name} is unknown: {found.sentence}")
    text = "; ".join(_parts(profile)) or "audited; the findings are in the auditor file"
    return ClaimOutcome(REFUSED if reasons else text, tuple(reasons), tuple(notes))


def is_valid(findings: Iterable[Finding]) -> bool:
    """Return whether the records of an audit hold, so that its canaries may refute a claim.

    Example:
        >>> is_valid([Finding("claim_not_contradicted", "fail", "This contradicts the claim of 1.")])
        True
        >>> is_valid([Finding("coins_committed", "fail", "The coins are not those committed to.")])
        False
    """
    # An audit that refutes its claim is refused but still valid, because refuting claims is its purpose.
    return all(finding.outcome != "fail" or finding.name == CONTRADICTED for finding in findings)


def _parts(profile: Profile) -> Iterator[str]:
    found = profile.estimates
    areas = {name: found.get(f"membership_auc_{name}") for name in ("baseline", "candidate", "pair")}
    words = {"baseline": "before", "candidate": "after", "pair": "by both files"}
    parts = [f"{area.value:.2f} {words[name]}" for name, area in areas.items() if area is not None]
    if parts:
        yield f"members distinguished with an area of {', '.join(parts)}"
    if SHOWN in found:
        bound, most = found[SHOWN].value, found[SHOWABLE].value
        claimed = found.get(CLAIMED)
        against = "" if claimed is None else f", which does not contradict {claimed.value:g}"
        yield f"canaries show epsilon of at least {bound:.2g} (of {most:.2g} at most){against}"
    excess = [name for name in found if name.startswith("extraction_") and name.endswith("_excess_points")]
    if excess:
        # Only the worst number of queries is named.
        worst = max(excess, key=lambda name: found[name].value)
        yield f"{worst.split('_')[1]} queries copy {found[worst].value:+.1f} points more than none"
