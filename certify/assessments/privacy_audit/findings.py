"""Named checks of the records of a privacy audit."""

from __future__ import annotations

from collections.abc import Callable

from certify.assessments.privacy_audit.attacks import attacks_of, members_of, shadow_counts
from certify.assessments.privacy_audit.coins import commitment_of
from certify.assessments.privacy_audit.edition import Edition
from certify.assessments.privacy_audit.figures import enough_others, right_guesses
from certify.assessments.privacy_audit.records import (
    Canaries,
    EarlierAudit,
    Extraction,
    Membership,
    Opened,
    Records,
    ScoresOf,
    Step,
)
from certify.core.accounting import epsilon_showable, epsilon_shown
from certify.core.errors import CertificateError
from certify.core.finding import Finding, FindingOutcome

Answer = tuple[FindingOutcome, str]
Check = Callable[[Records, Edition], Answer]
NO_MEMBERSHIP = "Membership was not attacked."
NO_CANARIES = "No canaries were trained on."
WITHHELD: Answer = ("unknown", "The data are private, so it is only in the auditor file.")


def parts_reported(records: Records, edition: Edition) -> Answer:
    """Check that every part in the header has its records, so that a bad result cannot be left out silently."""
    done, header = set(records.header.parts), records.header
    if not done:
        return "fail", "Nothing was audited: neither membership nor canaries nor extraction."
    kinds: dict[str, type] = {"membership": Membership, "canaries": Opened, "extraction": Extraction}
    # Withheld records are only in the auditor file; the commitment to the canaries is always public.
    if records.withheld:
        kinds = {"canaries": Canaries}
    mismatches = [name for name, kind in kinds.items() if (name in done) != bool(records.of(kind))]
    if mismatches:
        # Either a part has no records, or records belong to no part.
        return "fail", f"The header and the records differ about {', '.join(mismatches)}."
    return "pass", f"Audited: {', '.join(header.parts)}."


def figures_withheld(records: Records, edition: Edition) -> Answer:
    """Check that findings about private data are not public."""
    header = records.header
    if not header.private:
        return "pass", "The data are not private."
    if header.auditor is None:
        return "fail", "Findings about private data are public, and epsilon does not cover them; withhold them."
    return "pass", "Findings about private data are only in the auditor file."


def samples_complete(records: Records, edition: Edition) -> Answer:
    """Check that every model has a score for every member and non-member."""
    if "membership" not in records.header.parts:
        return "pass", NO_MEMBERSHIP
    if records.withheld:
        return WITHHELD
    try:
        members, others = members_of(records)
    except CertificateError as error:
        return "fail", str(error)
    if not members or not others:
        return "fail", f"There are {members} members and {others} others; an attack needs both."
    return "pass", f"{members} members and {others} others, each with all scores."


def shadows_enough(records: Records, edition: Edition) -> Answer:
    """Check that each sample is in enough shadows, and out of enough."""
    if "membership" not in records.header.parts:
        return "pass", NO_MEMBERSHIP
    if records.withheld:
        return WITHHELD
    count, seen, left = shadow_counts(records)
    summary = f"Of {count} shadows, each sample is in at least {seen} and out of at least {left}"
    if min(seen, left) < edition.fewest_shadows:
        return "fail", f"{summary}, and {edition.fewest_shadows} are needed."
    return "pass", f"{summary}."


def same_recipe(records: Records, edition: Edition) -> Answer:
    """Check that shadows and twins went through the model's passes; other passes could flatter the model."""
    rows = [*records.of(ScoresOf), *records.of(Opened)]
    if records.withheld:
        return WITHHELD
    other = sorted({getattr(row, "of", "the twin") for row in rows if row.recipe != records.header.recipe})
    if other:
        return "fail", f"Another recipe than the model's was applied to {', '.join(other[:5])}."
    return "pass", "Shadows and twins were made by the model's recipe."


def baseline_attacked(records: Records, edition: Edition) -> Answer:
    """Check that an original published with the model was attacked too: the strongest known attack uses both files."""
    header = records.header
    if "membership" not in header.parts or header.baseline is None:
        return "pass", "No attack on members, or no original next to the model."
    if records.withheld:
        return WITHHELD
    # A downloaded original cannot be trained again, so it has no shadows.
    if not header.baseline_trained:
        return "unknown", "The original was not trained here, so it has no shadows; only its loss was used."
    missing = {"baseline", "pair"} - set(attacks_of(records))
    if missing:
        return "fail", f"The original is next to the model, but these were not attacked: {', '.join(sorted(missing))}."
    return "pass", "The original was attacked too, and both files together."


def non_members_enough(records: Records, edition: Edition) -> Answer:
    """Check that there are enough non-members to resolve each false-alarm rate."""
    if "membership" not in records.header.parts:
        return "pass", NO_MEMBERSHIP
    if records.withheld:
        return WITHHELD
    others = members_of(records)[1]
    few = [rate for rate in edition.false_alarm_rates if not enough_others(others, rate, edition)]
    if few:
        rates = " and ".join(f"{100 * rate:g}" for rate in few)
        needed = round(edition.fewest_alarms / min(few))
        return "unknown", f"False alarms of {rates} % need at least {needed} non-members, got {others}."
    return "pass", f"{others} non-members are enough for every stated rate of false alarms."


