"""Named checks of privacy records: touches, sources, composition, and the claim itself.

They follow the levels of the pyramid of NIST SP 800-226 (Near, Darais, Lefkovitz and Howarth 2025): the parameters at
the top, below them what can undermine them, and data collection at the bottom, which is not checked here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from certify.assessments.privacy.edition import Edition
from certify.assessments.privacy.figures import rate_of, total_spent
from certify.assessments.privacy.findings_mechanisms import (
    caps_fixed,
    no_cross_sample_layer,
    noise_not_reproducible,
    rate_is_batch_over_n,
    sampler_is_poisson,
    sensitivity_bounded,
)
from certify.assessments.privacy.records import UNKNOWN, Records
from certify.core.finding import Finding, FindingOutcome

Answer = tuple[FindingOutcome, str]
Check = Callable[[Records, Edition], Answer]


def delta_below_one_over_n(records: Records, edition: Edition) -> Answer:
    """Delta is below 1 / N: otherwise a mechanism that publishes one random record in full would pass."""
    header = records.header
    if header.units is None:
        return "unknown", "The number of units is withheld, so only an auditor can compare delta with 1/N."
    if header.delta >= 1 / header.units:
        return "fail", f"delta {header.delta:g} is not below 1/{header.units}: one {header.unit} may leak in full."
    return "pass", f"delta {header.delta:g} is below 1/{header.units}."


def unit_bounded(records: Records, edition: Edition) -> Answer:
    """The unit of clipping is the unit of the claim."""
    header = records.header
    other = [mechanism.id for mechanism in records.sgd if mechanism.clipped_per != header.unit]
    # A bound of one record per unit makes clipping per record the same as clipping per unit.
    if other and header.contribution_bound != 1:
        bound = "any number of" if header.contribution_bound is None else f"up to {header.contribution_bound}"
        return "fail", (
            f"{', '.join(other)} clips per {records.sgd[0].clipped_per}, but a {header.unit} may contribute {bound} "
            "records."
        )
    if records.votes and header.contribution_bound != 1:
        return "fail", f"A {header.unit} may be in the splits of several teachers; bound it to one record."
    return "pass", f"The claim is about a {header.unit}, and each mechanism bounds the same unit."


def adjacency_kept(records: Records, edition: Edition) -> Answer:
    """Nothing public reveals what distinguishes neighbouring data sets."""
    header = records.header
    if header.adjacency == "replace-one":
        return "pass", "Neighbours differ in one replaced unit and have the same N, which may be public."
    if header.auditor is None:
        return (
            "fail",
            "Neighbours differ in N, but N, q or batch sizes are public; withhold them, or claim replace-one.",
        )
    if solvable := [
        # Epsilon is public, so the noise would give away the withheld rate.
        mechanism.id
        for mechanism in records.sgd
        if rate_of(mechanism, records) is None and mechanism.noise_multiplier
    ]:
        return "fail", f"The noise of {', '.join(solvable)} is public, and q follows from it and epsilon; withhold it."
    return "pass", "Neighbours differ by one unit; N, q, batch sizes and noise are only in the auditor file."


def every_touch_accounted(records: Records, edition: Edition) -> Answer:
    """Every read of a private split is covered by a recorded mechanism."""
    parts = ", ".join(records.header.private_parts)
    if raw := records.raw_touches:
        message = "; ".join(f"{touch.step} read {touch.part} ({', '.join(touch.how)})" for touch in raw[:5])
        return "fail", f"Private data were read without noise: {message}. No privacy follows for {parts}."
    private = [touch for touch in records.touches if records.is_private(touch.part)]
    if unseen := [touch.step for touch in private if UNKNOWN in touch.how]:
        return "unknown", f"The data read by {', '.join(unseen[:5])} are unknown."
    used = {how for touch in private for how in touch.how}
    if idle := sorted(records.ids - used):
        return "unknown", f"No step of the ledger read {parts} under {', '.join(idle)}."
    return "pass", f"{len(private)} reads of {parts}, each covered by a recorded mechanism."


def sources_public(records: Records, edition: Edition) -> Answer:
    """The original, teachers and further data are stated as public by digest, or come from a recorded mechanism."""
    # A source made from private data is covered only by the mechanism that released it.
    bad = [source for source in records.sources if source.status == "private" and source.mechanism not in records.ids]
    if bad:
        message = ", ".join(f"{source.role} {source.name}" for source in bad)
        return "fail", f"Made from private data without a recorded mechanism: {message}."
    if not any(source.role == "original" for source in records.sources):
        return "unknown", "The training data of the original are not stated."
    vague = [
        source
        for source in records.sources
        if source.status == "unknown" or (source.status == "public" and not source.digest)
    ]
    if vague:
        message = ", ".join(f"{source.role} {source.name}" for source in vague)
        return "unknown", f"Not stated as public with a digest: {message}."
    return (
        "pass",
        f"{len(records.sources)} models and data sets in addition to the private splits, each stated with its digest.",
    )


def parts_disjoint(records: Records, edition: Edition) -> Answer:
    """Public data contain no private sample, and no two teachers share one; an auditor checks keyed identifiers."""
    if not records.members:
        return "unknown", "Shared samples can only be found by keyed identifiers, which are not in these records."
    seen: dict[str, set[str]] = {}
    shared: Counter[str] = Counter()
    for member in records.members:
        for identifier in set(member.ids):
            parts = seen.setdefault(identifier, set())
            # Counted by pairs of parts, so that the message names where samples are shared.
            shared.update(f"{other} and {member.part}" for other in parts if not _may_share(other, member.part))
            parts.add(member.part)
    if shared:
        message = "; ".join(f"{pair} share {count} samples" for pair, count in sorted(shared.items())[:5])
        return "fail", f"{message[:1].upper()}{message[1:]}."
    teachers = {member.part for member in records.members if member.part.startswith(TEACHER)}
    wanted = max((vote.teachers for vote in records.votes), default=0)
    if len(teachers) < wanted:
        return "unknown", f"Identifiers are recorded for {len(teachers)} of {wanted} teachers' splits."
    return "pass", f"{len(records.members)} splits share no sample, by their keyed identifiers."


TEACHER = "teacher:"
PUBLIC = "public:"


def _may_share(first: str, second: str) -> bool:
    """Return whether two splits may share samples: a teacher's with its private one, or two public sets."""
    # A teacher is trained on a part of a private split, so the two always share samples.
    kinds = [part.split(":")[0] if part.startswith((TEACHER, PUBLIC)) else "private" for part in (first, second)]
    # Two public sets may overlap, because neither is protected.
    return first == second or kinds == ["public", "public"] or set(kinds) == {"private", "teacher"}


