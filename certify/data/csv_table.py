"""Tables in CSV files: a header line and rows, with the line of each row for errors."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from certify.core.errors import DataError, UsageError
from certify.core.text import clean

ENCODING = "utf-8-sig"
"""UTF-8, with or without the byte order mark that spreadsheets write."""
LONGEST_SHOWN = 40


@dataclass(frozen=True)
class Table:
    """A table as read, every value as text.

    Attributes:
        path: path of the file.
        columns: names in the header.
        rows: values of each row, as many as columns.
        lines: number of the line on which each row begins.
    """

    path: Path
    columns: list[str]
    rows: list[list[str]]
    lines: list[int]

    def at(self, row: int) -> str:
        """Return the place of a row, for errors."""
        return f"{self.path}, line {self.lines[row]}"


def read_table(path: Path, delimiter: str = ",", encoding: str = ENCODING) -> Table:
    """Read a CSV file with a header line; empty lines are skipped.

    Raises:
        DataError: the file cannot be read, is empty or not text, has an unclosed quote or a very long value, or a row
            has a different number of values than the header.
        UsageError: the encoding is unknown.
    """
    reader = csv.reader(io.StringIO(_text(path, encoding), newline=""), delimiter=delimiter, strict=True)
    rows: list[list[str]] = []
    lines: list[int] = []
    end = 0
    try:
        for row in reader:
            if row:
                rows.append(row)
                lines.append(end + 1)
            end = reader.line_num
    except csv.Error as error:
        raise DataError(
            f"{path}, line {end + 1}: cannot be read as CSV ({error}); close every quote, and double quotes in values."
        ) from error
    if not rows:
        raise DataError(f"{path} is empty; its first line must name the columns.")
    table = Table(path, [name.strip() for name in rows[0]], rows[1:], lines[1:])
    if not table.rows:
        raise DataError(f"{path} has a header but no rows.")
    for number, values in enumerate(table.rows):
        if len(values) != len(table.columns):
            raise DataError(
                f"{table.at(number)}: has {len(values)} values, but the header names {len(table.columns)} columns."
            )
    return table


def _text(path: Path, encoding: str) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise DataError(f"{path}: file not found.") from error
    except OSError as error:
        raise DataError(f"{path} cannot be read as a CSV file ({error.strerror}).") from error
    shown = "UTF-8" if encoding == ENCODING else encoding
    try:
        text = content.decode(encoding)
    except LookupError as error:
        raise UsageError(
            f"The encoding '{clean(encoding)[:LONGEST_SHOWN]}' is unknown; use one like cp1252."
        ) from error
    except UnicodeError as error:
        line = content[: getattr(error, "start", 0)].count(b"\n") + 1
        raise DataError(
            f"{path}, line {line}: is not text in {shown}; save the file as UTF-8, or state its encoding."
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise DataError(
            f"{path}, line {line}: holds a NUL byte, so it is not text in {shown}; save the file as UTF-8, or state "
            "its encoding."
        )
    return text
