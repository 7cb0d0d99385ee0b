"""Guards over what is measured at all: work that the data decide, and samples that are preprocessed in two ways."""

from __future__ import annotations

from certify.assessments.efficiency.contracts import differences, read_contract
from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.guards.result import Answer, check, comparing, percent, unknown
from certify.core.evidence import Evidence
from certify.core.observations import Contracts


def cost_counted(evidence: Evidence, edition: Edition) -> Answer:
    """No model does more for one sample than for another; what the test samples cost says nothing of others then."""
    told, holds = [], True
    for arm in evidence.arms:
        facts = evidence.header.models[arm]
        if facts.varying_share > 0:
            names = ", ".join(facts.varying) or "an operator"
            told.append(f"{percent(facts.varying_share)} of the {arm}'s work depends on the data ({names})")
        if facts.counted_share < 1:
            missed = ", ".join(facts.not_counted) or "not named"
            told.append(
                f"{percent(facts.counted_share)} of the {arm}'s multiplying operators were counted (not: {missed}), so "
                "its multiply-adds are not stated"
            )
        holds = holds and facts.varying_share <= edition.thresholds.varying_work
    sentence = "; ".join(told) or "Every multiply-add was counted, and the data decide none of them"
    return check(
        holds,
        sentence,
        f"what the test samples cost is not what others cost (allowed: {percent(edition.thresholds.varying_work)})",
    )


@comparing
def same_contract(evidence: Evidence, edition: Edition) -> Answer:
    """Samples are preprocessed in the same way for both models; a baseline that is fed badly looks worse than it is."""
    recorded = evidence.observed(Contracts)
    if recorded is None:
        return unknown("The preprocessing contracts were not recorded")
    pair = read_contract(recorded.baseline, "baseline"), read_contract(recorded.candidate, "candidate")
    differing = differences(*pair)
    if not differing:
        return check(True, "Samples are preprocessed in the same way for both models", "")
    found = f"The contracts of baseline and candidate differ in {', '.join(differing)}"
    if recorded.declared:
        return check(True, f"{found}, as their maker declared: {recorded.declared.rstrip('.')}", "")
    return check(False, found, "the baseline may be fed in a way that costs it accuracy (--contracts-differ says why)")