def composition_complete(records: Records, edition: Edition) -> Answer:
    """Every training run is counted, including trials and failures."""
    counted, attempts = sum(mechanism.runs for mechanism in records.mechanisms), records.header.attempts
    if attempts > counted:
        return "fail", f"{attempts} training runs on the private splits were made, but {counted} are counted."
    return "pass", f"{counted} runs are counted, and {attempts} training runs were made."


def choices_accounted(records: Records, edition: Edition) -> Answer:
    """Sizes, clipping norms, thresholds and the kept epoch were not chosen by looking at private data."""
    if peeked := [choice.what for choice in records.choices if choice.on == "private"]:
        return "fail", f"Chosen by looking at private data: {', '.join(peeked)}."
    if missing := [
        choice.what for choice in records.choices if choice.on == "mechanism" and choice.mechanism not in records.ids
    ]:
        return "fail", f"Chosen under a mechanism that is not recorded: {', '.join(missing)}."
    if not records.choices:
        return "unknown", "The choice of clipping norm, sizes and the kept epoch is not recorded."
    return "pass", f"{len(records.choices)} choices, none by looking at private data: {_listed(records)}."


def _listed(records: Records) -> str:
    return ", ".join(
        f"{choice.what} ({'in advance' if choice.on == 'none' else choice.on})" for choice in records.choices[:8]
    )


