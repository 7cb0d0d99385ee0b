"""Columns of a CSV file as inputs: numbers stay numbers, text is one-hot encoded, and anything ambiguous is refused."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from certify.core.errors import DataError, UsageError
from certify.core.suggest import unknown_name
from certify.core.text import clean
from certify.data.csv_spec import CsvSpec
from certify.data.csv_table import Table

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
CODE = re.compile(r"[+-]?0\d", re.ASCII)
"""Start of a code such as a postcode, which a leading zero distinguishes from a number."""
MOST_CATEGORIES = 64
"""Maximum number of categories of a text column that need not be stated; more would be names or free text."""
LONGEST_SHOWN = 40
Stated = tuple[str, ...] | None
LARGEST = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Column:
    """One input column.

    Attributes:
        name: name in the header.
        categories: values of a one-hot column, in order; None for numbers.
        offset: number that is subtracted from numbers.
        scale: divisor applied afterwards.
    """

    name: str
    categories: tuple[str, ...] | None = None
    offset: float = 0.0
    scale: float = 1.0

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the inputs that the column becomes."""
        return (self.name,) if self.categories is None else tuple(f"{self.name}={one}" for one in self.categories)


def is_number(text: str) -> bool:
    """Return whether a value is a decimal number.

    Example:
        >>> [is_number(one) for one in ("-1.5e3", "0.5", "007", "1,5", "nan")]
        [True, True, False, False, False]
    """
    return NUMBER.fullmatch(text) is not None and CODE.match(text) is None


def named(given: str, table: Table) -> tuple[str, tuple[str, ...]]:
    """Return the column that a specification names, and the values that it states as ``COLUMN:A|B``.

    Raises:
        UsageError: there is no such column, or a value is stated twice.
    """
    name, _, values = (given, "", "") if given in table.columns else given.partition(":")
    if name not in table.columns:
        raise unknown_name(f"column of {table.path}", name, table.columns, "The first line must name the columns.")
    stated = tuple(one.strip() for one in values.split("|")) if values else ()
    if len(set(stated)) < len(stated) or "" in stated:
        raise UsageError(f"The values of column '{name}' must each be stated once, got '{values}'.")
    return name, stated


def require_header(table: Table) -> None:
    """Check the names of the columns.

    Raises:
        DataError: a name is missing or occurs twice, all names are numbers, or there is only one.
    """
    if len(table.columns) == 1:
        raise DataError(
            f"{table.path}: the first line names a single column, {_shown(table.columns[0])}; if its values are not "
            "separated by commas, add delimiter=semicolon or delimiter=tab."
        )
    for number, name in enumerate(table.columns, start=1):
        if not name:
            raise DataError(f"{table.path}: column {number} has no name; the first line must name every column.")
        if name in table.columns[: number - 1]:
            raise DataError(f"{table.path}: two columns are named '{clean(name)}'; rename or remove one.")
    if all(map(is_number, table.columns)):
        raise DataError(f"{table.path}: the first line holds numbers; add a first line that names the columns.")


def column_values(table: Table, name: str, is_input: bool = False) -> list[str]:
    """Return the values of a column, stripped of surrounding spaces.

    Args:
        table: the table.
        name: the column.
        is_input: whether the column is an input, so that an error may suggest dropping it.

    Raises:
        DataError: a value is missing.
    """
    place = table.columns.index(name)
    values = [row[place].strip() for row in table.rows]
    absent = [row for row, value in enumerate(values) if not value]
    if absent:
        more = f", the first of {len(absent)} such rows" if len(absent) > 1 else ""
        advice = f"fill it in, remove the row, or add drop={name}" if is_input else "fill it in, or remove the row"
        raise DataError(f"{table.at(absent[0])}: has no value in column '{name}'{more}; {advice}.")
    return values


def read_columns(spec: CsvSpec, tables: Sequence[Table]) -> list[Column]:
    """Return the input columns in the order of the header.

    Args:
        spec: what each column is.
        tables: tables with the same columns; the first one determines categories that are not stated.

    Raises:
        DataError: a column is neither all numbers nor text with few values, or no input is left.
        UsageError: a column does not exist or has two roles.
    """
    first = tables[0]
    texts = dict(named(one, first) for one in spec.texts)
    numbers = dict(named(one, first) for one in spec.numbers)
    dropped = {named(one, first)[0] for one in spec.dropped}
    used = {named(one, first)[0] for one in (spec.label or spec.target, spec.split) if one}
    for name in first.columns:
        if (name in texts) + (name in numbers) + (name in dropped) + (name in used) > 1:
            raise UsageError(f"Column '{name}' of {first.path} has two roles; name it once.")
    groups = {named(one, first)[0] for one in spec.groups} - {*texts, *numbers}
    inputs = [name for name in first.columns if name not in {*groups, *dropped, *used}]
    if not inputs:
        raise DataError(f"{first.path}: no input column is left; drop fewer columns.")
    return [_column(name, tables, texts.get(name), numbers.get(name), spec) for name in inputs]


