"""The table at the end of a run: before and after, with the interval of each figure; pure functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from certify.estimate import Estimate, EvidenceLevel
from certify.label.figures import interval, percent, quantity, rounded, times

if TYPE_CHECKING:
    from certify.judge.grade import Grade

MISSING = "–"

ROWS = (
    ("accuracy (top-1)", "accuracy", "relative_loss_percent"),
    ("energy per inference", "energy_j", "energy_ratio"),
    ("time per inference", "duration_s", "duration_ratio"),
    ("latency p50", "latency_p50_s", None),
    ("MACs", "macs", "macs_ratio"),
    ("parameters", "parameters", None),
    ("file size", "bytes", "bytes_ratio"),
    ("peak memory", "peak_memory_bytes", None),
)
"""Name of the row, stem of its estimates (``_baseline`` and ``_candidate`` follow), name of the estimate of change."""

_UNITS = {"macs": "", "parameters": "", "bytes": "B", "peak_memory_bytes": "B"}


def comparison(estimates: Mapping[str, Estimate]) -> Table:
    """Before and after, a row a figure; what was not measured is a dash, a row without any figure is left out."""
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("")
    for heading in ("before", "after", "change"):
        table.add_column(heading, justify="right")
    for name, stem, change in ROWS:
        before, after = estimates.get(f"{stem}_baseline"), estimates.get(f"{stem}_candidate")
        if before is not None or after is not None:
            table.add_row(_name(name, after or before), _cell(before, stem), _cell(after, stem),
                          _change(estimates.get(change or ""), before, after))  # fmt: skip
    return table


def single(estimates: Mapping[str, Estimate]) -> Table:
    """The figures of one model, by the estimates of its ``_candidate``."""
    table = Table(show_header=False, show_edge=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    for name, stem, _ in ROWS:
        figure = estimates.get(f"{stem}_candidate")
        if figure is not None:
            table.add_row(_name(name, figure), _cell(figure, stem))
    return table


def verdict(grade: Grade) -> Text:
    """The grade in one line, followed by the reasons of a refusal or the notes."""
    if grade.letter is None:
        text = Text("Not graded", style="bold red")
        lines = grade.reasons
    else:
        text = Text(f"Grade {grade.text}", style="bold")
        if grade.score_db is not None:
            text.append(f"  (score {rounded(grade.score_db, 1)} dB)", style="not bold")
        lines = ()
    for line in (*lines, *grade.notes):
        text.append(f"\n  - {line}", style="not bold")
    return text


def files(paths: Mapping[str, Path]) -> Table:
    """Where each file lies."""
    table = Table(show_header=False, show_edge=False, pad_edge=False, box=None)
    for name, path in paths.items():
        table.add_row(name, Text(str(path), overflow="fold"))
    return table


def _name(name: str, estimate: Estimate | None) -> str:
    modelled = estimate is not None and estimate.evidence is EvidenceLevel.MODELLED
    return f"{name} (modelled)" if modelled else name


def _cell(estimate: Estimate | None, stem: str) -> Text:
    if estimate is None:
        return Text(MISSING)
    if stem == "accuracy":
        return _accuracy(estimate)
    unit = _UNITS.get(stem, estimate.unit)
    return _two_lines(quantity(estimate.value, unit), interval(estimate, unit))


def _accuracy(estimate: Estimate) -> Text:
    ends = f"{rounded(100 * estimate.low, 1, 'down')} to {rounded(100 * estimate.high, 1, 'up')}"
    return _two_lines(percent(100 * estimate.value), ends if estimate.low < estimate.high else "")


def _change(change: Estimate | None, before: Estimate | None, after: Estimate | None) -> Text:
    if change is None:
        if before is None or after is None or not before.value:
            return Text(MISSING)
        return Text(_factor(after.value / before.value))
    if change.unit == "%":
        return _two_lines(percent(-change.value), _ends(-change.high, -change.low))
    exact = change.low == change.high
    return _two_lines(_factor(change.value), "" if exact else _ends(change.low, change.high, 3))


def _factor(ratio: float) -> str:
    return times(ratio) if ratio >= 1 else f"{rounded(ratio, 3)}×"


def _ends(low: float, high: float, decimals: int = 1) -> str:
    written = ("unbounded" if math.isinf(end) else rounded(end, decimals, way) for end, way in
               ((low, "down"), (high, "up")))  # fmt: skip
    return " to ".join(written)


def _two_lines(figure: str, ends: str) -> Text:
    text = Text(figure)
    if ends:
        text.append(f"\n{ends}", style="dim")
    return text
