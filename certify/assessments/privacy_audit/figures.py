"""Figures of a privacy audit: areas, detection rates at few false alarms, bounds by canaries, fidelity of copies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from certify.assessments.privacy_audit.attacks import PAIR, Attack, attacks_of, shadow_counts
from certify.assessments.privacy_audit.coins import coins_of
from certify.assessments.privacy_audit.edition import Edition
from certify.assessments.privacy_audit.records import Canaries, EarlierAudit, Extraction, Opened, Records, Step
from certify.core.accounting import epsilon_showable, epsilon_shown
from certify.core.errors import CertificateError
from certify.core.estimate import Estimate, total
from certify.core.statistics.areas import (
    area_difference_interval,
    area_interval,
    at_false_alarms,
    placements,
    threshold_for,
)
from certify.core.statistics.proportions import Interval, PairedTable, difference_interval, wilson_interval

DELONG = "area under the ROC curve (DeLong, DeLong and Clarke-Pearson 1988)"
LIRA = "online LiRA, pooled variances"
EXACT = "Clopper-Pearson interval at the threshold that the non-members set"
ONE_RUN = "one training with canaries (Steinke, Nasr and Jagielski 2023, theorem 5.2); no upper end follows"
SHOWN = "canary_epsilon_shown"
SHOWABLE = "canary_epsilon_showable"
CLAIMED = "claimed_epsilon"
DELTA = "canary_delta"
WAITING = "auditor_file"
ENERGY = "audit_energy"
EARLIER = "earlier_audits"
EARLIER_ENERGY = "earlier_audits_energy"


def estimates(records: Records, edition: Edition) -> dict[str, Estimate]:
    """Return all figures.

    Raises:
        CertificateError: the records do not fit together.
    """
    return dict(
        [*_membership(records, edition), *_canaries(records, edition), *_extraction(records, edition)]
        + [*_cost(records), *_earlier(records), *_waiting(records)]
    )


def rate_name(rate: float) -> str:
    """Return a false-alarm rate as part of a figure's name.

    Example:
        >>> rate_name(0.001), rate_name(0.01)
        ('0_1_percent', '1_percent')
    """
    return f"{100 * rate:g}_percent".replace(".", "_")


def enough_others(others: int, rate: float, edition: Edition) -> bool:
    """Whether a number of non-members resolves a false-alarm rate."""
    # A tolerance is needed, because the product of a rate and a count may be one bit too small.
    return rate * others >= edition.fewest_alarms - 1e-9


def _membership(records: Records, edition: Edition) -> Iterator[tuple[str, Estimate]]:
    found = attacks_of(records)
    if not found:
        return
    first = next(iter(found.values()))
    for name, count in (("members", len(first.members)), ("non_members", len(first.others))):
        yield name, Estimate.exact(float(count), "1", "samples that the attack tells apart")
    yield "shadows", Estimate.exact(float(shadow_counts(records)[0]), "1", "trainings by the same recipe")
    for name, attack in found.items():
        yield f"membership_auc_{name}", _area(attack, name, edition.confidence)
        for rate in edition.false_alarm_rates:
            if enough_others(len(attack.others), rate, edition):
                yield from _at(attack, name, rate, edition)
    yield from _changes(found, edition)


def _area(attack: Attack, name: str, confidence: float) -> Estimate:
    placed = placements(attack.members, attack.others)
    ends = area_interval(placed, confidence)
    how = "loss alone" if name.startswith("loss_") else LIRA
    return _estimate(placed.area, ends, "1", len(attack.members) + len(attack.others), f"{how}; {DELONG}")


def _at(attack: Attack, name: str, rate: float, edition: Edition) -> Iterator[tuple[str, Estimate]]:
    found, stem = at_false_alarms(attack.members, attack.others, rate), f"at_{rate_name(rate)}_{name}"
    ends, alarms = found.share_interval(edition.confidence), found.alarm_interval(edition.confidence)
    method = f"members found with {found.alarms} of {found.negatives} others taken for members; {EXACT}"
    yield f"members_found_{stem}", _estimate(found.share, ends, "1", found.positives, method)
    yield f"false_alarms_{stem}", _estimate(found.alarms / found.negatives, alarms, "1", found.negatives, EXACT)


def _changes(found: Mapping[str, Attack], edition: Edition) -> Iterator[tuple[str, Estimate]]:
    """Yield the changes by compression, and the gains of attacking both files, paired by sample."""
    for name, before, after in (("change", "baseline", "candidate"), ("pair_gain", "candidate", PAIR)):
        if before not in found or after not in found:
            continue
        first, second = found[before], found[after]
        placed_before, placed_after = (placements(each.members, each.others) for each in (first, second))
        ends = area_difference_interval(placed_before, placed_after, edition.confidence)
        n = len(first.members) + len(first.others)
        method = f"{after} less {before}, paired; {DELONG}"
        yield f"membership_auc_{name}", _estimate(placed_after.area - placed_before.area, ends, "1", n, method)
        for rate in edition.false_alarm_rates:
            if enough_others(len(first.others), rate, edition):
                yield f"members_found_{name}_at_{rate_name(rate)}_points", _found_change(first, second, rate, edition)


def _found_change(first: Attack, second: Attack, rate: float, edition: Edition) -> Estimate:
    """Return the difference of the detection rates, each attack at its own threshold."""
    # A shared threshold would give the two attacks different rates of false alarms.
    hits = [each.members > threshold_for(each.others, rate) for each in (first, second)]
    table = PairedTable.from_correct(*hits)
    ends = difference_interval(table, edition.confidence)
    scaled = Interval(100 * ends.low, 100 * ends.high)
    method = "difference of paired proportions, score interval (Tango 1998), thresholds as given"
    return _estimate(100 * (table.candidate - table.baseline) / table.n, scaled, "points", table.n, method)


def right_guesses(canaries: Canaries, opened: Opened) -> int:
    """Guess that the highest scores are in and the lowest out, and count the right guesses.

    Equal scores keep the order of the canaries.

    Raises:
        CertificateError: there is not one score per canary, or there are more guesses than canaries.
    """
    m, r = canaries.canaries, canaries.guesses
    if len(opened.scores) != m or r > m:
        raise CertificateError(
            f"{m} canaries must have {m} scores and at most {m} guesses, got {len(opened.scores)} and {r}."
        )
    coins = coins_of(opened.seed, m)
    # A stable sort, so that equal scores are guessed in the order of the canaries on every platform.
    order = np.argsort(-np.array(opened.scores), kind="stable")
    # Half of the guesses are "in" and half "out"; an odd one is "in".
    upper = r - r // 2
    return int(coins[order[:upper]].sum() + (~coins[order[m - r // 2 :]]).sum())


def _canaries(records: Records, edition: Edition) -> Iterator[tuple[str, Estimate]]:
    fixed: Canaries | None = records.first(Canaries)
    if fixed is None:
        return
    m, r = fixed.canaries, fixed.guesses
    if r > m:
        raise CertificateError(f"{m} canaries must have at most {m} guesses, got {r}.")
    yield "canaries", Estimate.exact(float(m), "1", "each in the twin's training by a coin")
    yield "canary_guesses", Estimate.exact(float(r), "1", "fixed before the training")
    most = "with every guess right; "
    showable = epsilon_showable(m, r, fixed.delta, edition.confidence)
    yield SHOWABLE, Estimate.exact(showable, "1", f"largest that {r} guesses can show, {most}{ONE_RUN}")
    showable = epsilon_showable(m, m, fixed.delta, edition.confidence)
    yield f"{SHOWABLE}_by_all", Estimate.exact(showable, "1", f"largest that {m} canaries can show, {most}{ONE_RUN}")
    if fixed.claimed_epsilon is not None:
        yield CLAIMED, Estimate.exact(fixed.claimed_epsilon, "1", f"as its maker claims it at delta {fixed.delta:g}")
    opened: Opened | None = records.first(Opened)
    if opened is None:
        return
    right = right_guesses(fixed, opened)
    yield "canary_guesses_right", Estimate.exact(float(right), "1", "coins guessed by the twin's scores")
    bound = epsilon_shown(m, r, right, fixed.delta, edition.confidence)
    # Only a lower bound follows, because a stronger attack could guess more.
    yield SHOWN, Estimate(bound, bound, float("inf"), "1", m, f"at least, at {100 * edition.confidence:g} %; {ONE_RUN}")


def _extraction(records: Records, edition: Edition) -> Iterator[tuple[str, Estimate]]:
    for row in records.of(Extraction):
        table, stem = row.table, f"extraction_{row.queries}_{row.access}"
        if table.n == 0:
            raise CertificateError("Extraction was judged on no samples.")
        for name, agreed, what in (
            ("fidelity", table.candidate, f"copies from {row.queries} {row.access}"),
            ("control", table.baseline, f"a control that learned from {row.control}"),
        ):
            ends = wilson_interval(agreed, table.n, edition.confidence)
            method = f"answers shared with the model, {what}; Wilson score interval"
            yield f"{stem}_{name}", _estimate(agreed / table.n, ends, "1", table.n, method)
        ends = difference_interval(table, edition.confidence)
        method = "fidelity less that of the control, paired (Tango 1998)"
        excess = 100 * (table.candidate - table.baseline) / table.n
        scaled = Interval(100 * ends.low, 100 * ends.high)
        yield f"{stem}_excess_points", _estimate(excess, scaled, "points", table.n, method)


def _cost(records: Records) -> Iterator[tuple[str, Estimate]]:
    steps: tuple[Step, ...] = records.of(Step)
    if not steps:
        return
    n = len(steps)
    yield (
        "audit_cpu_seconds",
        Estimate.exact(sum(step.cpu_s for step in steps), "s", f"of {n} steps, this process's own"),
    )
    yield "audit_seconds", Estimate.exact(sum(step.seconds for step in steps), "s", f"of {n} steps, wall time")
    known = [Estimate.from_json(step.energy_j) for step in steps if step.energy_j is not None]
    # A sum over the metered steps alone would understate the cost.
    if len(known) == n:
        yield ENERGY, replace(total(known), n=n, method=f"of {n} steps; {known[0].method}")


def _earlier(records: Records) -> Iterator[tuple[str, Estimate]]:
    """Yield the number of earlier audits of the lineage, and their energy if all of it is known."""
    rows: tuple[EarlierAudit, ...] = records.of(EarlierAudit)
    if not rows:
        return
    n = len(rows)
    yield EARLIER, Estimate.exact(float(n), "1", "earlier audits of the same lineage, as recorded next to the model")
    known = [Estimate.from_json(row.energy_j) for row in rows if row.energy_j is not None]
    if len(known) == n:
        yield EARLIER_ENERGY, replace(total(known), n=n, method=f"of {n} earlier audits; {known[0].method}")


def _waiting(records: Records) -> Iterator[tuple[str, Estimate]]:
    if records.header.auditor is not None:
        yield WAITING, Estimate.exact(1.0, "1", "files with findings that only an auditor sees")


def _estimate(value: float, ends: Interval, unit: str, n: int, method: str) -> Estimate:
    """Return an estimate whose interval is widened to its value, which rounding can put an ulp outside."""
    return Estimate(value, min(ends.low, value), max(ends.high, value), unit, n, method)
