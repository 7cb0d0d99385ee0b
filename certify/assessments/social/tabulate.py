"""From answers and group columns to publishable tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from certify.assessments.social.anonymity import hold_back, merge_small
from certify.assessments.social.edition import SocialEdition
from certify.assessments.social.records import (
    NOT_STATED,
    Attribute,
    Cell,
    HeldBack,
    Kind,
    Record,
    Total,
)
from certify.core.errors import DataError
from certify.core.statistics.proportions import PairedTable
from certify.core.suggest import unknown_name

CROSS = ":"
"""Separator of the names of two crossed columns."""

Texts = npt.NDArray[np.str_]
Rights = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Answers:
    """Correctness of both models on each sample, (n,) each.

    Attributes:
        labels: true classes.
        baseline: whether the baseline was correct; the candidate's own if nothing is compared.
        candidate: whether the candidate was correct.
        kind: ``binary`` for two classes.
    """

    labels: npt.NDArray[np.int64]
    baseline: Rights
    candidate: Rights
    kind: Kind

    def table(self, members: Rights) -> PairedTable:
        """Return the paired table of some samples."""
        return PairedTable.from_correct(self.baseline[members], self.candidate[members])

    def strata(self) -> list[tuple[int | None, Rights]]:
        """Return the labels that divide cells, each with its samples."""
        if self.kind == "classes":
            return [(None, np.ones(len(self.labels), dtype=np.bool_))]
        return [(label, self.labels == label) for label in (0, 1)]


def parse_groups(text: str, known: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Parse ``sex,race,sex:race``: columns, or two crossed ones.

    Args:
        text: requested groups.
        known: columns of the data.

    Raises:
        UsageError: the data lack a column; the nearest name is suggested.
        DataError: nothing was requested, the data have no group columns, or more than two are crossed.

    Example:
        >>> parse_groups("sex,sex:race", ["race", "sex"])
        (('sex',), ('sex', 'race'), ('race',))
    """
    if not known:
        raise DataError(
            f"Groups '{text}': the data have no group columns; provide arrays named group_NAME in an npz file, a "
            "metadata.csv next to images, or 'groups' in Python."
        )
    combinations = [tuple(part.strip() for part in item.split(CROSS)) for item in text.split(",") if item.strip()]
    for column in (column for combination in combinations for column in combination):
        if column not in known:
            raise unknown_name("column of groups", column, known)
    if not combinations or any(
        len(combination) > 2 or len(set(combination)) < len(combination) for combination in combinations
    ):
        raise DataError(f"Groups '{text}': give columns separated by commas, or cross two different ones as sex:race.")
    # Crossed columns are also listed separately: their totals bound what withheld cells reveal.
    single = [(column,) for combination in combinations for column in combination]
    return tuple(dict.fromkeys([*combinations, *single]))


def tabulate(
    answers: Answers, columns: Mapping[str, Texts], combinations: Sequence[tuple[str, ...]], edition: SocialEdition
) -> tuple[tuple[Attribute, ...], tuple[Record, ...]]:
    """Count every group, and withhold what would reveal something about single people.

    Args:
        answers: answers of both models.
        columns: group of each sample by column, (n,) each; an empty string is not stated.
        combinations: columns, and pairs of crossed columns, from :func:`parse_groups`.
        edition: edition with the minimum number of people per cell.

    Raises:
        DataError: a column has only one group, or too few people for two groups.
    """
    named = {
        name: np.where(columns[name] == "", NOT_STATED, columns[name])
        for combination in combinations
        for name in combination
    }
    merged = {name: _merged(name, values, answers, edition) for name, values in named.items()}
    places = {name: _places(values, merged[name]) for name, values in named.items()}
    attributes: list[Attribute] = []
    cells: list[Cell] = []
    withheld: list[HeldBack] = []
    for combination in sorted(combinations, key=len):
        attribute = _attribute(combination, named, merged, answers.labels)
        attributes.append(attribute)
        for record in _cells(attribute, [places[name] for name in combination], answers, edition):
            (cells if isinstance(record, Cell) else withheld).append(record)  # type: ignore[arg-type]
    totals = [Total(**_counts(answers.table(members)), label=label) for label, members in answers.strata()]
    return tuple(attributes), (*totals, *cells, *withheld)


def _merged(name: str, values: Texts, answers: Answers, edition: SocialEdition) -> dict[str, tuple[str, ...]]:
    strata = [members for _, members in answers.strata()]
    found = sorted(set(values.tolist()))
    if len(found) < 2:
        raise DataError(
            f"Groups: every sample has '{found[0]}' in the column '{name}', but at least two groups are needed; choose "
            "another column."
        )
    sizes = {group: [int(np.sum(members & (values == group))) for members in strata] for group in found}
    merged = merge_small(sizes, edition.least_cell)
    if len(merged) < 2:
        people = {group: sum(by_label) for group, by_label in sizes.items()}
        least = min(people, key=lambda group: (people[group], group))
        noun = "sample" if people[least] == 1 else "samples"
        raise DataError(
            f"Groups: '{least}' in the column '{name}' has {people[least]} {noun}, so the column cannot form two "
            f"groups of at least {edition.least_cell} samples of each label; use more samples or another column."
        )
    return merged


def _places(values: Texts, merged: Mapping[str, Sequence[str]]) -> npt.NDArray[np.int64]:
    """Return the index of each sample's published group."""
    place = {value: number for number, group in enumerate(merged.values()) for value in group}
    return np.array([place[value] for value in values.tolist()], dtype=np.int64)


def _attribute(
    columns: tuple[str, ...],
    named: Mapping[str, Texts],
    merged: Mapping[str, Mapping[str, tuple[str, ...]]],
    labels: npt.NDArray[np.int64],
) -> Attribute:
    groups = [list(merged[name]) for name in columns]
    names = groups[0] if len(columns) == 1 else [f"{a}, {b}" for a in groups[0] for b in groups[1]]
    together = {group: values for name in columns for group, values in merged[name].items() if len(values) > 1}
    missing = np.any([named[name] == NOT_STATED for name in columns], axis=0)
    whole = [CROSS.join(pair) for pair in zip(*(named[name].tolist() for name in columns), strict=True)]
    pairs = set(zip(labels.tolist(), whole, strict=True))
    of_label = len(pairs) == len({label for label, _ in pairs})
    return Attribute(CROSS.join(columns), columns, tuple(names), together, int(missing.sum()), of_label)


def _cells(
    attribute: Attribute, places: Sequence[npt.NDArray[np.int64]], answers: Answers, edition: SocialEdition
) -> Iterator[Cell | HeldBack]:
    widths = [int(place.max()) + 1 for place in places]
    number = places[0] if len(places) == 1 else places[0] * widths[1] + places[1]
    for label, members in answers.strata():
        sizes = np.bincount(number[members], minlength=len(attribute.groups))
        withheld = np.zeros(len(sizes), dtype=np.bool_)
        if len(places) > 1:
            withheld = hold_back(sizes.reshape(widths), edition.least_cell).ravel()
        for place, group in enumerate(attribute.groups):
            if withheld[place]:
                yield HeldBack(attribute.name, group, label)
                continue
            inside = members & (number == place)
            labels = len(set(answers.labels[inside].tolist()))
            yield Cell(
                **_counts(answers.table(inside)), attribute=attribute.name, group=group, label=label, labels=labels
            )


def _counts(table: PairedTable) -> dict[str, int]:
    return {
        "both": table.both,
        "only_candidate": table.only_candidate,
        "only_baseline": table.only_baseline,
        "neither": table.neither,
    }
