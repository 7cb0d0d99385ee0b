"""Table at the end of a run: before and after, with an interval for each figure; pure functions."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from certify.assessments.efficiency.grade import Grade
from certify.core.estimate import Estimate
from certify.core.text import bullet, clean
from certify.present.carbon import carbon_sentences, payback_sentences
from certify.present.numbers import quantity as quantity
from certify.present.numbers import rounded
from certify.present.rows import NAMES, ROWS, Cell, cell, change_cell, compared, marked
from certify.present.statements import figure
from certify.present.wording import attempts, searched

if TYPE_CHECKING:
    from certify.assessments.efficiency.claims import EfficiencyClaims
    from certify.assessments.efficiency.payback import Payback
    from certify.comparison import Comparison

MISSING = "–"


def comparison(figures: Mapping[str, Estimate]) -> Table:
    """Return before and after, one figure per row; a missing figure is a dash, and an empty row is left out."""
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("")
    for heading in ("before", "after", "change"):
        table.add_column(heading, justify="right")
    for row in compared(figures):
        table.add_row(row.name, *(two_lines(part) for part in (row.before, row.after, row.change)))
    return table


def single(figures: Mapping[str, Estimate]) -> Table:
    """Return the figures of one model, those whose names end in ``_candidate``."""
    table = Table(show_header=False, show_edge=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    for name, stem, _ in ROWS:
        if (found := figures.get(stem("candidate"))) is not None:
            table.add_row(marked(name, found), two_lines(cell(found, stem)))
    return table


def several(comparison: Comparison) -> Table:
    """Return certified models by number; a star marks each non-dominated one, and a model's worst letter is marked."""
    worst = comparison.worst()
    axes, best = comparison.axes, {entry.name for entry in comparison.best()}
    headlines = comparison.entries[0].claims.headlines
    table = Table(show_edge=False, pad_edge=False, header_style="bold")
    table.add_column("")
    table.add_column("grade" if axes else "outcome")
    for heading in headlines.values() if axes is None else _SEVERAL[axes.is_ratio]:
        table.add_column(heading, justify="right")
    table.add_column("key")
    if comparison.one_model:
        table.add_column("device")
    for number, entry in enumerate(comparison.entries, start=1):
        names = headlines if axes is None else (axes.energy, axes.accuracy, axes.time)
        figures = [entry.estimate(name) for name in names]
        if axes is None:
            cells = [Cell("" if estimate is None else figure(estimate)) for estimate in figures]
        elif axes.is_ratio:
            cells = [change_cell(figure, None, None) for figure in figures]
        else:
            stems = (NAMES.energy_j, NAMES.accuracy, NAMES.duration_s)
            cells = [cell(figure, stem) for figure, stem in zip(figures, stems, strict=True)]
        if axes is not None:
            cells.append(cell(entry.estimate(NAMES.bytes("candidate")), NAMES.bytes))
        name, key = f"{number}{' *' if entry.name in best else ''}", "trusted" if entry.trusted else "not trusted"
        grade = f"{entry.claims.text}{' worst' if entry is worst else ''}"
        device = [clean(entry.device_class)] if comparison.one_model else []
        table.add_row(name, grade, *(two_lines(part) for part in cells), key, *device)
    return table


_SEVERAL = {
    True: ("energy", "accuracy", "time", "file"),
    False: ("energy per inference", "accuracy (top-1)", "time per inference", "file"),
}
"""Headings, by whether figures are changes relative to one common baseline."""


def verdict(grade: Grade, where: str = "") -> Text:
    """Return the grade in one line with the devices it holds for, then the reasons of a refusal or the notes."""
    if grade.letter is None:
        text = Text("Not graded", style="bold red")
        lines = grade.reasons
    else:
        text = Text(f"Grade {grade.text}" + (f" on {clean(where)}" if where else ""), style="bold")
        if grade.score_db is not None:
            text.append(
                f"  (score {rounded(grade.score_db, 1)} dB; {grade.point_letter} at the measured point)", "not bold"
            )
        lines = ()
    for line in (*lines, *grade.notes):
        text.append(f"\n{bullet(line)}", style="not bold")
    return text


def measured(claims: EfficiencyClaims) -> Text:
    """Return how often this pair was measured, and among how many candidates the model was chosen."""
    sentence, trials = attempts(claims), searched(claims)
    chosen = "" if trials is None else f" Selected from {trials} candidates on validation data."
    return Text(
        f"{sentence[0].upper()}{sentence[1:]}, including this one, according to the log on this machine.{chosen}"
    )


def payback_lines(payback: Payback) -> Text | None:
    """Return the cost of compressing, its break-even point, and carbon if an intensity is given; else None."""
    lines = [*payback_sentences(payback), *carbon_sentences(payback)]
    return Text("\n".join(lines)) if lines else None


def files(paths: Mapping[str, Path]) -> Table:
    """Return the path of each file."""
    table = Table(show_header=False, show_edge=False, pad_edge=False, box=None)
    for name, path in paths.items():
        table.add_row(name, Text(str(path), overflow="fold"))
    return table


def two_lines(cell: Cell) -> Text:
    """Return a figure with its interval below; a dash if it was not measured."""
    text = Text(cell.figure or MISSING)
    if cell.ends:
        text.append(f"\n{cell.ends}", style="dim")
    return text
