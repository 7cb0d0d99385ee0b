"""Figures as rows of text: before, after and change, each with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from markupsafe import Markup

from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.core.estimate import Estimate, EvidenceLevel
from certify.present.numbers import ends, factor, interval, percent, quantity, rounded
from certify.present.svg import tag

NAMES = EfficiencyClaims.names

ROWS = (
    ("accuracy (top-1)", NAMES.accuracy, NAMES.accuracy_difference_points),
    ("declared score", NAMES.score, NAMES.relative_loss_percent),
    ("energy per inference", NAMES.energy_j, NAMES.energy_ratio),
    ("time per inference", NAMES.duration_s, NAMES.duration_ratio),
    ("throughput", NAMES.throughput_per_s, None),
    ("latency p50", NAMES.latency_p50_s, None),
    ("latency p90", NAMES.latency_p90_s, None),
    ("latency p99", NAMES.latency_p99_s, None),
    ("MACs", NAMES.macs, NAMES.macs_ratio),
    ("bytes moved", NAMES.bytes_moved, NAMES.bytes_moved_ratio),
    ("parameters", NAMES.parameters, None),
    ("file size", NAMES.bytes, NAMES.bytes_ratio),
    ("peak memory", NAMES.peak_memory_bytes, None),
)
"""Row name, stem of its estimates (followed by ``_baseline`` and ``_candidate``), name of the estimate of change."""

UNITS: dict[str, str] = {
    NAMES.score: "", NAMES.throughput_per_s: "/s", NAMES.macs: "", NAMES.bytes_moved: "B", NAMES.parameters: "",
    NAMES.bytes: "B", NAMES.peak_memory_bytes: "B",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """Figure with the ends of its interval.

    Both are empty if nothing was measured; an exact count has no ends.
    """

    figure: str = ""
    ends: str = ""


@dataclass(frozen=True)
class FigureRow:
    """Row of a comparison."""

    name: str
    before: Cell
    after: Cell
    change: Cell


def compared(figures: Mapping[str, Estimate]) -> tuple[FigureRow, ...]:
    """Return one row per kind of figure; an empty row is left out."""
    rows = []
    for name, stem, change in ROWS:
        before, after = figures.get(stem("baseline")), figures.get(stem("candidate"))
        if before is not None or after is not None:
            if stem == NAMES.accuracy and NAMES.score("baseline") in figures:
                change = None  # the loss belongs to the declared score
            found = figures.get(change or "")
            if found is not None and change == NAMES.accuracy_difference_points:
                changed = points_cell(found)
            else:
                # Without a derived estimate, only the quotient of the points is shown, which has no interval.
                changed = change_cell(found, before, after)
            rows.append(FigureRow(marked(name, after or before), cell(before, stem), cell(after, stem), changed))
    return tuple(rows)


def marked(name: str, estimate: Estimate | None) -> str:
    """Return the name of a row, marked if energy is modelled."""
    modelled = estimate is not None and estimate.evidence is EvidenceLevel.MODELLED
    return f"{name} (modelled)" if modelled else name


def cell(estimate: Estimate | None, stem: str) -> Cell:
    """Format one figure of a row as required by its stem."""
    if estimate is None:
        return Cell()
    if stem == NAMES.accuracy:
        return accuracy_cell(estimate)
    unit = UNITS.get(stem, estimate.unit)
    return Cell(quantity(estimate.value, unit), interval(estimate, unit))


def accuracy_cell(estimate: Estimate) -> Cell:
    """Format a share as a percentage.

    Example:
        >>> accuracy_cell(Estimate(0.95, 0.94, 0.96, "1", 1500, "Wilson"))
        Cell(figure='95.0 %', ends='94.0 to 96.0')
    """
    exact = estimate.low == estimate.high
    return Cell(percent(100 * estimate.value), "" if exact else ends(100 * estimate.low, 100 * estimate.high))


def html_table(figures: Mapping[str, Estimate]) -> Markup:
    """Return before, after and change as an HTML table, for notebooks."""
    head = tag("tr", *(tag("th", heading) for heading in ("", "before", "after", "change")))
    rows = (
        tag("tr", tag("th", row.name), *(
            tag("td", part.figure, Markup("<br>"), tag("small", part.ends)) if part.ends else tag("td", part.figure)
            for part in (row.before, row.after, row.change)
        ))
        for row in compared(figures)
    )  # fmt: skip
    return tag("table", head, *rows)


def points_cell(difference: Estimate) -> Cell:
    """Format a difference of two percentages.

    Example:
        >>> points_cell(Estimate(-0.4, -1.2, 0.4, "points", 1500, "Tango"))
        Cell(figure='−0.4 points', ends='−1.2 to 0.4')
    """
    return Cell(f"{rounded(difference.value, 1)} points", ends(difference.low, difference.high))


def change_cell(change: Estimate | None, before: Estimate | None, after: Estimate | None) -> Cell:
    """Format the change: the negative of a loss in percent, otherwise a factor."""
    if change is None:
        if before is None or after is None or not before.value:
            return Cell()
        return Cell(factor(after.value / before.value))
    # A loss is stored as positive; the table shows the change of accuracy, hence the sign and the swapped ends.
    if change.unit == "%":
        return Cell(f"{percent(-change.value)} relative", ends(-change.high, -change.low))
    exact = change.low == change.high
    return Cell(factor(change.value), "" if exact else ends(change.low, change.high, 3))
