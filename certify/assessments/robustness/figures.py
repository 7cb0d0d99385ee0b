"""All figures of the robustness assessment, from paired tables.

Differences are of paired proportions, by Tango's score interval (1998) at a level that holds for all corruptions, or
all sizes of change, at once (Bonferroni). Robust accuracy under witnesses is an upper bound whatever the number of
witnesses: nobody can show that a sample cannot be fooled, so the lower end of such a share is 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from certify.assessment.record_file import Counts
from certify.assessments.robustness.edition import RobustnessEdition
from certify.assessments.robustness.records import (
    Corrupted,
    Detection,
    Records,
    Standing,
    Triggered,
)
from certify.core.errors import CertificateError
from certify.core.estimate import Estimate
from certify.core.statistics.proportions import difference_interval, wilson_interval, z_quantile

TANGO = "difference of paired proportions, score interval (Tango 1998), Bonferroni over {}"
AT_MOST = "share that no witness fooled, an upper bound; upper end by Wilson's score interval, Bonferroni over {}"
ARMS = ("baseline", "candidate")


def figures(records: Records, edition: RobustnessEdition) -> Mapping[str, Estimate]:
    """Return all figures by name; what was not requested is absent."""
    return dict(
        [*_corruptions(records, edition), *_standing(records, edition), *_detected(records, edition)]
        + [*_triggers(records, edition)]
    )


def simultaneous(confidence: float, count: int) -> float:
    """Return the confidence of each of several intervals that hold at once with the given one (Bonferroni).

    Example:
        >>> round(simultaneous(0.95, 5), 4)
        0.99
    """
    return 1 - (1 - confidence) / max(1, count)


def change(row: Counts, confidence: float, method: str) -> Estimate:
    """Return the candidate's correct answers minus the baseline's, in points.

    Raises:
        CertificateError: the table has no samples.
    """
    table = row.table
    if table.n == 0:
        raise CertificateError("A table of the records has no samples.")
    ends = difference_interval(table, confidence)
    value = (table.candidate - table.baseline) / table.n
    return Estimate(100 * value, 100 * ends.low, 100 * ends.high, "points", table.n, method)


def _share(right: int, n: int, confidence: float, method: str, bound: bool = False) -> Estimate:
    if n == 0:
        raise CertificateError("A table of the records has no samples.")
    ends = wilson_interval(right, n, confidence)
    # A bound has no lower end, because nothing can show that a model cannot be fooled.
    return Estimate(right / n, 0.0 if bound else ends.low, max(ends.high, right / n), "1", n, method)


def _corruptions(records: Records, edition: RobustnessEdition) -> Iterator[tuple[str, Estimate]]:
    rows: tuple[Corrupted, ...] = records.of(Corrupted)
    clean = records.clean("corruptions")
    if not rows or clean is None:
        return
    yield "corruptions_clean_change_points", change(clean, edition.confidence, TANGO.format("one table"))
    confidence, together = simultaneous(edition.confidence, len(rows)), f"{len(rows)} corruptions"
    changes = []
    for row in rows:
        stem = f"{row.name}_{row.severity}"
        for arm in ARMS:
            right = getattr(row.table, arm)
            yield f"{stem}_{arm}", _share(right, row.table.n, edition.confidence, "Wilson score interval")
        found = change(row, confidence, TANGO.format(together))
        changes.append(found)
        yield f"{stem}_change_points", found
    worst = [
        # Each end has its own extreme, because the intervals hold simultaneously.
        -getattr(min(changes, key=lambda estimate: getattr(estimate, end)), end)
        for end in ("value", "high", "low")
    ]
    method = f"largest loss over {together}; upper end over all of them at once"
    low, value, high = min(worst), worst[0], max(worst)
    yield "worst_corruption_loss_points", Estimate(value, low, high, "points", changes[0].n, method)
    counts = {
        "corruptions": len(rows),
        "corruptions_worse": sum(estimate.high < 0 for estimate in changes),
        "corruptions_within_margin": sum(estimate.low >= -edition.margin_points for estimate in changes),
    }
    for name, count in counts.items():
        yield name, Estimate.exact(count, "1", f"of {together}, by intervals that hold at once")


def standing_rows(records: Records, source: str) -> dict[int, Standing]:
    """Return tables of robust samples by the size of the change, for one source of witnesses."""
    return {row.eps: row for row in records.of(Standing) if row.source == source}


def _standing(records: Records, edition: RobustnessEdition) -> Iterator[tuple[str, Estimate]]:
    union = standing_rows(records, "union")
    clean = records.clean("witnesses")
    if not union or clean is None:
        return
    yield "witnesses_clean_change_points", change(clean, edition.confidence, TANGO.format("one table"))
    confidence, together = simultaneous(edition.confidence, len(union)), f"{len(union)} sizes of change"
    for eps, row in sorted(union.items()):
        for arm in ARMS:
            right = getattr(row.table, arm)
            yield f"standing_{eps}_{arm}", _share(right, row.table.n, confidence, AT_MOST.format(together), bound=True)
        yield f"standing_{eps}_change_points", change(row, confidence, TANGO.format(together))
        for source in ARMS:
            other = standing_rows(records, source).get(eps)
            if other is not None:
                method = f"only witnesses made for the {source}; {TANGO.format(together)}"
                yield f"standing_{eps}_by_{source}_change_points", change(other, confidence, method)


def _detected(records: Records, edition: RobustnessEdition) -> Iterator[tuple[str, Estimate]]:
    row: Detection
    for row in records.of(Detection):
        m, n = row.clean, row.attacked
        if m < 2 or n < 2:
            continue
        area = row.wins / (2 * m * n)
        # DeLong, DeLong and Clarke-Pearson 1988: variances of the placements of both kinds of samples.
        # The records double the placements to keep integers; hence the factor 4 after squaring.
        clean = max(0.0, (row.placements_clean / (4 * n * n) - m * area**2) / (m - 1))
        attacked = max(0.0, (row.placements_attacked / (4 * m * m) - n * area**2) / (n - 1))
        half = z_quantile(edition.confidence) * math.sqrt(clean / m + attacked / n)
        method = "area under the ROC curve for detecting attacks by a small margin (DeLong 1988); informative only"
        ends = max(0.0, area - half), min(1.0, area + half)
        yield f"detection_auroc_{row.arm}", Estimate(area, *ends, "1", m + n, method)


def _triggers(records: Records, edition: RobustnessEdition) -> Iterator[tuple[str, Estimate]]:
    """Yield success rates before and after, and their changes; those of the float parent with each trigger."""
    rows: tuple[Triggered, ...] = records.of(Triggered)
    # Numbered by content and class, because names of files may repeat.
    numbers = {key: k for k, key in enumerate(dict.fromkeys((row.sha256, row.target) for row in rows), start=1)}
    for row in rows:
        n, number = row.table.n, numbers[row.sha256, row.target]
        for arm, name in (("baseline", row.before), ("candidate", "candidate")):
            method = f"{row.name}: answers of class {row.target} under the trigger; Wilson score interval"
            yield (
                f"trigger_{number}_success_{name}",
                _share(n - getattr(row.table, arm), n, edition.confidence, method),
            )
        # The tables count samples that resist, so a change in success has the opposite sign.
        turned = Counts(row.neither, row.only_baseline, row.only_candidate, row.both)
        method = f"{row.name}: {TANGO.format(f'{len(rows)} comparisons under triggers')}"
        found = change(turned, simultaneous(edition.confidence, len(rows)), method)
        since = "" if row.before == "baseline" else "_since_float_parent"
        yield f"trigger_{number}_change{since}_points", found
