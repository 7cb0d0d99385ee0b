"""Guards over what is measured: data-dependent work, and equal preprocessing of both models."""

from __future__ import annotations

from certify.assessments.efficiency.contracts import differences, read_contract
from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.guards.result import Answer, check, comparing, percent, unknown
from certify.core.evidence import Evidence
from certify.core.observations import Contracts


def cost_counted(evidence: Evidence, edition: Edition) -> Answer:
    """No model does more work for one sample than for another; otherwise the cost of other samples is unknown."""
    message, holds = [], True
    for arm in evidence.arms:
        facts = evidence.header.models[arm]
        if facts.varying_share > 0:
            names = ", ".join(facts.varying) or "an operator"
            varying = percent(facts.varying_share)
            message.append(f"{varying} of the {arm}'s work depends on the data or on chance ({names})")
        if facts.counted_share < 1:
            missed = ", ".join(facts.not_counted) or "not named"
            message.append(
                f"{percent(facts.counted_share)} of the {arm}'s multiplying operators were counted (not: {missed}), so "
                "its multiply-adds are not stated"
            )
        holds = holds and facts.varying_share <= edition.thresholds.varying_work
    sentence = "; ".join(message) or "Every multiply-add was counted, and none depends on the data"
    return check(
        holds,
        sentence,
        f"other samples may cost more than the test samples (allowed: {percent(edition.thresholds.varying_work)})",
    )


@comparing
def same_contract(evidence: Evidence, edition: Edition) -> Answer:
    """Samples are preprocessed the same way for both models; a badly fed baseline looks worse than it is."""
    recorded = evidence.observed(Contracts)
    if recorded is None:
        return unknown("The preprocessing contracts were not recorded")
    pair = read_contract(recorded.baseline, "baseline"), read_contract(recorded.candidate, "candidate")
    differing = differences(*pair)
    if not differing:
        return check(True, "Samples are preprocessed the same way for both models", "")
    found = f"The contracts of baseline and candidate differ in {', '.join(differing)}"
    if recorded.declared:
        return check(True, f"{found}, as their maker declared: {recorded.declared.rstrip('.')}", "")
    return check(
        False, found, "the baseline may lose accuracy by its preprocessing (declare the reason with --contracts-differ)"
    )
