"""Tables in CSV files: ``csv:people.csv,label=income,group=sex``.

The first line names the columns. Every column except the label, the groups, the split and those that are dropped is an
input, in the order of the header. A column of numbers stays as it is, unscaled; text becomes one-hot columns, one per
value. A column with both, text with many values, and missing values are refused; ``text=COLUMN``, ``number=COLUMN``
and ``drop=COLUMN`` say what a column is, and ``number=COLUMN:OFFSET|SCALE`` subtracts and divides. Groups may be
missing, and are inputs only if they are also named as text or number.

Categories and classes are read from the file with the training rows. ``text=COLUMN:A|B`` and ``label=COLUMN:A|B`` state
them instead, in this order; this is needed for a test file alone, or if they must not depend on the data.

A use policy identifies each row by the values of all columns, so it still applies if columns are used differently.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from certify.core.errors import DataError
from certify.core.progress import Progress
from certify.core.text import clean
from certify.data.arrays import PARTS, from_parts
from certify.data.columns import named_without
from certify.data.csv_columns import (
    Column,
    column_values,
    described,
    encoded,
    indices,
    is_number,
    named,
    read_columns,
    require_header,
)
from certify.data.csv_spec import CsvSpec, parse_csv_spec
from certify.data.csv_table import Table, read_table
from certify.data.dataset import Dataset, Split
from certify.data.groups import read_groups
from certify.data.named_arrays import ONLY, named_split
from certify.data.partition import CUT, cut

MOST_CLASSES, MOST_DIGITS = 1000, 20
Labels = npt.NDArray[np.int64] | npt.NDArray[np.float64]


class Rows:
    """Whole rows of a table, by which use policies identify records.

    Args:
        table: the table.
    """

    def __init__(self, table: Table) -> None:
        self._table = table

    def size(self, row: int) -> tuple[int, ...]:
        """Return (columns,)."""
        return (len(self._table.columns),)

    def place(self, row: int) -> str:
        """Return file and line."""
        return f"{self._table.path.name}, line {self._table.lines[row]}"

    def digest(self, row: int) -> str:
        """Return the hex SHA-256 over names and values, sorted by name."""
        digest = hashlib.sha256(b"csv row")
        for pair in sorted(zip(self._table.columns, self._table.rows[row], strict=True)):
            for text in pair:
                content = text.strip().encode()
                digest.update(f" {len(content)} ".encode() + content)
        return digest.hexdigest()


@dataclass(frozen=True)
class Form:
    """How rows become samples.

    Attributes:
        columns: input columns.
        goal: column of classes or numbers to predict.
        classes: names of the classes; None for numbers to predict.
        groups: group columns.
    """

    columns: Sequence[Column]
    goal: str
    classes: tuple[str, ...] | None
    groups: Sequence[str]

    def split(self, table: Table) -> Split:
        """Return all rows of a table as a split.

        Raises:
            DataError: a value is missing, or does not fit its column.
        """
        features = tuple(name for one in self.columns for name in one.features)
        split = named_split({ONLY: encoded(self.columns, table)}, self._labels(table), str(table.path), features)
        split = split.of_records(Split(Rows(table), np.zeros(len(table.rows), dtype=np.int64)))
        values = {name: [row[table.columns.index(name)] for row in table.rows] for name in self.groups}
        return split.grouped(read_groups(values, len(table.rows), str(table.path))) if values else split

    def _labels(self, table: Table) -> Labels:
        values = column_values(table, self.goal)
        if self.classes is not None:
            return indices(values, self.classes, self.goal, table, "label")
        for row, value in enumerate(values):
            if not is_number(value):
                raise DataError(
                    f"{table.at(row)}: the target '{self.goal}' must be a number, got {clean(value)[:40]!r}."
                )
        return np.array([float(one) for one in values], dtype=np.float64)


def load_csv(rest: str, spec: str, seed: int, progress: Progress) -> Dataset:
    """Load ``csv:PATH,label=COLUMN`` or ``csv:train=A.csv,test=B.csv,label=COLUMN``; see the module's description.

    A single file is split by ``split=COLUMN``, whose values are train, validation (or val), calibration and test, or
    at random by ``fractions=60/10/30``. As for npz files the test part does not depend on the job's seed; ``seed=N``
    draws another one.

    Raises:
        DataError: a file is missing or malformed, or a value is missing or ambiguous; the message names file and line.
        UsageError: the specification is malformed, or names a column that does not exist.
    """
    form_spec = parse_csv_spec(rest)
    tables = {part: read_table(path, form_spec.delimiter, form_spec.encoding) for part, path in form_spec.files.items()}
    ordered = [tables[part] for part in sorted(tables, key=lambda part: part not in ("", "train"))]
    for one in ordered:
        require_header(one)
        _require_columns(one, ordered[0])
    form = _form(form_spec, ordered)
    progress.say(f"{ordered[0].path.name}: {'; '.join(described(form.columns))}.")
    splits = {part: form.split(table) for part, table in tables.items()}
    dropped = [named(one, ordered[0])[0] for one in form_spec.dropped]
    name = named_without(form_spec.files.get("", form_spec.files.get("test", ordered[0].path)).stem, dropped)
    if "" not in splits:
        return from_parts(name, spec, splits, form.classes, seed)
    if form_spec.split:
        return from_parts(name, spec, _by_column(splits[""], tables[""], form_spec.split), form.classes, seed)
    return from_parts(name, spec, _at_random(splits[""], form_spec, seed), form.classes, seed, CUT)


def _require_columns(table: Table, first: Table) -> None:
    """Check that two files have the same columns in the same order."""
    if table.columns != first.columns:
        other = sorted(set(table.columns) ^ set(first.columns))
        found = f"column '{clean(other[0])}' is only in one of them" if other else "their order differs"
        raise DataError(f"{table.path} and {first.path} must have the same columns, but {found}.")


def _form(given: CsvSpec, tables: Sequence[Table]) -> Form:
    goal, stated = named(given.label or given.target, tables[0])
    groups = [named(one, tables[0])[0] for one in given.groups]
    classes = None if given.target else stated or _classes(goal, tables[0], given)
    return Form(read_columns(given, tables), goal, classes, groups)


def _classes(goal: str, table: Table, given: CsvSpec) -> tuple[str, ...]:
    """Return the classes, sorted as numbers if all are integers, else alphabetically."""
    if not {"", "train"} & set(given.files):
        raise DataError(
            f"{table.path}: a test part alone does not contain every class of '{goal}'; state them as label={goal}:A|B."
        )
    values = column_values(table, goal)
    found = sorted(set(values))
    if len(found) > MOST_CLASSES or any(is_number(one) and not _is_integer(one) for one in found):
        raise DataError(
            f"{table.path}: the label '{goal}' holds {len(found)} different values such as {clean(found[-1])[:40]!r}; "
            f"name numbers to predict with target={goal}."
        )
    if len(found) < 2:
        raise DataError(f"{table.path}: the label '{goal}' holds a single class, {clean(found[0])[:40]!r}; give two.")
    return tuple(sorted(found, key=int)) if all(map(_is_integer, found)) else tuple(found)


def _is_integer(text: str) -> bool:
    return is_number(text) and len(text) < MOST_DIGITS and text.lstrip("+-").isdigit()


def _by_column(split: Split, table: Table, given: str) -> Mapping[str, Split]:
    name, _ = named(given, table)
    rows: dict[str, list[int]] = {}
    for row, value in enumerate(column_values(table, name)):
        if value not in PARTS:
            known = ", ".join(PARTS)
            raise DataError(f"{table.at(row)}: '{clean(value)[:40]}' in column '{name}' is not one of {known}.")
        rows.setdefault(PARTS[value], []).append(row)
    if "test" not in rows:
        raise DataError(
            f"{table.path}: no row is 'test' in column '{name}'; give the rows of the test part this value."
        )
    return {part: split.subset(found) for part, found in rows.items()}


def _at_random(split: Split, given: CsvSpec, seed: int) -> Mapping[str, Split]:
    if given.fractions is None and given.seed is None:
        return cut(split, seed)
    train, validation, test = given.fractions or (60, 10, 30)
    return cut(split, seed, test / 100, validation / (train + validation), given.seed)
