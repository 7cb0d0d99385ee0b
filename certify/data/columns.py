"""Columns that a specification names or leaves out of the inputs, so that no model can read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from certify.core.errors import DataError
from certify.core.suggest import unknown_name

DROP = ",drop="
COLUMNS = ("features", "drop")
"""Keys of data given in Python: names of the columns of ``x``, and inputs that are left out."""


def drops(path: Path | str) -> tuple[Path, tuple[str, ...]]:
    """Return the path of a table, and the columns that its specification leaves out of the inputs.

    Example:
        >>> drops(Path("uci,drop=sex,drop=race"))
        (PosixPath('uci'), ('sex', 'race'))
    """
    place, *dropped = str(path).split(DROP)
    return Path(place), tuple(dropped)


def named_without(name: str, dropped: Sequence[str]) -> str:
    """Return the name of a data set, which says what was left out.

    Example:
        >>> named_without("adult", ["sex"])
        'adult without sex'
    """
    return f"{name} without {', '.join(dropped)}" if dropped else name


def remaining_columns(features: Sequence[str], dropped: Sequence[str], where: str) -> list[int]:
    """Return the indices of the columns that stay inputs.

    Args:
        features: column names, ``ATTRIBUTE=VALUE`` for one-hot columns.
        dropped: names of columns or attributes.
        where: name used in errors.

    Raises:
        DataError: no column stays.
        UsageError: a dropped column is not among the inputs.

    Example:
        >>> remaining_columns(["age", "sex=f", "sex=m"], ["sex"], "people.npz")
        [0]
    """
    # One-hot columns are called ATTRIBUTE=VALUE; dropping the attribute drops all of them.
    attributes = [name.partition("=")[0] for name in features]
    for name in dropped:
        if name not in (*attributes, *features):
            known = list(dict.fromkeys(attributes))
            raise unknown_name(f"input column of {where}", name, known, "Only named inputs can be dropped.")
    positions = [
        i
        for i, (attribute, name) in enumerate(zip(attributes, features, strict=True))
        if not {attribute, name} & {*dropped}
    ]
    if not positions:
        raise DataError(f"{where}: no input is left without {', '.join(dropped)}; drop fewer.")
    return positions


def names_of(values: Mapping[str, Any], key: str) -> tuple[str, ...]:
    """Return the column names under a key: one name, or several; empty without the key.

    Example:
        >>> names_of({"drop": "sex"}, "drop"), names_of({}, "features")
        (('sex',), ())
    """
    names = values.get(key, ())
    return (names,) if isinstance(names, str) else tuple(map(str, names))


def with_columns(value: Any, common: Mapping[str, Any], where: str) -> Any:
    """Return a part given in Python with the columns that are stated for all parts.

    Raises:
        DataError: columns are stated, and the part is not made of arrays.
    """
    if not common or isinstance(value, Mapping):
        return value if not common else {**common, **value}
    if isinstance(value, tuple | list) and len(value) == 2 and hasattr(value[1], "__len__"):
        return {"x": value[0], "y": value[1], **common}
    raise DataError(f"{where}: {' and '.join(common)} name columns of arrays; give (x, y), or a dict with x and y.")
