"""Checks of the records: that the tables are consistent, cover the samples, and reveal nothing about single people."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from certify.assessments.social.anonymity import follows
from certify.assessments.social.cells import summed
from certify.assessments.social.edition import SocialEdition
from certify.assessments.social.records import (
    Attribute,
    Calibration,
    Flips,
    HeldBack,
    MetricCounts,
    Records,
    Reliability,
    Total,
    Turned,
)
from certify.core.finding import Finding
from certify.core.group_columns import columns_digest
from certify.core.statistics.proportions import PairedTable

ENTRIES = ("both", "only_candidate", "only_baseline", "neither")


def judge_findings(records: Records, edition: SocialEdition) -> tuple[Finding, ...]:
    """Run every check; a failed one refuses the statement."""
    return tuple(_finding(name, check, records, edition) for name, check in CHECKS.items())


Check = Callable[[Records, SocialEdition], "Iterator[str]"]


def _finding(name: str, check: tuple[Check, str], records: Records, edition: SocialEdition) -> Finding:
    problems = list(check[0](records, edition))
    if problems:
        more = f" ({len(problems) - 1} more)" if len(problems) > 1 else ""
        return Finding(name, "fail", f"{problems[0]}{more}.")
    return Finding(name, "pass", check[1])


def _cells_known(records: Records, edition: SocialEdition) -> Iterator[str]:
    """Every group of every attribute has exactly one record per label, and there are no other records."""
    wanted = {
        (attribute.name, group, label)
        for attribute in records.header.attributes
        for group in attribute.groups
        for label in _labels(records)
    }
    rows = [(row.attribute, row.group, row.label) for row in (*records.cells, *records.of(HeldBack))]
    if len(rows) != len(set(rows)):
        yield "A cell appears twice in the records"
    if missing := wanted - set(rows):
        yield f"{_cell_name(*sorted(missing, key=str)[0])} has no record"
    if extra := set(rows) - wanted:
        yield f"{_cell_name(*sorted(extra, key=str)[0])} belongs to no attribute"
    if len(records.cells) > edition.most_cells:
        yield f"{len(records.cells)} cells are published, but the maximum is {edition.most_cells}"
    if {total.label for total in records.of(Total)} != set(_labels(records)) or len(records.of(Total)) != len(
        _labels(records)
    ):
        yield "There must be exactly one total per label"


def _cells_add_up(records: Records, edition: SocialEdition) -> Iterator[str]:
    totals = {total.label: total.table for total in records.of(Total)}
    for attribute in records.header.attributes:
        for label in _labels(records):
            cells = {c.group: c.table for c in records.cells if (c.attribute, c.label) == (attribute.name, label)}
            # Groups of a single column partition the samples, so their cells add up to the total.
            if len(attribute.columns) == 1:
                if label in totals and summed(list(cells.values())) != totals[label]:
                    yield f"The cells of {attribute.name}{_of(label)} do not add up to the total"
                continue
            for name, members, whole in _lines(records, attribute, label):
                published = summed([cells[group] for group in members if group in cells])
                withheld = any(group not in cells for group in members)
                rest = [getattr(whole, entry) - getattr(published, entry) for entry in ENTRIES]
                # The cells must add up to the line or, if some are withheld, not exceed it.
                if min(rest) < 0 or (not withheld and any(rest)):
                    yield f"The cells of {attribute.name} do not add up to {name}{_of(label)}"


def _samples_agree(records: Records, edition: SocialEdition) -> Iterator[str]:
    n, whole = records.header.data.samples, summed([total.table for total in records.of(Total)])
    if whole.n != n:
        yield f"The totals have {whole.n} samples, but {n} were scored"
    counted = {
        **{f"scores by {row.score}": row.n for row in records.of(Calibration)},
        **{f"confidences of the {row.arm}": sum(row.n) for row in records.of(Reliability)},
        **{f"exchanges of {row.attribute}": row.table.n for row in records.of(Flips)},
        **{f"answers by {row.name}": row.table.n for row in records.of(MetricCounts)},
    }
    for by in {row.by for row in records.of(Turned)}:
        counted[f"answers by {by}"] = sum(row.n for row in records.of(Turned) if row.by == by)
    for what, found in counted.items():
        if found != n:
            yield f"{n} samples were scored, but the records have {found} {what}"
    for row in records.of(Turned):
        if row.turned > row.n:
            yield f"More answers changed than exist, by {row.by}"
    turned = sum(row.turned for row in records.of(Turned) if row.by == "margin")
    # Every answer that became correct or wrong has changed, but an answer may also change from wrong to wrong.
    if any(row.by == "margin" for row in records.of(Turned)) and turned < whole.only_baseline + whole.only_candidate:
        yield f"{turned} answers changed, fewer than became correct or wrong"
    # For a model measured alone, both arms hold the same answers.
    if not records.compares and (whole.only_baseline or whole.only_candidate):
        yield "A model measured alone differs from itself"


def _groups_cover(records: Records, edition: SocialEdition) -> Iterator[str]:
    n = records.header.data.samples
    for attribute in records.header.attributes:
        covered = 1 - attribute.missing / n if n else 0.0
        if covered < edition.least_covered:
            yield f"{covered:.1%} of samples have {attribute.name}; the minimum is {edition.least_covered:.0%}"


def _groups_before_results(records: Records, edition: SocialEdition) -> Iterator[str]:
    """The columns belong to the data: the certificate binds their digests to that of the test split."""
    data = records.header.data
    if columns_digest(data.test_digest, data.columns) != data.columns_digest:
        yield "The digest over the group columns does not follow from their digests and that of the test split"
    for attribute in records.header.attributes:
        for column in attribute.columns:
            if column not in data.columns:
                yield f"The column {column} does not belong to the data, so it may have been chosen after the results"


def _tables_anonymous(records: Records, edition: SocialEdition) -> Iterator[str]:
    """The published tables have p-sensitive k-anonymity."""
    of_label = {attribute.name: attribute.of_label for attribute in records.header.attributes}
    for cell in records.cells:
        # An empty cell reveals nobody.
        if 0 < cell.table.n < edition.least_cell:
            name = _cell_name(cell.attribute, cell.group, cell.label)
            yield f"{name} has {cell.table.n} samples, fewer than {edition.least_cell}"
    for (attribute, group), labels in _labels_of_groups(records).items():
        if labels < edition.least_labels and not of_label.get(attribute, False):
            yield f"Every sample of {attribute}={group} has the same label, so membership reveals the label"


def _labels_of_groups(records: Records) -> dict[tuple[str, str], int]:
    """Return the labels that occur in each group of a single column; a withheld one counts as occurring."""
    found: dict[tuple[str, str], int] = {}
    single = {attribute.name for attribute in records.header.attributes if len(attribute.columns) == 1}
    for cell in records.cells:
        if cell.attribute in single:
            key = (cell.attribute, cell.group)
            found[key] = found.get(key, 0) + (min(cell.labels, 1) if cell.label is not None else cell.labels)
    return found


def _totals_hide(records: Records, edition: SocialEdition) -> Iterator[str]:
    """Withheld cells do not follow from published ones."""
    for attribute in records.header.attributes:
        withheld = {(row.group, row.label) for row in records.of(HeldBack) if row.attribute == attribute.name}
        if withheld and len(attribute.columns) == 1:
            group, label = sorted(withheld, key=str)[0]
            # In a single column, the total minus the published cells is the withheld one.
            yield f"{_cell_name(attribute.name, group, label)} is withheld but follows from the total"
            continue
        for label in _labels(records):
            edges = [pair for group, pair in _pairs(records, attribute).items() if (group, label) in withheld]
            for edge in edges:
                if follows(edges, edge):
                    name = _cell_name(attribute.name, ", ".join(edge), label)
                    yield f"{name} is withheld but follows from the totals"
            for name, members, whole in _lines(records, attribute, label):
                cells = [c.table.n for c in records.cells if (c.attribute, c.label) == (attribute.name, label)
                         and c.group in members]  # fmt: skip
                rest = whole.n - sum(cells)
                # Several withheld cells together may still hold too few people.
                if any((group, label) in withheld for group in members) and rest < edition.least_cell:
                    yield f"{name}{_of(label)} withholds {rest} samples, fewer than {edition.least_cell}"


def _pairs(records: Records, attribute: Attribute) -> dict[str, tuple[str, str]]:
    """Return both groups that each crossed group represents."""
    single = {a.name: a.groups for a in records.header.attributes if len(a.columns) == 1}
    if len(attribute.columns) < 2 or not set(attribute.columns) <= set(single):
        return {}
    first, second = (single[column] for column in attribute.columns)
    pairs = [(a, b) for a in first for b in second]
    return dict(zip(attribute.groups, pairs, strict=False))


def _lines(records: Records, attribute: Attribute, label: int | None) -> Iterator[tuple[str, set[str], PairedTable]]:
    """Yield each group of both crossed columns: its name, its crossed groups, and its own table."""
    if len(attribute.columns) < 2:
        return
    pairs = _pairs(records, attribute)
    tables = {(c.attribute, c.group): c.table for c in records.cells if c.label == label}
    for side, column in enumerate(attribute.columns):
        for group in dict.fromkeys(pair[side] for pair in pairs.values()):
            if (column, group) in tables:
                members = {name for name, pair in pairs.items() if pair[side] == group}
                yield f"{column}={group}", members, tables[column, group]


def _labels(records: Records) -> tuple[int | None, ...]:
    return (0, 1) if records.header.decision == "binary" else (None,)


def _cell_name(attribute: str, group: str, label: int | None) -> str:
    return f"{attribute}={group}{_of(label)}"


def _of(label: int | None) -> str:
    return "" if label is None else f" with label {label}"


CHECKS: dict[str, tuple[Check, str]] = {
    "cells_known": (_cells_known, "Every group has one record per label."),
    "cells_add_up": (_cells_add_up, "The cells of every attribute add up to the paired tables of all samples."),
    "samples_agree": (_samples_agree, "Every table covers the scored samples."),
    "groups_cover": (_groups_cover, "Nearly all samples have a value in every column."),
    "groups_before_results": (_groups_before_results, "The group columns belong to the scored data."),
    "tables_anonymous": (_tables_anonymous, "Every published cell has enough people, and every group several labels."),
    "totals_hide_cells": (_totals_hide, "No withheld cell follows from published ones."),
}
"""Checks by name, each with its sentence for a pass."""
