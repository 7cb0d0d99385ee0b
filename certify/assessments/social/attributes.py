"""Changes of the gaps between the groups of an attribute.

Binary answers: the disparate-impact ratio (smallest over largest positive rate, fairlearn's
``demographic_parity_ratio``), equalised odds (the larger of the gaps in false positive and false negative rates,
fairlearn's ``equalized_odds_difference``), and the change of each gap. Several classes: the gap in error rates. Gaps
are relative to the largest group; the pair whose gap widened most represents the attribute.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from certify.assessments.social.cells import groups_of, selected, summed, wrong_rate
from certify.assessments.social.edition import SocialEdition
from certify.assessments.social.named import Named, points, share, stems
from certify.assessments.social.records import Records
from certify.core.statistics.gaps import (
    Bounded,
    absolute_gap_change,
    change,
    extremes_difference,
    mover_ratio,
    rate,
)
from certify.core.statistics.multiple import simultaneous
from certify.core.statistics.proportions import PairedTable

Groups = Mapping[str, Mapping[int | None, PairedTable]]
BEFORE_AFTER = {"baseline": "before", "candidate": "after"}


def attribute_figures(records: Records, edition: SocialEdition) -> Iterator[Named]:
    """Yield figures of every attribute with at least two fully published groups."""
    names = stems([attribute.name for attribute in records.header.attributes])
    arms = ("baseline", "candidate") if records.compares else ("candidate",)
    for attribute in records.header.attributes:
        groups = groups_of(records, attribute.name)
        if len(groups) < 2:
            continue
        stem, title = names[attribute.name], attribute.name
        yield from _worst(stem, title, groups, arms, edition)
        if records.header.decision == "binary":
            yield from _selection(stem, title, groups, arms, edition)
            yield from _odds(stem, title, groups, arms, edition)
        if records.compares:
            yield from _gap_changes(stem, title, groups, edition, records.header.decision == "binary")


def _worst(stem: str, title: str, groups: Groups, arms: tuple[str, ...], edition: SocialEdition) -> Iterator[Named]:
    confidence = simultaneous(edition.confidence, len(groups))
    whole = [summed(list(tables.values())) for tables in groups.values()]
    for arm in arms:
        rates = [rate(getattr(table, arm), table.n, confidence) for table in whole]
        # The bounds hold simultaneously, so the lowest of each end bounds the lowest rate.
        lowest = Bounded(*(min(getattr(bounds, end) for bounds in rates) for end in ("value", "low", "high")))
        method = f"{title}: lowest accuracy of {len(rates)} groups, Wilson score intervals, Bonferroni"
        words = f"{title}, accuracy of the worst group, {BEFORE_AFTER[arm]}"
        yield Named(f"{stem}_worst_accuracy_{arm}", words, share(lowest, sum(t.n for t in whole), method))


def _selection(stem: str, title: str, groups: Groups, arms: tuple[str, ...], edition: SocialEdition) -> Iterator[Named]:
    """Yield positive rates, their change, and the ratio of the smallest to the largest."""
    tables = {group: selected(dict(by_label)) for group, by_label in groups.items()}
    confidence = simultaneous(edition.confidence, len(tables))
    for number, (group, table) in enumerate(tables.items(), start=1):
        words = f"{title}={group}, positive answers"
        for arm in arms:
            found = rate(getattr(table, arm), table.n, confidence)
            method = f"{words}: Wilson score interval, Bonferroni over {len(tables)} groups"
            name = f"{stem}_{number}_selection_{arm}"
            yield Named(name, f"{words}, {BEFORE_AFTER[arm]}", share(found, table.n, method))
        if len(arms) > 1:
            method = f"{words}: difference of paired proportions (Tango 1998), Bonferroni over {len(tables)} groups"
            found = change(table, confidence)
            yield Named(f"{stem}_{number}_selection_change_points", f"{words}, change", points(found, table.n, method))
    for arm in arms:
        rates = {group: rate(getattr(table, arm), table.n, edition.confidence) for group, table in tables.items()}
        low, high = (choose(rates, key=lambda group: rates[group].value) for choose in (min, max))
        method = f"{title}: positive answers of '{low}' over those of '{high}', MOVER-R from Wilson's intervals"
        n = tables[low].n + tables[high].n
        words = f"{title}, disparate-impact ratio, {BEFORE_AFTER[arm]}"
        yield Named(f"{stem}_selection_ratio_{arm}", words, share(mover_ratio(rates[low], rates[high]), n, method))


def _odds(stem: str, title: str, groups: Groups, arms: tuple[str, ...], edition: SocialEdition) -> Iterator[Named]:
    """Yield the larger of the gaps in false positive and false negative rates, by simultaneous intervals."""
    # Both rates of every group must hold simultaneously.
    confidence = simultaneous(edition.confidence, 2 * len(groups))
    for arm in arms:
        gaps = [
            extremes_difference([wrong_rate(tables[label], arm, confidence) for tables in groups.values()])
            for label in (0, 1)
        ]
        found = Bounded(*(max(getattr(bounds, end) for bounds in gaps) for end in ("value", "low", "high")))
        method = f"{title}: the larger of the gaps of false positives and false negatives, Wilson's, Bonferroni"
        n = sum(table.n for tables in groups.values() for table in tables.values())
        words = f"{title}, equalised-odds difference, {BEFORE_AFTER[arm]}"
        yield Named(f"{stem}_equalised_odds_{arm}", words, share(found, n, method))


def _gap_changes(stem: str, title: str, groups: Groups, edition: SocialEdition, binary: bool) -> Iterator[Named]:
    kinds: dict[str, tuple[str, Callable[[Mapping[int | None, PairedTable]], PairedTable]]] = {
        "error": ("errors", lambda tables: tables[None])
    }
    if binary:
        kinds = {
            "false_positive": ("false positives", lambda tables: tables[0]),
            "false_negative": ("false negatives", lambda tables: tables[1]),
            "selection": ("positive answers", lambda tables: selected(dict(tables))),
        }
    for kind, (what, table_of) in kinds.items():
        tables = {group: table_of(by_label) for group, by_label in groups.items()}
        found, pair = _widest(tables, edition.confidence)
        ends = f"MOVER, Bonferroni over {len(tables) - 1} pairs" if len(tables) > 2 else "MOVER"
        method = (
            f"{title}: change of the size of the gap in {what}, the one that widened most against the largest group "
        )
        method += f"({pair}), {ends}"
        words = f"{title}, change of the gap in {what}"
        n = sum(table.n for table in tables.values())
        yield Named(f"{stem}_{kind}_gap_change_points", words, points(found, n, method))


def _widest(tables: Mapping[str, PairedTable], confidence: float) -> tuple[Bounded, str]:
    """Return the change of the gap that widened most against the largest group; ends hold for all pairs at once."""
    # The largest group is the reference, because its rate has the narrowest interval.
    largest = max(tables, key=lambda group: tables[group].n)
    others = [group for group in tables if group != largest]
    each = simultaneous(confidence, len(others))
    changes = {group: absolute_gap_change(tables[group], tables[largest], each) for group in others}
    widest = max(changes, key=lambda group: changes[group].value)
    ends = (max(getattr(bounds, end) for bounds in changes.values()) for end in ("low", "high"))
    low, high = ends
    value = changes[widest].value
    # The value may come from another pair than the ends, so the interval is widened to include it.
    return Bounded(value, min(low, value), max(high, value)), f"{widest} against {largest}"
