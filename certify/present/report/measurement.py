"""Sections on the measurement: the table, the intervals, and the windows over time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from certify.assessments.efficiency.claims import EfficiencyClaims
from certify.core.estimate import Estimate
from certify.core.evidence import Evidence
from certify.present.charts.intervals import IntervalRow, intervals_chart
from certify.present.charts.windows import blocks_chart, windows_chart
from certify.present.numbers import ends, factor, percent
from certify.present.report.sections import Figure, Section, figures
from certify.present.rows import NAMES, Cell, FigureRow, accuracy_cell, cell, compared

_FURTHER = (
    ("energy above idle", NAMES.energy_net_j), ("multiple of the yardstick", NAMES.energy_yardstick),
)  # fmt: skip
_RATIOS = (
    ("energy", NAMES.energy_ratio), ("time", NAMES.duration_ratio), ("MACs", NAMES.macs_ratio),
    ("file size", NAMES.bytes_ratio), ("parameters", NAMES.parameters_ratio), ("null run", NAMES.null_ratio),
)  # fmt: skip


def figures_section(claims: EfficiencyClaims) -> Section:
    """Return every figure before and after, and its change."""
    return Section("figures", "Before and after", (*compared(claims.figures), *_further(claims)))


def _further(claims: EfficiencyClaims) -> Iterator[FigureRow]:
    for name, stem in _FURTHER:
        before, after = claims.pair(stem)
        if before is not None or after is not None:
            yield FigureRow(name, _plain(before, stem), _plain(after, stem), Cell())


def _plain(estimate: Estimate | None, stem: str) -> Cell:
    if estimate is None or estimate.unit != "1":
        return cell(estimate, stem)
    return Cell(factor(estimate.value), ends(estimate.low, estimate.high, 3))


def intervals_section(claims: EfficiencyClaims) -> Section:
    """Return ratios, accuracies and loss with their 95 % intervals."""
    known = [(name, claims.figures[key]) for name, key in _RATIOS if key in claims.figures]
    ratios = [IntervalRow(name, ratio, _ratio(ratio)) for name, ratio in known]
    shares = [
        _accuracy(arm, share)
        for arm, share in zip(("baseline", "candidate"), claims.pair(NAMES.accuracy), strict=True)
        if share is not None
    ]
    loss = claims.figures.relative_loss_percent
    losses = [] if loss is None else [IntervalRow("relative loss", loss, _interval(loss, "%"))]
    charts = figures(
        (
            # On a logarithmic axis, half and double are equally far from 1.
            intervals_chart("ratios", "Ratios", ratios, reference=1.0, logarithmic=True),
            "Ratio candidate / baseline; 1 means unchanged",
        ),
        (intervals_chart("accuracy", "Accuracy", shares), "Accuracy on the test samples, in percent"),
        (
            intervals_chart("loss", "Loss", losses, reference=0.0),
            "Accuracy loss, in percent of the baseline's; below 0 is a gain",
        ),
    )
    return Section("intervals", "Intervals", charts)


def _ratio(estimate: Estimate) -> str:
    if estimate.low == estimate.high:
        return factor(estimate.value)
    return ends(estimate.low, estimate.high, 3).replace(" to ", " – ")


def _interval(estimate: Estimate, unit: str) -> str:
    interval = ends(estimate.low, estimate.high).replace(" to ", " – ")
    return "unbounded" if "unbounded" in interval else f"{interval} {unit}"  # the drawing shows the other end


def _accuracy(arm: str, share: Estimate) -> IntervalRow:
    points = replace(share.scaled(100), unit="%")
    return IntervalRow(arm, points, accuracy_cell(share).ends.replace(" to ", " – ") + " %", arm == "baseline")


@dataclass(frozen=True)
class Windows:
    """Charts over time, and the smallest saving that the machine could distinguish from none."""

    resolution: str | None
    figures: tuple[Figure, ...]


def windows_section(claims: EfficiencyClaims, evidence: Evidence) -> Section | None:
    """Return every window and every block; None if there is nothing to draw."""
    charts = figures(
        (windows_chart(evidence), "Cost per inference in every window"),
        (
            blocks_chart(evidence, claims.figures.energy_ratio, claims.figures.null_ratio),
            "Ratio of every block",
        ),
    )
    smallest = claims.figures.smallest_detectable_saving
    resolution = None if smallest is None else percent(100 * smallest.value, "up")
    return Section("windows", "Windows over time", Windows(resolution, charts)) if charts else None
