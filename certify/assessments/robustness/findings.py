"""Checks of the records: that tables are consistent, and that the attack was strong enough to be meaningful.

A weak attack makes a model look robust. So the attack must break an ordinary baseline; each model must be attacked with
gradients of its own float parent, since witnesses transferred from another model flatter it; and the results must hold
at other settings of the runtime, to be a property of the file and not of one session.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

from certify.assessments.robustness.edition import RobustnessEdition
from certify.assessments.robustness.figures import ARMS, standing_rows
from certify.assessments.robustness.records import Clean, Corrupted, Held, Records, Standing, Triggered, WitnessSet
from certify.core.finding import Finding
from certify.core.statistics.proportions import wilson_interval

OTHER_SETTINGS = (("none", 1), ("basic", 1), ("extended", 1), ("none", 2), ("all", 2))
"""Optimiser levels and threads at which witnesses that hold at (all, 1) are tried again."""
Check = Callable[[Records, RobustnessEdition], "Iterator[str]"]


def judge_findings(records: Records, edition: RobustnessEdition) -> tuple[Finding, ...]:
    """Run every check that applies to the records; a failed one refuses the statement."""
    checks = dict(TABLES)
    if records.of(WitnessSet) or records.of(Standing):
        checks |= ATTACKS
    return tuple(_finding(name, *check, records, edition) for name, check in checks.items())


def _finding(name: str, check: Check, holds: str, records: Records, edition: RobustnessEdition) -> Finding:
    problems = list(check(records, edition))
    if problems:
        more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
        return Finding(name, "fail", f"{problems[0]}{more}.")
    return Finding(name, "pass", holds if name != "own_gradients" else f"{holds}{_apart(records)}")


def _tables_complete(records: Records, edition: RobustnessEdition) -> Iterator[str]:
    """Each table occurs once, over existing samples, and the set of corruptions is complete."""
    rows = [*records.of(Clean), *records.of(Corrupted), *records.of(Standing), *records.of(Triggered)]
    if not rows:
        yield "There are no corruptions, witnesses or triggers"
    if any(row.table.n == 0 or row.table.n > records.header.data.samples for row in rows):
        yield "A table has no samples, or more than the data"
    yield from _triggers_complete(records)
    named = [(row.name, row.severity) for row in records.of(Corrupted)]
    severities = {severity for _, severity in named}
    wanted = {(name, severity) for name in edition.corruptions for severity in severities}
    if len(named) != len(set(named)) or set(named) != wanted:
        yield f"The corruptions must be those of {edition.corruption_set}, each once"
    clean = records.clean("corruptions")
    if {row.table.n for row in records.of(Corrupted)} != ({clean.table.n} if clean else set()):
        yield "The numbers of corrupted and clean samples differ"
    if clean is not None and clean.table.n > edition.most_samples:
        yield f"{clean.table.n} samples were corrupted, but the maximum is {edition.most_samples}"
    if len(records.of(Clean)) != len({row.of for row in records.of(Clean)}):
        yield "A table of clean samples appears twice"


def _triggers_complete(records: Records) -> Iterator[str]:
    """Each trigger was tried once, on every given model and on the same samples."""
    rows, parent = records.of(Triggered), records.header.float_parent
    wanted = {"baseline"} if parent is None else {"baseline", "float_parent"}
    for key in {(row.sha256, row.target) for row in rows}:
        same = [row for row in rows if (row.sha256, row.target) == key]
        if sorted(row.before for row in same) != sorted(wanted):
            yield "A trigger must be tried once with each of " + " and ".join(sorted(wanted)).replace("_", " ")
        # The candidate, trigger and samples are the same, so its answers cannot differ.
        elif len({(row.table.n, row.table.candidate, row.untriggered_candidate) for row in same}) > 1:
            yield "The candidate answers differently next to its float parent than next to the baseline"


def _standing_falls(records: Records, edition: RobustnessEdition) -> Iterator[str]:
    """Larger changes fool no fewer samples, a union no fewer than its parts, and clean accuracy is the largest."""
    clean = records.clean("witnesses")
    union = standing_rows(records, "union")
    keys = [(row.source, row.eps) for row in records.of(Standing)]
    if clean is None or not union or len(keys) != len(set(keys)):
        yield "The tables of robust accuracy are incomplete"
        return
    for arm in ARMS:
        for source in ("union", *ARMS):
            rows = sorted(standing_rows(records, source).items())
            counts = [getattr(clean.table, arm), *(getattr(row.table, arm) for _, row in rows)]
            # Counts must not rise with the size of the change, starting from clean samples.
            if counts != sorted(counts, reverse=True):
                yield f"The {arm} has a higher robust accuracy at a larger change"
            if any(getattr(row.table, arm) < getattr(union[eps].table, arm) for eps, row in rows if eps in union):
                yield f"The {arm} has a higher robust accuracy under all witnesses than under some"
    if len({row.table.n for row in (clean, *records.of(Standing))}) != 1:
        yield "The numbers of attacked and clean samples differ"


def _strong_enough(records: Records, edition: RobustnessEdition) -> Iterator[str]:
    # An adversarially trained baseline need not break.
    if records.header.adversarially_trained:
        return
    row = standing_rows(records, "union").get(edition.broken_eps)
    if row is None:
        yield f"The attack was not tried at {edition.broken_eps} grey levels, where it must break the baseline"
    elif row.table.baseline > edition.most_standing * row.table.n:
        share = 100 * row.table.baseline / row.table.n
        yield (
            f"The baseline's robust accuracy is {share:.1f} % at {edition.broken_eps}/255, where a working attack "
            f"leaves at most {100 * edition.most_standing:g} % of an ordinary model; attack longer, or declare that "
            "the baseline was adversarially trained"
        )


def _own_gradients(records: Records, edition: RobustnessEdition) -> Iterator[str]:
    sets: tuple[WitnessSet, ...] = records.of(WitnessSet)
    for arm in ARMS:
        own = [witness_set for witness_set in sets if witness_set.arm == arm and witness_set.gradients is not None]
        other = "candidate" if arm == "baseline" else "baseline"
        if not own:
            yield (
                f"No witnesses were made for the {arm} with gradients of its own float parent, but those of the "
                f"{other} flatter it{_flattered(records, arm, other)}; make them with leanmark attack --checkpoint"
            )
            continue
        count, copied = sum(witness_set.held for witness_set in own), sum(witness_set.copied for witness_set in own)
        # A few equal witnesses are chance; more are copies of the other model's file.
        if copied > edition.most_copied * max(1, count):
            yield f"{copied} of {count} witnesses for the {arm} are copies of those for the {other}"
        yield from _weaker(records, arm, other)


def _flattered(records: Records, arm: str, other: str) -> str:
    rows = sorted(standing_rows(records, other).items())
    gaps = [(abs(row.table.candidate - row.table.baseline) / row.table.n, eps, row) for eps, row in rows]
    if not gaps:
        return ""
    _, eps, row = max(gaps, key=lambda gap: gap[0])
    mine, theirs = (100 * getattr(row.table, name) / row.table.n for name in (arm, other))
    return f" ({mine:.1f} % against {theirs:.1f} % apparent robust accuracy at {eps}/255)"


def _weaker(records: Records, arm: str, other: str) -> Iterator[str]:
    """Yield a problem if an attack with own gradients is weaker than a transferred one, so that it is broken."""
    theirs = standing_rows(records, other)
    for eps, row in sorted(standing_rows(records, arm).items()):
        if eps not in theirs:
            continue
        n, mine, carried = row.table.n, getattr(row.table, arm), getattr(theirs[eps].table, arm)
        # The intervals must not overlap, so that a chance difference does not fail an honest attack.
        if wilson_interval(mine, n, 0.95).low > wilson_interval(carried, n, 0.95).high:
            yield (
                f"Witnesses made for the {arm} leave {mine} of its {n} samples correct at {eps}/255, but those made "
                f"for the {other} leave {carried}; the attack did not follow the {arm}'s own gradients"
            )
            return


def _apart(records: Records) -> str:
    """Return what transferred witnesses alone would show, next to the result with own gradients."""
    union, carried = standing_rows(records, "union"), standing_rows(records, "baseline")
    notes = []
    for eps in sorted(set(union) & set(carried)):
        gains = [100 * (row.table.candidate - row.table.baseline) / row.table.n for row in (carried[eps], union[eps])]
        # Negated, so that the smallest change wins among equal gaps.
        notes.append((gains[0] - gains[1], -eps, gains))
    if not notes:
        return ""
    _, below, (transfer, own) = max(notes)
    eps = -below
    return f" At {eps}/255 the baseline's witnesses alone show {transfer:+.1f} points and all of them {own:+.1f}."


def _held_elsewhere(records: Records, edition: RobustnessEdition) -> Iterator[str]:
    rows: tuple[Held, ...] = records.of(Held)
    for arm in ARMS:
        settings = {(row.graph_optimization, row.threads) for row in rows if row.arm == arm and row.asked}
        turned = sum(witness_set.held for witness_set in records.of(WitnessSet) if witness_set.arm == arm)
        if turned and not settings.issuperset(OTHER_SETTINGS):
            # Witnesses may fail at settings that were not tried.
            yield f"Witnesses were not tried on the {arm} at every optimiser level and with 1 and 2 threads"
    for row in rows:
        if row.held < edition.least_held * row.asked:
            yield (
                f"{row.asked - row.held} of {row.asked} witnesses do not hold on the {row.arm} at optimiser level "
                f"{row.graph_optimization} with {row.threads} threads; push them further past the margin"
            )


TABLES: dict[str, tuple[Check, str]] = {
    "tables_complete": (_tables_complete, "Every table appears once, over the same samples."),
}
ATTACKS: dict[str, tuple[Check, str]] = {
    "standing_falls": (_standing_falls, "Robust accuracy never rises with a larger change or with more witnesses."),
    "attack_strong_enough": (_strong_enough, "The attack breaks the baseline, or adversarial training is declared."),
    "own_gradients": (_own_gradients, "Each model was attacked with gradients of its own float parent."),
    "witnesses_valid": (_held_elsewhere, "Witnesses hold at other optimiser levels and thread numbers."),
}
NAMES = tuple(chain(TABLES, ATTACKS))
