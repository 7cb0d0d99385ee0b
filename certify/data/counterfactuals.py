"""Counterfactual samples: only one attribute is changed, where it is an input of the model.

An attribute is an input if the data name the columns of their only array (``features``) and some are called
``ATTRIBUTE=VALUE``, one per value, or if an array of integers or booleans has the attribute's name. A sample then has
one counterpart per other value. If the attribute is not an input there are no counterparts, and the model's answer for
them is not guessed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from certify.data.dataset import Split

MOST_VALUES = 8
"""Most values of an attribute for which counterparts are made; each value costs a pass over the data."""


class ExchangedSource:
    """A source that shifts the value of one attribute of each sample by a number of positions.

    Args:
        split: samples, which are arrays.
        name: name of the array.
        places: columns of the array that one-hot encode the values; None if the array is the value.
        values: possible values of the array, if it is the value.
        step: number of positions to shift by.
    """

    def __init__(self, split: Split, name: str, places: list[int] | None, values: npt.NDArray[Any], step: int) -> None:
        self._split, self._name, self._places, self._values, self._step = split, name, places, values, step
        self.fields = split.fields

    def arrays(self, row: int) -> Mapping[str, npt.NDArray[Any]]:
        """Return the arrays of one changed sample, by name."""
        found = dict(self._split.arrays(row))
        value = np.array(found[self._name])
        if self._places is not None:
            # Rolled within the attribute's own columns, so that exactly one of them stays set.
            value[self._places] = np.roll(value[self._places], self._step)
        else:
            # `values` are sorted by np.unique, so their place is found without a search per value.
            place = int(np.searchsorted(self._values, value))
            value = np.asarray(self._values[(place + self._step) % len(self._values)])
        return {**found, self._name: value}

    def size(self, row: int) -> tuple[int, ...]:
        """Return the size, unchanged."""
        return self._split.size(row)

    def digest(self, row: int) -> str:
        """Return the hex SHA-256 of the changed values."""
        return hashlib.sha256(b"".join(array.tobytes() for array in self.arrays(row).values())).hexdigest()


def exchanged_splits(split: Split, attribute: str) -> Iterator[Split]:
    """Yield the counterparts of all samples, one split per shift to another value; nothing if there are none.

    Args:
        split: samples of any kind.
        attribute: name of a group column.
    """
    if split.kind != "arrays" or len(split) == 0:
        return
    places = [i for i, name in enumerate(split.features) if name.startswith(f"{attribute}=")]
    values: npt.NDArray[Any] = np.array(places)
    name = next(iter(split.fields))
    if not places:
        name = attribute
        if (
            # Floats have too many values to exchange.
            attribute not in split.fields
            or split.fields[attribute][0]
            or split.fields[attribute][1].startswith("float")
        ):
            return
        values = np.unique([split.arrays(i)[attribute] for i in range(len(split))])
    for step in range(1, len(values)) if 2 <= len(values) <= MOST_VALUES else ():
        yield Split(ExchangedSource(split, name, places or None, values, step), split.labels, targets=split.targets)
