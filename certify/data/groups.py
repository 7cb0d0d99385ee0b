"""Columns of groups: what people or things a sample is of, beside what models are fed with.

In npz files a column is an array named ``group_NAME``; beside images, a column of ``metadata.csv``; in Python, an entry
of ``groups``. A column holds texts, integers or booleans, one a sample; an empty text is a value that is not stated.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from certify.core.errors import DataError
from certify.core.text import clean

GROUP = "group_"
"""How the name of an array with a column of groups begins."""
METADATA_NAME = "metadata.csv"
FILE_COLUMN = "file_name"
MOST_GROUPS = 64
LONGEST_VALUE, LONGEST_NAME = 80, 60
UNFIT = (",", ":")
"""What the name of a column may not hold, as ``--groups`` is written with it."""


def read_groups(given: Mapping[str, Any], samples: int, where: str) -> dict[str, npt.NDArray[np.str_]]:
    """Check columns of groups and bring them to texts.

    Args:
        given: columns by name, each (n,).
        samples: n.
        where: what an error names, such as the file.

    Raises:
        DataError: a column of another length, of floats or objects, with several groups a sample, or with more groups
            than can be compared.

    Example:
        >>> read_groups({"sex": ["f", "m"], "minor": [False, True]}, 2, "here")["minor"].tolist()
        ['False', 'True']
    """
    found = {}
    for name, column in given.items():
        values = np.asarray(column)
        if not name or len(name) > LONGEST_NAME or any(sign in name for sign in UNFIT) or name != clean(name):
            raise DataError(f"{where}: a column of groups can't be called {clean(name)[:80]!r}; give it a plain name.")
        if values.ndim == 2 and values.shape[1] > 1:
            raise DataError(
                f"{where}: the groups of '{name}' overlap ({values.shape[1]} a sample); give one group a sample, or a "
                "column for each group."
            )
        if values.shape != (samples,):
            raise DataError(f"{where}: the column '{name}' has shape {values.shape}; give {samples} groups.")
        if values.dtype.kind not in "Uiub":
            raise DataError(f"{where}: the column '{name}' holds {values.dtype}; give texts, integers or booleans.")
        texts = np.char.strip(values.astype(np.str_))
        groups = sorted(set(texts.tolist()))
        if len(groups) > MOST_GROUPS:
            raise DataError(
                f"{where}: the column '{name}' has {len(groups)} different values; give at most {MOST_GROUPS} groups, "
                "such as ranges of age."
            )
        if unfit := [one for one in groups if len(one) > LONGEST_VALUE or one != clean(one)]:
            raise DataError(f"{where}: the column '{name}' holds {clean(unfit[0])[:40]!r}..., which is no plain name.")
        found[name] = texts
    return found


def metadata_groups(folder: Path, paths: Sequence[Path]) -> dict[str, npt.NDArray[np.str_]]:
    """Read ``metadata.csv`` of a folder of images, as Hugging Face's ``imagefolder`` has it.

    Args:
        folder: of one part of the data.
        paths: images in it.

    Returns:
        Columns by name, empty texts for images that the file does not name; nothing where there is no such file.

    Raises:
        DataError: the file can't be read, has no column ``file_name``, or names an image twice or an absent one.
    """
    path = folder / METADATA_NAME
    if not path.is_file():
        return {}
    columns, rows = read_table(path)
    if FILE_COLUMN not in columns or len(columns) < 2:
        raise DataError(f"{path}: its first line should name the column {FILE_COLUMN} and at least one of groups.")
    place = columns.index(FILE_COLUMN)
    known = {one.relative_to(folder).as_posix(): number for number, one in enumerate(paths)}
    values = np.full((len(paths), len(columns)), "", dtype=f"U{LONGEST_VALUE + 1}")
    named: set[str] = set()
    for row in rows:
        name = row[place]
        if name not in known:
            raise DataError(f"{path}: names the image '{clean(name)}', which is not in {folder}.")
        if name in named:
            raise DataError(f"{path}: names the image '{clean(name)}' twice, so its groups overlap; give it one line.")
        named.add(name)
        values[known[name]] = row
    given = {name: values[:, i] for i, name in enumerate(columns) if i != place}
    return read_groups(given, len(paths), str(path))


def read_table(path: Path, delimiter: str = ",") -> tuple[list[str], list[list[str]]]:
    """Read a CSV file with a first line of names.

    Raises:
        DataError: it can't be read, is empty, or a line has more or fewer values than the first.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            lines = [line for line in csv.reader(stream, delimiter=delimiter) if line]
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: can't be read as a CSV file ({error}).") from error
    if len(lines) < 2:
        raise DataError(f"{path}: holds no lines behind its first, which names the columns.")
    head, *rows = lines
    for number, row in enumerate(rows, start=2):
        if len(row) != len(head):
            raise DataError(f"{path}: row {number} has {len(row)} values and the first {len(head)} names.")
    return [name.strip() for name in head], rows
