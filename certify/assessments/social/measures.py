"""Further effects of compression: probabilities, changed answers, several metrics, exchanged attributes."""

from __future__ import annotations

import math
from collections.abc import Iterator

from scipy.special import stdtrit

from certify.assessments.social.cells import summed
from certify.assessments.social.edition import SocialEdition
from certify.assessments.social.named import Named, points, share, stems
from certify.assessments.social.records import (
    Calibration,
    Flips,
    MetricCounts,
    Records,
    Reliability,
    Total,
    Turned,
)
from certify.core.estimate import Estimate
from certify.core.statistics.gaps import Bounded, change, rate
from certify.core.statistics.proportions import PairedTable

BEFORE_AFTER = {"baseline": "before", "candidate": "after"}
MOST_CLASSES = 10
SCORES = {"brier": "Brier score", "log_loss": "log loss"}


def measure_figures(records: Records, edition: SocialEdition) -> Iterator[Named]:
    """Yield figures that are not about single groups."""
    arms = ("baseline", "candidate") if records.compares else ("candidate",)
    yield from _metrics(records, arms, edition)
    for score in records.of(Calibration):
        yield from _score(score, arms, edition)
    for row in records.of(Reliability):
        if row.arm in arms:
            yield _calibration_error(row)
    if records.compares:
        yield from _turned(records, edition)
    yield from _flips(records, arms, edition)


def _rates(stem: str, words: str, table: PairedTable, arms: tuple[str, ...], edition: SocialEdition) -> Iterator[Named]:
    for arm in arms:
        found = rate(getattr(table, arm), table.n, edition.confidence)
        yield Named(f"{stem}_{arm}", f"{words}, {BEFORE_AFTER[arm]}", share(found, table.n, "Wilson score interval"))
    if len(arms) > 1:
        found = change(table, edition.confidence)
        method = "difference of paired proportions, score interval (Tango 1998)"
        yield Named(f"{stem}_change_points", f"{words}, change", points(found, table.n, method))


def _metrics(records: Records, arms: tuple[str, ...], edition: SocialEdition) -> Iterator[Named]:
    """Yield accuracy, recall and precision of the positive answer, top-3 accuracy, and errors per 1,000."""
    totals: dict[int | None, PairedTable] = {total.label: total.table for total in records.of(Total)}
    whole = summed(list(totals.values()))
    if not whole.n:
        return
    yield from _rates("accuracy", "accuracy", whole, arms, edition)
    for arm in arms:
        found = rate(whole.n - getattr(whole, arm), whole.n, edition.confidence)
        thousand = share(found, whole.n, "Wilson score interval, times 1,000").scaled(1000)
        yield Named(f"errors_per_1000_{arm}", f"errors per 1,000, {BEFORE_AFTER[arm]}", thousand)
    if records.header.decision == "binary" and {0, 1} <= set(totals) and totals[0].n and totals[1].n:
        yield from _rates("recall", "recall of the positive answer", totals[1], arms, edition)
        for arm in arms:
            right, wrong = getattr(totals[1], arm), totals[0].n - getattr(totals[0], arm)
            # Without positive answers there is no precision.
            if right + wrong:
                found = rate(right, right + wrong, edition.confidence)
                words = f"precision of the positive answer, {BEFORE_AFTER[arm]}"
                yield Named(f"precision_{arm}", words, share(found, right + wrong, "Wilson score interval"))
    for metric in records.of(MetricCounts):
        yield from _rates(metric.name, "top-3 accuracy", metric.table, arms, edition)


def _score(score: Calibration, arms: tuple[str, ...], edition: SocialEdition) -> Iterator[Named]:
    n, words = score.n, SCORES[score.score]
    if n < 2:
        return
    for arm in arms:
        mean = Estimate.exact(getattr(score, arm) / n, "1", f"mean over {n} samples, without an interval")
        yield Named(f"{score.score}_{arm}", f"{words}, {BEFORE_AFTER[arm]}", mean)
    if len(arms) > 1:
        mean_difference = score.difference / n
        # Clipped because rounding may make the variance of equal differences negative.
        variance = max(0.0, score.difference_squared / n - mean_difference**2) * n / (n - 1)
        half = float(stdtrit(n - 1, 0.5 + edition.confidence / 2)) * math.sqrt(variance / n)
        found = Bounded(mean_difference, mean_difference - half, mean_difference + half)
        method = "mean of paired differences, Student's t interval; above 0 is worse"
        yield Named(f"{score.score}_difference", f"{words}, change", share(found, n, method))


def _calibration_error(row: Reliability) -> Named:
    """Return the expected calibration error (Naeini et al. 2015), binned and so without interval or test."""
    n = sum(row.n)
    gaps = (abs(right - confidence) for right, confidence in zip(row.right, row.confidence, strict=True))
    value = sum(gaps) / n if n else 0.0
    method = f"expected calibration error, {len(row.n)} bins of equal width; informative only"
    return Named(
        f"calibration_error_{row.arm}",
        f"expected calibration error, {BEFORE_AFTER[row.arm]}",
        Estimate.exact(100 * value, "%", method),
    )


def _turned(records: Records, edition: SocialEdition) -> Iterator[Named]:
    """Yield samples whose answer changed, for one pair of models (unlike Hooker's exemplars of many models)."""
    rows = records.of(Turned)
    by_margin = [row for row in rows if row.by == "margin"]
    n, turned = sum(row.n for row in by_margin), sum(row.turned for row in by_margin)
    if not n:
        return
    found = rate(turned, n, edition.confidence)
    yield Named("turned", "changed answers", share(found, n, "Wilson score interval"))
    first = by_margin[0]
    if first.n:
        found = rate(first.turned, first.n, edition.confidence)
        words = f"changed answers, of the {first.n} with the smallest margins before"
        yield Named("turned_smallest_margins", words, share(found, first.n, "Wilson score interval"))
    by_class = sorted(
        (row for row in rows if row.by == "class" and row.n), key=lambda row: (-row.turned / row.n, row.place)
    )
    classes = records.header.data.classes
    for row in by_class[:MOST_CLASSES]:
        found = rate(row.turned, row.n, edition.confidence)
        words = f"changed answers, class {classes[row.place]}"
        yield Named(f"turned_class_{row.place}", words, share(found, row.n, "Wilson score interval"))


def _flips(records: Records, arms: tuple[str, ...], edition: SocialEdition) -> Iterator[Named]:
    """Yield answers that change if only the attribute is exchanged in the input."""
    names = stems([attribute.name for attribute in records.header.attributes])
    for row in records.of(Flips):
        stem, table = names.get(row.attribute, ""), row.table
        if not stem or not table.n:
            continue
        # The records count answers that stay; a figure about flips needs the complement.
        flipped = PairedTable(table.neither, table.only_baseline, table.only_candidate, table.both)
        words = f"answers that change when only {row.attribute} is exchanged"
        yield from _rates(f"{stem}_flips", words, flipped, arms, edition)
