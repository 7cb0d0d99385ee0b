"""Specification of tables in CSV files: which files, and what each column is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from certify.core.errors import UsageError
from certify.core.suggest import unknown_name
from certify.data.arrays import PARTS
from certify.data.csv_table import ENCODING

ONCE = ("label", "target", "split", "fractions", "seed", "encoding", "delimiter")
OFTEN = ("group", "text", "number", "drop")
KEYS = (*PARTS, *ONCE, *OFTEN)
FORM = "Write csv:PATH,label=COLUMN, or csv:train=A.csv,test=B.csv,label=COLUMN."
DELIMITERS = {"tab": "\t", "comma": ",", "semicolon": ";"}
WHOLE = 100


@dataclass(frozen=True)
class CsvSpec:
    """Files and columns that a specification names.

    Attributes:
        files: path of each part; a single file has an empty key.
        label: column of the classes, possibly with all of them as ``COLUMN:A|B``; empty with ``target``.
        target: column of the numbers to predict; empty with ``label``.
        groups: group columns, which are not inputs unless they are also named in ``texts`` or ``numbers``.
        texts: one-hot columns, possibly with all categories as ``COLUMN:A|B``.
        numbers: numeric columns, possibly with constants as ``COLUMN:OFFSET|SCALE``.
        dropped: columns that are left out of the inputs.
        split: column that names the part of each row; empty without one.
        fractions: percentages of train, validation and test of a single file.
        seed: seed of the test part of a single file; None for the default test part, the same for everybody.
        encoding: encoding of the files.
        delimiter: character between values.
    """

    files: Mapping[str, Path]
    label: str = ""
    target: str = ""
    groups: tuple[str, ...] = ()
    texts: tuple[str, ...] = ()
    numbers: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    split: str = ""
    fractions: tuple[int, int, int] | None = None
    seed: int | None = None
    encoding: str = ENCODING
    delimiter: str = ","


def csv_files(rest: str) -> list[Path]:
    """Return the files that the part after ``csv:`` names.

    Example:
        >>> csv_files("train=a.csv,test=b.csv,label=income")
        [PosixPath('a.csv'), PosixPath('b.csv')]
    """
    return [Path(value).expanduser() for key, value in _items(rest) if key in ("", *PARTS) and value]


def parse_csv_spec(rest: str) -> CsvSpec:
    """Read the part after ``csv:``.

    Raises:
        UsageError: a key is unknown, has no value or is given twice, the label is missing, or keys conflict.

    Example:
        >>> parse_csv_spec("people.csv,label=income,group=sex,text=job:clerk|cook").texts
        ('job:clerk|cook',)
    """
    once: dict[str, str] = {}
    often: dict[str, list[str]] = {key: [] for key in OFTEN}
    for key, value in _items(rest):
        if found := re.search(r",\s*(\w+)=", value):
            raise unknown_name("key of csv data", found[1], KEYS, FORM)
        if not value:
            raise UsageError(f"Data 'csv:{rest}': {key or 'the path'} has no value. {FORM}")
        if key in OFTEN:
            often[key].append(value)
        elif PARTS.get(key, key) in once:
            raise UsageError(f"Data 'csv:{rest}': {key} is given twice; give it once.")
        else:
            once[PARTS.get(key, key)] = value
    files = {part: Path(once[part]).expanduser() for part in ("", *PARTS.values()) if part in once}
    _require_sense(rest, files, once)
    return CsvSpec(
        files=files,
        label=once.get("label", ""),
        target=once.get("target", ""),
        groups=tuple(often["group"]),
        texts=tuple(often["text"]),
        numbers=tuple(often["number"]),
        dropped=tuple(often["drop"]),
        split=once.get("split", ""),
        fractions=None if "fractions" not in once else _fractions(once["fractions"]),
        seed=None if "seed" not in once else _seed(once["seed"]),
        encoding=once.get("encoding", ENCODING),
        delimiter=_delimiter(once.get("delimiter", ",")),
    )


def _items(rest: str) -> list[tuple[str, str]]:
    """Return keys and values in order; the path alone has an empty key. Commas in a value stay in it."""
    items = re.split(rf",(?=(?:{'|'.join(KEYS)})=)", rest)
    pairs = [one.partition("=") for one in items]
    return [
        (key, value) if sign and key in KEYS else ("", one)
        for one, (key, sign, value) in zip(items, pairs, strict=True)
    ]


def _require_sense(rest: str, files: Mapping[str, Path], once: Mapping[str, str]) -> None:
    where = f"Data 'csv:{rest}'"
    if not files or ("" in files and len(files) > 1):
        raise UsageError(f"{where} must name one file, or one file for each part. {FORM}")
    if "" not in files and "test" not in files:
        raise UsageError(f"{where} have no test part; add test=FILE.csv.")
    if ("label" in once) == ("target" in once):
        raise UsageError(
            f"{where} must name the column to predict: label=COLUMN for classes, or target=COLUMN for numbers."
        )
    if "" not in files and (clash := next((key for key in ("split", "fractions", "seed") if key in once), None)):
        raise UsageError(f"{where}: {clash} divides a single file, but each part has its own; drop one of the two.")
    if "split" in once and (clash := next((key for key in ("fractions", "seed") if key in once), None)):
        raise UsageError(f"{where}: {clash} and split both divide the file; drop one of the two.")


def _fractions(text: str) -> tuple[int, int, int]:
    parts = text.split("/")
    numbers = tuple(int(one) for one in parts if one.isascii() and one.isdigit() and len(one) < 4)
    if len(parts) != 3 or len(numbers) != 3 or sum(numbers) != WHOLE or 0 in numbers:
        raise UsageError(
            f"The fractions of csv data must be three percentages above 0 that add up to 100, for train, validation "
            f"and test, such as 60/10/30; got '{text}'."
        )
    return numbers


def _seed(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise UsageError(f"The seed of csv data must be an integer of at least 0, got '{text}'.")
    return int(text)


def _delimiter(text: str) -> str:
    found = DELIMITERS.get(text, text)
    if len(found) != 1 or found in '"\r\n ':
        raise UsageError(f"The delimiter of csv data must be one character, comma, semicolon or tab; got '{text}'.")
    return found
