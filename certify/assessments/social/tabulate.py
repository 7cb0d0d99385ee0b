"""From answers and columns of groups to the tables that may be published."""

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
"""Between the names of two columns that are crossed."""

Texts = npt.NDArray[np.str_]
Rights = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Answers:
    """Whether both models were right on each sample, (n,) each.

    Attributes:
        labels: classes of the truth.
        baseline: whether the baseline was right; the candidate's own where nothing is compared.
        candidate: whether the candidate was right.
        kind: ``binary`` for two classes.
    """

    labels: npt.NDArray[np.int64]
    baseline: Rights
    candidate: Rights
    kind: Kind

    def table(self, members: Rights) -> PairedTable:
        """The paired table of some samples."""
        return PairedTable.from_correct(self.baseline[members], self.candidate[members])

    def strata(self) -> list[tuple[int | None, Rights]]:
        """The labels that cells are told apart by, each with its samples."""
        if self.kind == "classes":
            return [(None, np.ones(len(self.labels), dtype=np.bool_))]
        return [(label, self.labels == label) for label in (0, 1)]


def parse_groups(text: str, known: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Read ``sex,race,sex:race``: columns, or two that are crossed.

    Args:
        text: what was asked for.
        known: columns of the data.

    Raises:
        UsageError: a column that the data do not have; the nearest is named.
        DataError: nothing was asked for, or the data have no columns of groups; or more than two are crossed.

    Example:
        >>> parse_groups("sex,sex:race", ["race", "sex"])
        (('sex',), ('sex', 'race'), ('race',))
    """
    if not known:
        raise DataError(
            f"Groups '{text}': the data carry no columns of groups; give arrays named group_NAME in an npz file, a "
            "metadata.csv beside images, or 'groups' in Python."
        )
    asked = [tuple(part.strip() for part in one.split(CROSS)) for one in text.split(",") if one.strip()]
    for column in (column for one in asked for column in one):
        if column not in known:
            raise unknown_name("column of groups", column, known)
    if not asked or any(len(one) > 2 or len(set(one)) < len(one) for one in asked):
        raise DataError(f"Groups '{text}': write columns with commas between them, or two different ones as sex:race.")
    # What is crossed stands by itself too: its totals are what held-back cells are hidden from.
    single = [(column,) for one in asked for column in one]
    return tuple(dict.fromkeys([*asked, *single]))


def tabulate(
    answers: Answers, columns: Mapping[str, Texts], asked: Sequence[tuple[str, ...]], edition: SocialEdition
) -> tuple[tuple[Attribute, ...], tuple[Record, ...]]:
    """Count every group, and hold back what would say something about single people.

    Args:
        answers: of both models.
        columns: group of each sample by column, (n,) each; an empty text is not stated.
        asked: columns, and pairs of columns that are crossed, as :func:`parse_groups` gives them.
        edition: says how many people a cell must have.

    Raises:
        DataError: a column has one group only, or too few people for two groups.
    """
    named = {name: np.where(columns[name] == "", NOT_STATED, columns[name]) for one in asked for name in one}
    merged = {name: _merged(name, values, answers, edition) for name, values in named.items()}
    places = {name: _places(values, merged[name]) for name, values in named.items()}
    attributes: list[Attribute] = []
    cells: list[Cell] = []
    held: list[HeldBack] = []
    for one in sorted(asked, key=len):
        attribute = _attribute(one, named, merged, answers.labels)
        attributes.append(attribute)
        for record in _cells(attribute, [places[name] for name in one], answers, edition):
            (cells if isinstance(record, Cell) else held).append(record)  # type: ignore[arg-type]
    totals = [Total(**_counts(answers.table(members)), label=label) for label, members in answers.strata()]
    return tuple(attributes), (*totals, *cells, *held)


def _merged(name: str, values: Texts, answers: Answers, edition: SocialEdition) -> dict[str, tuple[str, ...]]:
    strata = [members for _, members in answers.strata()]
    found = sorted(set(values.tolist()))
    if len(found) < 2:
        raise DataError(
            f"Groups: every sample has '{found[0]}' in the column '{name}'; two groups at least are needed."
        )
    sizes = {one: [int(np.sum(members & (values == one))) for members in strata] for one in found}
    merged = merge_small(sizes, edition.least_cell)
    if len(merged) < 2:
        people = {one: sum(by_label) for one, by_label in sizes.items()}
        least = min(people, key=lambda one: (people[one], one))
        noun = "sample" if people[least] == 1 else "samples"
        raise DataError(
            f"Groups: '{least}' in the column '{name}' has {people[least]} {noun}, and two groups of at least "
            f"{edition.least_cell} samples of each label can't be made of the column; give more samples or another one."
        )
    return merged


def _places(values: Texts, merged: Mapping[str, Sequence[str]]) -> npt.NDArray[np.int64]:
    """Place of the published group of each sample."""
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
        held = np.zeros(len(sizes), dtype=np.bool_)
        if len(places) > 1:
            held = hold_back(sizes.reshape(widths), edition.least_cell).ravel()
        for place, group in enumerate(attribute.groups):
            if held[place]:
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
