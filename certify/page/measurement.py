"""What was measured: the table, the intervals, and the windows over time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from certify.estimate import Estimate
from certify.page.papers import Papers
from certify.page.parts import Section, figure, figures, table, two_lines
from certify.present.charts.draw import number
from certify.present.charts.intervals import IntervalRow, intervals_chart
from certify.present.charts.windows import blocks_chart, windows_chart
from certify.present.numbers import ends, factor, percent
from certify.present.rows import Cell, accuracy_cell, cell, compared

_FURTHER = (
    ("energy above idle", "energy_net_j"), ("multiple of the yardstick", "energy_yardstick"),
)  # fmt: skip
_RATIOS = (
    ("energy", "energy_ratio"), ("time", "duration_ratio"), ("MACs", "macs_ratio"), ("file size", "bytes_ratio"),
    ("parameters", "parameters_ratio"), ("null run", "null_ratio"),
)  # fmt: skip


def figures_section(papers: Papers) -> Section:
    """Before, after and change of every figure."""
    estimates = papers.certificate.profile.estimates
    rows = [(row.name, *(_two(part) for part in (row.before, row.after, row.change))) for row in compared(estimates)]
    for name, stem in _FURTHER:
        pair = [estimates.get(f"{stem}_{arm}") for arm in ("baseline", "candidate")]
        if any(pair):
            rows.append((name, *(_two(_plain(estimate, stem)) for estimate in pair), ""))
    return Section("figures", "Before and after", (table(("", "before", "after", "change"), rows),))


def _two(part: Cell) -> str:
    return two_lines(part.figure, part.ends)


def _plain(estimate: Estimate | None, stem: str) -> Cell:
    if estimate is None or estimate.unit != "1":
        return cell(estimate, stem)
    return Cell(factor(estimate.value), ends(estimate.low, estimate.high, 3))


def intervals_section(papers: Papers) -> Section:
    """Ratios, accuracies and loss with their 95 % intervals."""
    estimates = papers.certificate.profile.estimates
    ratios = [
        IntervalRow(name, found, _ratio(found)) for name, key in _RATIOS if (found := estimates.get(key)) is not None
    ]
    shares = [_accuracy(estimates, arm) for arm in ("baseline", "candidate")]
    loss = estimates.get("relative_loss_percent")
    losses = [] if loss is None else [IntervalRow("relative loss", loss, _interval(loss, "%"))]
    return Section(
        "intervals",
        "Intervals",
        (
            figures(
                figure(
                    intervals_chart("ratios", "Ratios", ratios, reference=1.0, logarithmic=True),
                    "Ratio, candidate over baseline; 1 is no change",
                ),
                figure(
                    intervals_chart("accuracy", "Accuracy", [row for row in shares if row], form=_percent),
                    "Accuracy on the test samples, in percent",
                ),
                figure(
                    intervals_chart("loss", "Loss", losses, reference=0.0, form=_percent),
                    "Loss of accuracy, in percent of the baseline's; below 0 is a gain",
                ),
            ),
        ),
    )


def _ratio(estimate: Estimate) -> str:
    if estimate.low == estimate.high:
        return factor(estimate.value)
    return ends(estimate.low, estimate.high, 3).replace(" to ", " – ")


def _interval(estimate: Estimate, unit: str) -> str:
    return f"{ends(estimate.low, estimate.high).replace(' to ', ' – ')} {unit}".replace("-", "−")


def _percent(value: float) -> str:
    return number(value).replace("-", "−")


def _accuracy(estimates: Mapping[str, Estimate], arm: str) -> IntervalRow | None:
    share = estimates.get(f"accuracy_{arm}")
    if share is None:
        return None
    points = replace(share, value=100 * share.value, low=100 * share.low, high=100 * share.high, unit="%")
    return IntervalRow(arm, points, accuracy_cell(share).ends.replace(" to ", " – ") + " %", arm == "baseline")


def windows_section(papers: Papers) -> Section | None:
    """Every window and every block; None where there is nothing to draw."""
    estimates = papers.certificate.profile.estimates
    windows = windows_chart(papers.evidence)
    blocks = blocks_chart(papers.evidence, estimates.get("energy_ratio"), estimates.get("null_ratio"))
    drawn = figures(figure(windows, "An inference in every window"), figure(blocks, "The ratio in every block"))
    smallest = estimates.get("smallest_detectable_saving")
    told = None
    if smallest is not None:
        share = percent(100 * smallest.value, "up")
        told = f"The baseline against itself shows that a saving of {share} can be told from none on this machine."
    return None if drawn is None else Section("windows", "Windows over time", (told, drawn))