def epsilon_within_claim(records: Records, edition: Edition) -> Answer:
    """The epsilon derived from the mechanisms is at most the claimed one."""
    claimed, total = records.header.claimed_epsilon, total_spent(records)
    if not records.mechanisms:
        return "fail", "No mechanism is recorded, so no epsilon can be derived."
    if total is None:
        withheld = [
            mechanism.id
            for mechanism in records.sgd
            if None in (rate_of(mechanism, records), mechanism.noise_multiplier)
        ]
        return (
            "unknown",
            f"Sampling rate and noise of {', '.join(withheld)} are withheld, so only an auditor can derive epsilon.",
        )
    message = f"epsilon {total.epsilon:.6g} follows from the mechanisms, and {claimed:.6g} is claimed"
    # A tolerance is needed, because epsilon is the result of a numerical minimisation over orders.
    if total.epsilon > claimed * (1 + edition.claim_tolerance):
        return "fail", f"{message}: the claim is too small."
    return "pass", f"{message}."


def clients_enough(records: Records, edition: Edition) -> Answer:
    """A claim about clients needs many of them."""
    header = records.header
    if header.unit != "client":
        return "pass", f"The claim is about a {header.unit}."
    if header.units is None:
        return "unknown", "The number of clients is withheld."
    if header.units < edition.fewest_clients:
        return "fail", f"{header.units} are too few clients for a meaningful client-level epsilon."
    return "pass", f"{header.units} clients, at least {edition.fewest_clients}."


def classes_kept(records: Records, edition: Edition) -> Answer:
    """No class loses much more than the others: noise hurts small groups most."""
    if not records.classes:
        return "unknown", "Accuracy per class before and after is not recorded."
    # Counting answers that were never given could hide a loss.
    if odd := [row.name for row in records.classes if max(row.before, row.after) > row.samples]:
        return "fail", f"More correct answers than samples are recorded in {', '.join(odd)}."
    lost = {row.name: 100 * (row.before - row.after) / row.samples for row in records.classes}
    mean, worst = sum(lost.values()) / len(lost), max(lost, key=lambda name: lost[name])
    message = f"Class {worst} lost {lost[worst]:.3g} points, the mean of all classes {mean:.3g}"
    if lost[worst] - mean > edition.class_loss_points:
        return "fail", f"{message}: an excess of {edition.class_loss_points:g} points is allowed."
    return "pass", f"{message}."


def touches_from_lineage(records: Records, edition: Edition) -> Answer:
    """The ledger is bound to a lineage, which is compared if it is next to the model."""
    if records.header.lineage is None:
        return "unknown", "The records do not name a lineage, so the ledger may be incomplete."
    return "pass", f"The ledger belongs to the lineage {records.header.lineage[:16]}."


CHECKS: dict[str, Check] = {
    "epsilon_within_claim": epsilon_within_claim,
    "delta_below_one_over_n": delta_below_one_over_n,
    "unit_bounded": unit_bounded,
    "clients_enough": clients_enough,
    "adjacency_kept": adjacency_kept,
    "every_touch_accounted": every_touch_accounted,
    "touches_from_lineage": touches_from_lineage,
    "sources_public": sources_public,
    "parts_disjoint": parts_disjoint,
    "composition_complete": composition_complete,
    "choices_accounted": choices_accounted,
    "sensitivity_bounded": sensitivity_bounded,
    "no_cross_sample_layer": no_cross_sample_layer,
    "noise_not_reproducible": noise_not_reproducible,
    "rate_is_batch_over_n": rate_is_batch_over_n,
    "sampler_is_poisson": sampler_is_poisson,
    "caps_fixed": caps_fixed,
    "classes_kept": classes_kept,
}
"""Checks by name, in display order."""


def judge(records: Records, edition: Edition) -> tuple[Finding, ...]:
    """Run every check."""
    return tuple(Finding(name, *check(records, edition)) for name, check in CHECKS.items())
