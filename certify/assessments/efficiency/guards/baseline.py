"""Guard against a padded baseline."""

from __future__ import annotations

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.guards.result import Answer, check, comparing, percent, unknown
from certify.core.evidence import Evidence
from certify.core.run_observations import Simplified

NAMED = 3
"""Number of operators to name."""
BRANCH = "If"
"""Operator that no honest network uses for most of its work; recurrences use Loop and Scan."""


@comparing
def baseline_not_padded(evidence: Evidence, edition: Edition) -> Answer:
    """The baseline needs nearly all of its work for its answers; excess work makes any candidate look cheap."""
    found = evidence.observed(Simplified)
    if found is not None and found.unread is not None:
        return unknown(f"The baseline was not simplified: {found.unread}")
    if found is None or found.given_cost is None or found.cost is None:
        reason = "it was not recorded" if found is None or found.failed is None else found.failed.rstrip(".")
        return check(False, "The baseline was not simplified", f"it may be padded: {reason}")
    work, size, needless = found.removed_share, found.removed_bytes_share, found.needless_share
    message = ", ".join(map(str, found.removed or ["unused parts"]))
    sentence = "Nothing could be removed from the baseline without changing its answers"
    if found.removed is not None:
        sentence = (
            f"The baseline gives the same answers with {percent(work)} less work and {percent(size)} fewer bytes, and "
            f"was measured in that form (removed: {message})"
        )
    if needless > 0:
        names = _names(found.needless)
        sentence += f"; rewritten, it could do without {percent(needless)} of its work, most of that in {names}"
    limit = edition.thresholds.baseline_padding
    if max(work + needless, size) <= limit < found.unseen_share:
        types = _names(found.unseen)
        sentence += f"; padding cannot be found in {types}, which may be {percent(found.unseen_share)} of its work"
        chosen = BRANCH in (found.unseen or [])
        return check(False, sentence, "the samples choose what is computed there") if chosen else unknown(sentence)
    return check(
        max(work + needless, size) <= limit,
        sentence,
        f"it was padded, which flatters every candidate (allowed: {percent(limit)})",
    )


def _names(needless: list[object] | None) -> str:
    """Name the operators with the most needless work."""
    return ", ".join(map(str, (needless or [])[:NAMED])) or "operators that were not named"
