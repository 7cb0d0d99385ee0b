"""Result of each cell: the change of an error rate, its simultaneous interval, and what follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from certify.assessments.social.edition import SocialEdition
from certify.assessments.social.records import Cell, Header, Records
from certify.core.statistics.gaps import Bounded, change, rate
from certify.core.statistics.multiple import holm, mcnemar_p_values, simultaneous
from certify.core.statistics.proportions import PairedTable, difference_samples_needed

Verdict = Literal["worse", "better", "no worse", "too small"]

RATES = {0: "false positives", 1: "false negatives", None: "errors"}
"""Kind of error in a cell, by the label of its samples."""


@dataclass(frozen=True)
class JudgedCell:
    """Cell of a comparison with its result.

    Attributes:
        cell: counts of the cell.
        name: display name, such as ``sex=Male, false negatives``.
        before: error rate of the baseline, with Wilson's interval.
        after: error rate of the candidate, likewise.
        rise: after minus before, with Tango's interval; above 0 means more errors.
        p: McNemar's exact p-value, corrected by Holm over all cells.
        needed: number of samples that would exclude a loss above the margin; None if no number would.
        verdict: result by the interval: ``worse`` and ``better`` exclude no change, ``no worse`` excludes a loss above
            the margin, and ``too small`` means that nothing is shown.
        within: whether a loss above the margin is excluded.
    """

    cell: Cell
    name: str
    before: Bounded
    after: Bounded
    rise: Bounded
    p: float
    needed: int | None
    verdict: Verdict
    within: bool

    @property
    def sentence(self) -> str:
        """Result in one sentence.

        For a cell that is too small it states how many samples would be needed at the observed rates.
        """
        n, points = self.cell.table.n, 100 * self.rise.value
        ends = f"{points:+.2f} points ({100 * self.rise.low:+.2f} to {100 * self.rise.high:+.2f})"
        if self.verdict != "too small":
            return f"{self.name}: {ends} on {n} samples, shown to be {self.verdict}."
        if self.needed is None:
            return f"{self.name}: {ends} on {n} samples; no number of samples could show a loss within the margin."
        return f"{self.name}: {ends} on {n} samples; about {self.needed} are needed to show a loss within the margin."


def rate_name(cell: Cell) -> str:
    """Return group and kind of error of a cell for display.

    Example:
        >>> rate_name(Cell(1, 0, 0, 1, "sex", "Male", 1, 1))
        'sex=Male, false negatives'
    """
    return f"{cell.attribute}={cell.group}, {RATES[cell.label]}"


def judged_cells(records: Records, edition: SocialEdition) -> tuple[JudgedCell, ...]:
    """Evaluate every published cell that has samples, in the order of the records; all intervals hold at once."""
    cells = occupied(records)
    if not cells:
        return ()
    tables = [cell.table for cell in cells]
    confidence = simultaneous(edition.confidence, len(cells))
    corrected = holm(mcnemar_p_values(tables)).tolist()
    return tuple(_judged(cell, confidence, p, edition) for cell, p in zip(cells, corrected, strict=True))


def occupied(records: Records) -> tuple[Cell, ...]:
    """Return the published cells with at least one sample."""
    return tuple(cell for cell in records.cells if cell.table.n)


def _judged(cell: Cell, confidence: float, p: float, edition: SocialEdition) -> JudgedCell:
    table = cell.table
    before, after = (wrong_rate(table, arm, confidence) for arm in ("baseline", "candidate"))
    rise = change(table, confidence).negative()
    # Judged separately from the verdict, because a significant loss may still be within the margin.
    within = rise.high <= edition.margin
    verdict: Verdict = "too small"
    if rise.low > 0 or rise.high < 0:
        verdict = "worse" if rise.low > 0 else "better"
    elif within:
        verdict = "no worse"
    needed = difference_samples_needed(table, edition.margin, confidence)
    return JudgedCell(cell, rate_name(cell), before, after, rise, p, needed, verdict, within)


def wrong_rate(table: PairedTable, arm: str, confidence: float) -> Bounded:
    """Return the error rate of an arm, with Wilson's interval."""
    return rate(table.n - getattr(table, arm), table.n, confidence)


def groups_of(records: Records, attribute: str) -> dict[str, dict[int | None, PairedTable]]:
    """Return tables of an attribute's groups by label, for groups whose every label is published and has samples."""
    found: dict[str, dict[int | None, PairedTable]] = {}
    for cell in records.cells:
        if cell.attribute == attribute and cell.table.n:
            found.setdefault(cell.group, {})[cell.label] = cell.table
    # A gap between error rates needs both labels of every group.
    wanted = 2 if records.header.decision == "binary" else 1
    return {group: tables for group, tables in found.items() if len(tables) == wanted}


def selected(tables: dict[int | None, PairedTable]) -> PairedTable:
    """Return the paired table of positive answers of a binary group: correct if the truth is positive, else wrong."""
    positive, negative = tables[1], tables[0]
    # Positive answers are the correct ones to positive samples and the wrong ones to negative samples.
    return PairedTable(
        positive.both + negative.neither,
        positive.only_candidate + negative.only_baseline,
        positive.only_baseline + negative.only_candidate,
        positive.neither + negative.both,
    )


def summed(tables: Sequence[PairedTable]) -> PairedTable:
    """Return the sum of several tables.

    Example:
        >>> summed([PairedTable(1, 0, 0, 0), PairedTable(1, 2, 0, 0)])
        PairedTable(both=2, only_candidate=2, only_baseline=0, neither=0)
    """
    return PairedTable(
        sum(t.both for t in tables),
        sum(t.only_candidate for t in tables),
        sum(t.only_baseline for t in tables),
        sum(t.neither for t in tables),
    )


def decides(header: Header) -> str:
    """Return the display name of a binary model's positive answer; empty for several classes."""
    return header.data.classes[1] if header.decision == "binary" else ""
