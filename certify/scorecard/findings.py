"""Findings about several statements: whether they belong together, and whether they contradict each other.

Each is a pure function of a scorecard's records. A contradiction can only cost points or a prerequisite, and omitting
the statement that contradicts another costs at least what that statement earned.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Literal

from certify.core.accounting import refutation, refutes_claim
from certify.core.finding import Finding
from certify.scorecard.edition import ScorecardEdition
from certify.scorecard.records import Attested, Counted, Records

READ: Mapping[str, frozenset[str]] = {
    "declarations": frozenset({"bias_evaluation_claimed", "contradictions", "people_none"}),
    "privacy": frozenset({"delta", "epsilon_stated"}),
    "privacy_audit": frozenset({"canary_delta", "canary_epsilon_shown"}),
    "social": frozenset({"cells"}),
}
"""Figures that findings read in addition to those of the edition's rules, by assessment."""

Answer = tuple[Literal["pass", "fail", "unknown"], str]
INTEGRITY = ("edition_counted", "others_are_others", "one_lineage")
"""Findings that must pass for a score."""


def judge(records: Records, edition: ScorecardEdition) -> tuple[Finding, ...]:
    """Run every check over a set of statements.

    Example:
        >>> list(CHECKS)[:3]
        ['edition_counted', 'others_are_others', 'one_lineage']
    """
    return tuple(Finding(name, *check(records, edition)) for name, check in CHECKS.items())


def contradictions(records: Records) -> Mapping[str, str]:
    """Return the prerequisites that a contradiction leaves unmet, with the reason in one sentence."""
    return dict(_contradictions(records))


def _contradictions(records: Records) -> Iterator[tuple[str, str]]:
    declared = records.statement("declarations")
    groups = _has(records.statement("social"), "cells")
    # Both concern P3, which can be unmet only once.
    if _has(declared, "contradictions"):
        yield "P3", "The cross-checks of the declarations contradict the maker's answers."
    elif _has(declared, "people_none") and groups:
        yield "P3", "The declarations say that nobody is depicted or judged, but groups of people were measured."
    if _has(declared, "bias_evaluation_claimed") and not groups:
        yield "P6", "The pledge's clause on bias evaluation is answered with yes, but no group figures are stated."


def refuted(records: Records) -> Mapping[str, str]:
    """Return the assessments whose claim another statement refutes, with the reason; their figures earn nothing."""
    privacy, audit = records.statement("privacy"), records.statement("privacy_audit")
    if privacy is None or privacy.refused or audit is None:
        return {}
    stated, found = privacy.estimates(), audit.estimates()  # an audit that finds a contradiction is itself a refusal
    claim = [stated.get("epsilon_stated"), stated.get("delta")]
    bound = [found.get("canary_epsilon_shown"), found.get("canary_delta")]
    values = [estimate.value for estimate in (*bound, *claim) if estimate is not None]
    # All four figures are needed, because a bound without its delta cannot be compared with the claim.
    if len(values) < 4 or not refutes_claim(*values):
        return {}
    return {"privacy": refutation(values[0], values[2])}


def _has(statement: Counted | None, figure: str) -> bool:
    """Return whether a statement that is not a refusal has a figure of at least 1."""
    # The low end is read, because a figure that may be 0 contradicts nothing.
    found = None if statement is None or statement.refused else statement.estimates().get(figure)
    return found is not None and found.low >= 1


def _edition_counted(records: Records, edition: ScorecardEdition) -> Answer:
    header = records.header
    # The digest is compared too, because an edition of the same name with other constants gives other points.
    if (header.edition, header.edition_digest) != (edition.name, edition.digest):
        return "fail", f"The statements were counted for edition {header.edition}, not for {edition.name}. Count again."
    unknown = sorted(set(header.scoped_out) - set(edition.pillars))
    if unknown:
        return "fail", f"The pillar {unknown[0]} is unknown, so it cannot be scoped out."
    return "pass", f"The statements were counted for edition {edition.name}."


def _others_are_others(records: Records, edition: ScorecardEdition) -> Answer:
    # A maker can create a second key; points for third parties need a key that signed no counted statement.
    makers = {statement.key for statement in records.of(Counted)}
    if any(word.key in makers for word in records.words):
        return "fail", "A key that signed a statement is counted as a third party's."
    credits = {statement.credit for statement in records.of(Attested)} - set(edition.credits)
    if credits:
        return "fail", f"Unknown credit {sorted(credits)[0]} cannot be attested."
    return (
        "pass",
        f"{len({word.key for word in records.words})} third parties' keys are counted, and none is a maker's.",
    )


def _one_lineage(records: Records, edition: ScorecardEdition) -> Answer:
    stated = {statement.assessment: statement.lineage for statement in records.of(Counted) if statement.lineage}
    if len(set(stated.values())) > 1:
        return "fail", f"The statements of {' and '.join(stated)} are about different lineages."
    if not stated:
        return "unknown", "No statement names a lineage."
    return "pass", f"{len(stated)} statements name one lineage."


def of_another_baseline(records: Records) -> frozenset[str]:
    """Return the assessments with another baseline than the efficiency certificate's; they earn nothing.

    Otherwise a maker could choose, for each assessment, the baseline that makes the model look best.
    """
    energy = records.statement("efficiency")
    if energy is None or not energy.baseline:
        return frozenset()
    others = [statement for statement in records.of(Counted) if statement.baseline and statement is not energy]
    # One common digest is enough, because a statement may name several digests of the same baseline.
    return frozenset(statement.assessment for statement in others if not set(statement.baseline) & set(energy.baseline))


def _one_baseline(records: Records, edition: ScorecardEdition) -> Answer:
    energy = records.statement("efficiency")
    others = [statement for statement in records.of(Counted) if statement.baseline and statement is not energy]
    if energy is None or not energy.baseline or not others:
        return "unknown", "Only one statement compares the model with a baseline."
    if apart := sorted(of_another_baseline(records)):
        return (
            "fail",
            f"{' and '.join(apart)} compare the model with a file other than the baseline of the energy figures.",
        )
    return "pass", f"{len(others) + 1} statements compare the model with one baseline."


def _one_test_set(records: Records, edition: ScorecardEdition) -> Answer:
    stated = {statement.assessment: statement.test_data for statement in records.of(Counted) if statement.test_data}
    if len(stated) < 2:
        return "unknown", "Only one statement names test data."
    if len(set(stated.values())) > 1:
        return "fail", f"The statements of {' and '.join(stated)} rest on different test data."
    return "pass", f"{len(stated)} statements rest on one test set."


def _no_contradiction(records: Records, edition: ScorecardEdition) -> Answer:
    found = (*contradictions(records).values(), *refuted(records).values())
    if found:
        return "fail", " ".join(found)
    return "pass", "No statement contradicts another."


CHECKS: Mapping[str, Callable[[Records, ScorecardEdition], Answer]] = {
    "edition_counted": _edition_counted,
    "others_are_others": _others_are_others,
    "one_lineage": _one_lineage,
    "one_baseline": _one_baseline,
    "one_test_set": _one_test_set,
    "no_contradiction": _no_contradiction,
}
"""Checks by name, in order."""
