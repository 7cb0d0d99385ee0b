"""What each cell shows: the change of a share of errors, its interval over all cells at once, and what follows."""

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
"""What is wrong in a cell, by the label of its samples."""


@dataclass(frozen=True)
class JudgedCell:
    """One cell of a comparison.

    Attributes:
        cell: its counts.
        name: for people, such as ``sex=Male, false negatives``.
        before: share of errors of the baseline, with Wilson's interval.
        after: likewise of the candidate.
        rise: after minus before, with Tango's interval; above 0 more errors.
        p: McNemar's exact p-value, corrected by Holm over all cells.
        needed: samples that would show that no more than the margin is lost; None where no number would do.
        verdict: what is shown, by the interval: ``worse`` and ``better`` exclude no change, ``no worse`` excludes a
            loss above the margin, and of a cell that is ``too small`` nothing is shown.
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
        """What is shown, in one sentence.

        A cell that is too small says how many samples it would need at the shares that it has.
        """
        n, points = self.cell.table.n, 100 * self.rise.value
        ends = f"{points:+.2f} points ({100 * self.rise.low:+.2f} to {100 * self.rise.high:+.2f})"
        if self.verdict != "too small":
            return f"{self.name}: {ends} of {n} samples, shown {self.verdict}."
        if self.needed is None:
            return f"{self.name}: {ends} of {n} samples; at this loss no number of them shows it within the margin."
        return f"{self.name}: {ends} of {n} samples; about {self.needed} are needed to show it within the margin."


def rate_name(cell: Cell) -> str:
    """Group and kind of error of a cell, for people.

    Example:
        >>> rate_name(Cell(1, 0, 0, 1, "sex", "Male", 1, 1))
        'sex=Male, false negatives'
    """
    return f"{cell.attribute}={cell.group}, {RATES[cell.label]}"


def judged_cells(records: Records, edition: SocialEdition) -> tuple[JudgedCell, ...]:
    """Judge every published cell that has samples, in the order of the records; all intervals hold at once."""
    cells = occupied(records)
    if not cells:
        return ()
    tables = [cell.table for cell in cells]
    confidence = simultaneous(edition.confidence, len(cells))
    corrected = holm(mcnemar_p_values(tables)).tolist()
    return tuple(_judged(cell, confidence, p, edition) for cell, p in zip(cells, corrected, strict=True))


def occupied(records: Records) -> tuple[Cell, ...]:
    """Published cells with at least one sample."""
    return tuple(cell for cell in records.cells if cell.table.n)


def _judged(cell: Cell, confidence: float, p: float, edition: SocialEdition) -> JudgedCell:
    table = cell.table
    before, after = (wrong_rate(table, arm, confidence) for arm in ("baseline", "candidate"))
    rise = change(table, confidence).negative()
    within = rise.high <= edition.margin
    verdict: Verdict = "too small"
    if rise.low > 0 or rise.high < 0:
        verdict = "worse" if rise.low > 0 else "better"
    elif within:
        verdict = "no worse"
    needed = difference_samples_needed(table, edition.margin, confidence)
    return JudgedCell(cell, rate_name(cell), before, after, rise, p, needed, verdict, within)


def wrong_rate(table: PairedTable, arm: str, confidence: float) -> Bounded:
    """Share of errors of an arm, with Wilson's interval."""
    return rate(table.n - getattr(table, arm), table.n, confidence)


def groups_of(records: Records, attribute: str) -> dict[str, dict[int | None, PairedTable]]:
    """Tables of an attribute's groups by label; of groups whose every label is published and has samples."""
    found: dict[str, dict[int | None, PairedTable]] = {}
    for cell in records.cells:
        if cell.attribute == attribute and cell.table.n:
            found.setdefault(cell.group, {})[cell.label] = cell.table
    wanted = 2 if records.header.decision == "binary" else 1
    return {group: tables for group, tables in found.items() if len(tables) == wanted}


def selected(tables: dict[int | None, PairedTable]) -> PairedTable:
    """Paired table of positive answers of a binary group: right where the truth is positive, wrong where it is not."""
    positive, negative = tables[1], tables[0]
    return PairedTable(
        positive.both + negative.neither,
        positive.only_candidate + negative.only_baseline,
        positive.only_baseline + negative.only_candidate,
        positive.neither + negative.both,
    )


def summed(tables: Sequence[PairedTable]) -> PairedTable:
    """All samples of several tables.

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
    """The positive answer of a binary model, for people; empty of several classes."""
    return header.data.classes[1] if header.decision == "binary" else ""
