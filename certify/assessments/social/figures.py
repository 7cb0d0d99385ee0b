"""All figures of the social assessment, by name, with their descriptions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from certify.assessments.social.attributes import attribute_figures
from certify.assessments.social.cells import JudgedCell, judged_cells, occupied, rate_name, wrong_rate
from certify.assessments.social.edition import SocialEdition
from certify.assessments.social.measures import measure_figures
from certify.assessments.social.named import Named, points, share
from certify.assessments.social.records import HeldBack, Records
from certify.core.estimate import Estimate
from certify.core.statistics.multiple import simultaneous

BONFERRONI = "Bonferroni over {} cells"
WORDS = {
    "cells": "cells",
    "cells_worse": "cells shown worse",
    "cells_better": "cells shown better",
    "cells_within_margin": "cells shown to lose no more than the margin",
    "cells_within_margin_share": "share of cells shown to lose no more than the margin",
    "cells_too_small": "cells too small for a result",
    "cells_held_back": "cells withheld",
    "largest_loss_points": "largest loss of a cell",
}


def named_figures(records: Records, edition: SocialEdition) -> Iterator[Named]:
    """Yield all figures derived from records, each with its description."""
    if records.compares:
        judged = judged_cells(records, edition)
        yield from _summary(records, judged, edition)
        for number, cell in enumerate(judged, start=1):
            yield from _compared(number, cell, len(judged))
    else:
        yield from _alone(records, edition)
    yield from attribute_figures(records, edition)
    yield from measure_figures(records, edition)


def figures(records: Records, edition: SocialEdition) -> Mapping[str, Estimate]:
    """Return the figures by name."""
    return {figure.name: figure.estimate for figure in named_figures(records, edition)}


def words(records: Records, edition: SocialEdition) -> dict[str, str]:
    """Return the description of every figure."""
    return {figure.name: figure.words[:250] for figure in named_figures(records, edition)}


ERROR_GAPS = ("_error_gap_change_points", "_false_positive_gap_change_points", "_false_negative_gap_change_points")
"""Gaps in errors only: the gap in positive answers also depends on the true labels, so it is only described."""
OVER_ATTRIBUTES = {
    "widest_gap_change_points": (ERROR_GAPS, "largest change of the size of a gap in errors over {} gaps"),
    "flips_rise_points": (("_flips_change_points",), "largest rise of answers that turn over {} attributes"),
}


def over_attributes(estimates: Mapping[str, Estimate]) -> Iterator[tuple[str, Estimate]]:
    """Yield the maximum of each figure over all attributes; nothing for a figure that no attribute has."""
    for name, (endings, words_) in OVER_ATTRIBUTES.items():
        rows = [estimate for key, estimate in estimates.items() if key.endswith(endings)]
        if rows:
            # Ends are taken separately, because the attribute with the largest value need not have the largest end.
            value, low, high = (max(getattr(row, end) for row in rows) for end in ("value", "low", "high"))
            method = f"{words_.format(len(rows))}; upper end of the worst, not of all at once"
            yield name, Estimate(value, low, high, "points", min(row.n for row in rows), method)


def _summary(records: Records, judged: tuple[JudgedCell, ...], edition: SocialEdition) -> Iterator[Named]:
    message = f"of {len(judged)} cells, by intervals that hold at once (Tango 1998, Bonferroni)"
    within = sum(cell.within for cell in judged)
    counts = {
        "cells": len(judged),
        **{f"cells_{verdict}": sum(cell.verdict == verdict for cell in judged) for verdict in ("worse", "better")},
        "cells_within_margin": within,
        "cells_too_small": sum(cell.verdict == "too small" for cell in judged),
        "cells_held_back": len(records.of(HeldBack)),
    }
    for name, count in counts.items():
        yield Named(name, WORDS[name], Estimate.exact(count, "1", message))
    if not judged:
        return
    method = f"share of cells whose loss is shown to be at most {edition.margin_points:g} points"
    name = "cells_within_margin_share"
    yield Named(name, WORDS[name], Estimate.exact(within / len(judged), "1", method))
    method = "largest rise of an error rate over all cells; upper end over all of them at once"
    # The intervals hold simultaneously, so the largest upper end bounds every loss.
    value, low, high = (max(getattr(cell.rise, end) for cell in judged) for end in ("value", "low", "high"))
    largest = Estimate(100 * value, 100 * low, 100 * high, "points", len(judged), method)
    yield Named("largest_loss_points", WORDS["largest_loss_points"], largest)


def _compared(number: int, judged: JudgedCell, cells: int) -> Iterator[Named]:
    stem, n, together = f"cell_{number:03d}", judged.cell.table.n, BONFERRONI.format(cells)
    wilson = f"{judged.name}: Wilson score interval, {together}"
    yield Named(f"{stem}_baseline", f"{judged.name}, before", share(judged.before, n, wilson))
    yield Named(f"{stem}_candidate", f"{judged.name}, after", share(judged.after, n, wilson))
    tango = f"{judged.name}: difference of paired proportions, score interval (Tango 1998), {together}"
    yield Named(f"{stem}_change_points", f"{judged.name}, change", points(judged.rise, n, tango))
    method = f"{judged.name}: McNemar's test, exact, two-sided, Holm over {cells} cells"
    yield Named(f"{stem}_p", f"{judged.name}, p", Estimate.exact(judged.p, "1", method))


def _alone(records: Records, edition: SocialEdition) -> Iterator[Named]:
    cells = occupied(records)
    yield Named("cells", WORDS["cells"], Estimate.exact(len(cells), "1", "published cells with samples"))
    withheld = Estimate.exact(len(records.of(HeldBack)), "1", "cells whose tables are not published")
    yield Named("cells_held_back", WORDS["cells_held_back"], withheld)
    confidence, together = simultaneous(edition.confidence, len(cells)), BONFERRONI.format(len(cells))
    for number, cell in enumerate(cells, start=1):
        name, found = rate_name(cell), wrong_rate(cell.table, "candidate", confidence)
        method = f"{name}: Wilson score interval, {together}"
        yield Named(f"cell_{number:03d}_candidate", name, share(found, cell.table.n, method))