def coins_committed(records: Records, edition: Edition) -> Answer:
    """Check that coins, canaries, guesses and claim are those committed to before the training."""
    fixed: Canaries | None = records.first(Canaries)
    if "canaries" not in records.header.parts:
        return "pass", NO_CANARIES
    if fixed is None:
        return "fail", "Canaries were trained on, but neither their number nor how they are judged was fixed."
    opened: Opened | None = records.first(Opened)
    if opened is None:
        return WITHHELD
    # Any change of the terms after the training changes the commitment.
    if commitment_of(opened.seed, terms_of(fixed)) != fixed.commitment:
        return "fail", "The coins, the canaries, the number of guesses or the claim are not those committed to."
    # All times have one format, so they compare as strings.
    if opened.trained < fixed.committed:
        return "fail", f"The twin was trained at {opened.trained}, before the commitment at {fixed.committed}."
    return "pass", f"Coins and {fixed.guesses} guesses were committed to at {fixed.committed}, before the training."


def terms_of(fixed: Canaries) -> dict[str, object]:
    """Return the terms that a commitment binds besides the coins."""
    names = ("canaries", "guesses", "samples", "claimed_epsilon", "delta", "adjacency")
    return {name: getattr(fixed, name) for name in names}


def claim_not_contradicted(records: Records, edition: Edition) -> Answer:
    """Check that the canaries' bound is not above the claim; a bound below it proves nothing."""
    fixed: Canaries | None = records.first(Canaries)
    opened: Opened | None = records.first(Opened)
    if "canaries" not in records.header.parts:
        return "pass", NO_CANARIES
    if fixed is None or opened is None:
        return WITHHELD
    right = right_guesses(fixed, opened)
    bound = epsilon_shown(fixed.canaries, fixed.guesses, right, fixed.delta, edition.confidence)
    most = epsilon_showable(fixed.canaries, fixed.canaries, fixed.delta, edition.confidence)
    summary = f"{right} of {fixed.guesses} guesses were right, which shows epsilon of at least {bound:.3g}"
    if fixed.claimed_epsilon is None:
        return "pass", f"{summary}; no epsilon is claimed."
    # A tolerance is needed, because the bound is the root of an equation found numerically.
    if bound > fixed.claimed_epsilon * (1 + edition.claim_tolerance):
        return "fail", f"{summary}: this contradicts the claim of {fixed.claimed_epsilon:g}."
    return "pass", (
        f"Could not contradict epsilon {fixed.claimed_epsilon:g}: {summary}; {fixed.canaries} canaries show at most "
        f"{most:.3g}."
    )


def control_stated(records: Records, edition: Edition) -> Answer:
    """Check that each copy is compared, on the same samples, with a control that never queried."""
    if "extraction" not in records.header.parts:
        return "pass", "Extraction was not tried; it only matters for served models."
    if records.withheld:
        return WITHHELD
    rows: tuple[Extraction, ...] = records.of(Extraction)
    if len({row.table.n for row in rows}) > 1 or any(row.table.n == 0 for row in rows):
        return "fail", "Copies were judged on no samples, or on different numbers of them."
    # Stating a number of queries twice would let a maker show only the worse copy.
    if len({(row.queries, row.access) for row in rows}) < len(rows):
        return "fail", "A number of queries is stated twice for the same kind of answer."
    return "pass", f"{len(rows)} copies, each next to a control that never queried."


def cost_stated(records: Records, edition: Edition) -> Answer:
    """Check that the cost of the audit itself is recorded."""
    steps: tuple[Step, ...] = records.of(Step)
    if not steps:
        return "unknown", "The cost of the audit is not recorded."
    unmetered = [step.name for step in steps if step.energy_j is None]
    if unmetered:
        return "unknown", f"No meter measured the energy of {', '.join(unmetered[:5])}."
    earlier: tuple[EarlierAudit, ...] = records.of(EarlierAudit)
    if unknown := [row.created for row in earlier if row.energy_j is None]:
        return "unknown", f"The energy of the earlier audits of {', '.join(unknown[:5])} is unknown."
    more = f", and of {len(earlier)} earlier audits of the lineage" if earlier else ""
    return "pass", f"Time and energy of {len(steps)} steps are recorded{more}."


def earlier_counted_once(records: Records, edition: Edition) -> Answer:
    """Check that no earlier audit is listed twice, which would count its joules twice."""
    named = [row.statement for row in records.of(EarlierAudit) if row.statement is not None]
    if len(set(named)) < len(named):
        return "fail", "An earlier audit is listed twice."
    return "pass", f"{len(records.of(EarlierAudit))} earlier audits of the lineage are recorded."


CHECKS: dict[str, Check] = {
    "parts_reported": parts_reported,
    "figures_withheld": figures_withheld,
    "samples_complete": samples_complete,
    "shadows_enough": shadows_enough,
    "same_recipe": same_recipe,
    "baseline_attacked": baseline_attacked,
    "non_members_enough": non_members_enough,
    "coins_committed": coins_committed,
    "claim_not_contradicted": claim_not_contradicted,
    "control_stated": control_stated,
    "cost_stated": cost_stated,
    "earlier_counted_once": earlier_counted_once,
}
"""Checks by name, in display order."""


def judge(records: Records, edition: Edition) -> tuple[Finding, ...]:
    """Run every check."""
    return tuple(Finding(name, *check(records, edition)) for name, check in CHECKS.items())
