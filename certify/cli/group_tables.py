"""Terminal tables of groups of people."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from certify.core.estimate import Estimate
from certify.core.text import bullet, clean
from certify.present.statements import figure

if TYPE_CHECKING:
    from certify.workflows.group_audit import Fairness

CELL = "cell_"


def tables(found: Fairness) -> Iterator[Table | Text]:
    """Yield the outcome, a table of cells, and a table of all other figures."""
    text = Text(clean(found.outcome.text), style="bold")
    for line in (*found.outcome.reasons, *found.outcome.notes):
        text.append(f"\n{bullet(line)}", style="not bold")
    yield text
    yield _cells(found)
    yield _others(found)


def _cells(found: Fairness) -> Table:
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("group and error type")
    headings = ("samples", "before", "after", "change", "shown") if found.cells else ("samples", "error rate")
    for heading in headings:
        table.add_column(heading, justify="right")
    figures = found.profile.estimates
    if not found.cells:
        for name, shares in figures.items():
            if name.startswith(CELL):
                table.add_row(clean(found.words[name]), str(shares.n), figure(shares))
    for number, cell in enumerate(found.cells, start=1):
        stem = f"{CELL}{number:03d}"
        before, after, change = (figures[f"{stem}_{end}"] for end in ("baseline", "candidate", "change_points"))
        needed = f"too small, needs {cell.needed}" if cell.needed else "too small"
        result = needed if cell.verdict == "too small" else cell.verdict
        share = [f"{100 * part.value:.1f} %" for part in (before, after)]
        table.add_row(clean(cell.name), str(cell.cell.table.n), *share, _points(change), result)
    return table


def _points(change: Estimate) -> str:
    return f"{change.value:+.2f} ({change.low:+.2f} to {change.high:+.2f})"


def _others(found: Fairness) -> Table:
    table = Table(show_header=False, show_edge=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    for name, estimate in found.profile.estimates.items():
        if not name.startswith(CELL):
            table.add_row(clean(found.words[name]), figure(estimate))
    return table
