"""Group columns: the people or things that each sample belongs to; they are not inputs of models.

In npz files a column is an array named ``group_NAME``; in CSV files, a column named by ``group=``; next to images, a
column of ``metadata.csv``; in Python, an entry of ``groups``. A column holds strings, integers or booleans, one per
sample; an empty string means "not stated".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from certify.core.errors import DataError
from certify.core.text import clean
from certify.data.csv_table import read_table

GROUP = "group_"
"""Prefix of the names of arrays that hold group columns."""
METADATA_NAME = "metadata.csv"
FILE_COLUMN = "file_name"
MOST_GROUPS = 64
LONGEST_VALUE, LONGEST_NAME = 80, 60
UNFIT = (",", ":")
"""Characters that the name of a column may not contain, since ``--groups`` uses them as separators."""


def read_groups(columns: Mapping[str, Any], samples: int, where: str) -> dict[str, npt.NDArray[np.str_]]:
    """Check group columns and convert them to strings.

    Args:
        columns: columns by name, each (n,).
        samples: number of samples n.
        where: name used in errors, such as the file.

    Raises:
        DataError: a column has another length, holds floats or objects, has several groups per sample, or has more
            groups than can be compared.

    Example:
        >>> read_groups({"sex": ["f", "m"], "minor": [False, True]}, 2, "here")["minor"].tolist()
        ['False', 'True']
    """
    found = {}
    for name, column in columns.items():
        values = np.asarray(column)
        if not name or len(name) > LONGEST_NAME or any(sign in name for sign in UNFIT) or name != clean(name):
            # A name must equal its cleaned form, because control characters and bidirectional marks are invisible.
            raise DataError(f"{where}: {clean(name)[:80]!r} is not a valid name of a group column; use a plain name.")
        # Overlapping groups often have one column per group; the assessment cannot publish such groups.
        if values.ndim == 2 and values.shape[1] > 1:
            raise DataError(
                f"{where}: the groups of '{name}' overlap ({values.shape[1]} per sample); give one group per sample, "
                "or one column for each group."
            )
        if values.shape != (samples,):
            raise DataError(f"{where}: the group column '{name}' must have shape ({samples},), got {values.shape}.")
        if values.dtype.kind not in "Uiub":
            raise DataError(
                f"{where}: the group column '{name}' must hold strings, integers or booleans, got {values.dtype}."
            )
        texts = np.char.strip(values.astype(np.str_))
        groups = sorted(set(texts.tolist()))
        if len(groups) > MOST_GROUPS:
            raise DataError(
                f"{where}: the group column '{name}' must have at most {MOST_GROUPS} groups, got {len(groups)}; merge "
                "some, for example ages into ranges."
            )
        if unfit := [group for group in groups if len(group) > LONGEST_VALUE or group != clean(group)]:
            raise DataError(
                f"{where}: the group column '{name}' holds {clean(unfit[0])[:40]!r}..., which is not a plain name; "
                "shorten it."
            )
        found[name] = texts
    return found


def metadata_groups(folder: Path, paths: Sequence[Path]) -> dict[str, npt.NDArray[np.str_]]:
    """Read the ``metadata.csv`` of a folder of images, in the format of Hugging Face's ``imagefolder``.

    Args:
        folder: folder of one part of the data.
        paths: images in it.

    Returns:
        Columns by name, with empty strings for images that the file does not list; an empty dict if there is no file.

    Raises:
        DataError: the file cannot be read, has no column ``file_name``, or lists an image twice or one that does not
            exist.
    """
    path = folder / METADATA_NAME
    if not path.is_file():
        return {}
    table = read_table(path)
    columns = table.columns
    if FILE_COLUMN not in columns or len(columns) < 2:
        raise DataError(f"{path}: the header must name the column {FILE_COLUMN} and at least one group column.")
    place = columns.index(FILE_COLUMN)
    known = {path.relative_to(folder).as_posix(): number for number, path in enumerate(paths)}
    # One character longer than allowed, so that a longer value is noticed instead of cut.
    values = np.full((len(paths), len(columns)), "", dtype=f"U{LONGEST_VALUE + 1}")
    named: set[str] = set()
    for row in table.rows:
        name = row[place]
        if name not in known:
            raise DataError(
                f"{path}: lists the image '{clean(name)}', which is not in {folder}; correct the name or remove the "
                "line."
            )
        if name in named:
            raise DataError(f"{path}: lists the image '{clean(name)}' twice, so its groups overlap; keep one line.")
        named.add(name)
        values[known[name]] = row
    columns_by_name = {name: values[:, i] for i, name in enumerate(columns) if i != place}
    return read_groups(columns_by_name, len(paths), str(path))