def _column(name: str, tables: Sequence[Table], text: Stated, number: Stated, spec: CsvSpec) -> Column:
    """Return a column; ``text`` and ``number`` hold the values stated with that kind, and are None for another kind."""
    places = [(one, row, value) for one in tables for row, value in enumerate(column_values(one, name, True))]
    if text is None:
        words = [(table, row, value) for table, row, value in places if not is_number(value)]
        if not words:
            return Column(name) if not number else _scaled(name, number)
        if number is not None or len(words) < len(places):
            table, row, value = words[0]
            raise DataError(
                f"{table.at(row)}: column '{name}' holds numbers, but this row has {_shown(value)}; correct it, "
                f"or encode the column with text={name}."
            )
    return Column(name, text or _collected(name, tables, text is not None, spec))


def _scaled(name: str, stated: tuple[str, ...]) -> Column:
    if len(stated) != 2 or not all(map(is_number, stated)) or not 0 < float(stated[1]) < LARGEST:
        raise UsageError(
            f"Numbers of column '{name}' are scaled by number={name}:OFFSET|SCALE with a scale above 0, got "
            f"'{'|'.join(stated)}'."
        )
    return Column(name, None, float(stated[0]), float(stated[1]))


def _collected(name: str, tables: Sequence[Table], stated: bool, spec: CsvSpec) -> tuple[str, ...]:
    if not {"", "train"} & set(spec.files):
        raise DataError(
            f"{tables[0].path}: a test part alone does not contain every category of column '{name}'; state them as "
            f"text={name}:A|B."
        )
    found = sorted(set(column_values(tables[0], name)))
    if len(found) > MOST_CATEGORIES and not stated:
        raise DataError(
            f"{tables[0].path}: column '{name}' holds text with {len(found)} different values such as "
            f"{_shown(found[0])}; leave it out with drop={name}, or encode it with text={name}."
        )
    return tuple(found)


def encoded(columns: Sequence[Column], table: Table) -> npt.NDArray[np.float32]:
    """Return the inputs of all rows, (n, features).

    Raises:
        DataError: a value is not among a column's categories, or a number is too large.
    """
    return np.concatenate([_encoded(one, table) for one in columns], axis=1)


def _encoded(column: Column, table: Table) -> npt.NDArray[np.float32]:
    values = column_values(table, column.name)
    if column.categories is None:
        numbers = np.array([float(one) for one in values], dtype=np.float64)
        numbers = (numbers - column.offset) / column.scale
        for row in np.flatnonzero(~(np.abs(numbers) <= LARGEST))[:1]:
            raise DataError(
                f"{table.at(row)}: {_shown(values[row])} in column '{column.name}' is too large; rescale it."
            )
        return numbers.astype(np.float32)[:, None]
    places = indices(values, column.categories, column.name, table, "text")
    return np.eye(len(column.categories), dtype=np.float32)[places]


def indices(values: Sequence[str], known: Sequence[str], name: str, table: Table, key: str) -> npt.NDArray[np.int64]:
    """Return the index of each value among the known ones, (n,).

    Raises:
        DataError: a value is not known; the message says how to state all with the specification's ``key``.
    """
    place: Mapping[str, int] = {one: number for number, one in enumerate(known)}
    for row, value in enumerate(values):
        if value not in place:
            raise DataError(
                f"{table.at(row)}: column '{name}' holds {_shown(value)}, which is neither in the training file nor "
                f"stated; state all values as {key}={name}:A|B."
            )
    return np.array([place[value] for value in values], dtype=np.int64)


def _shown(value: str) -> str:
    return repr(clean(value)[:LONGEST_SHOWN])


def described(columns: Sequence[Column]) -> Iterator[str]:
    """Yield a description of the columns of each kind."""
    numbers = [one.name for one in columns if one.categories is None]
    if numbers:
        yield f"numbers: {', '.join(numbers)}"
    texts = [f"{one.name} ({len(one.categories)} values)" for one in columns if one.categories is not None]
    if texts:
        yield f"one-hot: {', '.join(texts)}"
