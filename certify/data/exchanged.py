"""Samples in which nothing but an attribute was exchanged, where it is an input of the model.

An attribute is an input where the data name the columns of their one array (``features``) and some are called
``ATTRIBUTE=VALUE``, one for each value, or where an array of integers or booleans bears the attribute's name. A sample
then has as many counterparts as there are other values. Where the attribute is no input there are none, and what an
answer would have been is not guessed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from certify.data.dataset import Split

MOST_VALUES = 8
"""With more values no counterparts are made; each value costs a pass over the data."""


class ExchangedSource:
    """The samples of a split with the value of one attribute moved on by some places.

    Args:
        split: of arrays.
        name: of the array.
        places: columns of the array that stand for the values, one of them 1; None where the array is the value.
        values: that the array may have, where it is the value.
        step: by how many values to move on.
    """

    def __init__(self, split: Split, name: str, places: list[int] | None, values: npt.NDArray[Any], step: int) -> None:
        self._split, self._name, self._places, self._values, self._step = split, name, places, values, step
        self.fields = split.fields

    def arrays(self, row: int) -> Mapping[str, npt.NDArray[Any]]:
        """One changed sample, by name."""
        found = dict(self._split.arrays(row))
        value = np.array(found[self._name])
        if self._places is not None:
            value[self._places] = np.roll(value[self._places], self._step)
        else:
            place = int(np.searchsorted(self._values, value))
            value = np.asarray(self._values[(place + self._step) % len(self._values)])
        return {**found, self._name: value}

    def size(self, row: int) -> tuple[int, ...]:
        """As before."""
        return self._split.size(row)

    def digest(self, row: int) -> str:
        """Hex SHA-256 of the changed values."""
        return hashlib.sha256(b"".join(array.tobytes() for array in self.arrays(row).values())).hexdigest()


def exchanged_splits(split: Split, attribute: str) -> Iterator[Split]:
    """The counterparts of all samples, a split for each step to another value; nothing where there are none.

    Args:
        split: of any kind.
        attribute: name of a column of groups.
    """
    if split.kind != "arrays" or len(split) == 0:
        return
    places = [i for i, name in enumerate(split.features) if name.startswith(f"{attribute}=")]
    values: npt.NDArray[Any] = np.array(places)
    name = next(iter(split.fields))
    if not places:
        name = attribute
        if (
            attribute not in split.fields
            or split.fields[attribute][0]
            or split.fields[attribute][1].startswith("float")
        ):
            return
        values = np.unique([split.arrays(i)[attribute] for i in range(len(split))])
    for step in range(1, len(values)) if 2 <= len(values) <= MOST_VALUES else ():
        yield Split(ExchangedSource(split, name, places or None, values, step), split.labels, targets=split.targets)
