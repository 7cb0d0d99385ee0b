"""Samples that are named arrays of any shape and type, such as tables, audio, or the inputs of several sensors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from certify.core.errors import DataError
from certify.data.dataset import Split
from certify.data.labels import read_labels
from certify.data.sources import Fields

ONLY = "x"
"""Name of an array that was given without one."""
KINDS = "fiub"
"""Of numpy's types: floats, integers and booleans."""


class NamedArrays:
    """One array for each name, the samples in the first axis, kept as they were given.

    Args:
        arrays: by name, each (n, ...).
        features: names of the columns of the only array; empty where they are not known.
    """

    def __init__(self, arrays: Mapping[str, npt.NDArray[Any]], features: tuple[str, ...] = ()) -> None:
        self._arrays = arrays
        self.features = features
        self._digests: dict[int, str] = {}
        self.fields: Fields = {name: (array.shape[1:], str(array.dtype)) for name, array in arrays.items()}

    def arrays(self, row: int) -> dict[str, npt.NDArray[Any]]:
        """One sample, by name."""
        return {name: array[row] for name, array in self._arrays.items()}

    def size(self, row: int) -> tuple[int, ...]:
        """Shape of the first array of a sample, the same for all."""
        return next(iter(self.fields.values()))[0]

    def digest(self, row: int) -> str:
        """Hex SHA-256 of name, type, shape and values of each array, in the order of the names."""
        if row not in self._digests:
            digest = hashlib.sha256(b"arrays")
            for name, values in sorted(self.arrays(row).items()):
                little = values.astype(values.dtype.newbyteorder("<"))
                digest.update(f" {len(name)} {name} {values.dtype.name} {'x'.join(map(str, values.shape))} ".encode())
                digest.update(little.tobytes())
            self._digests[row] = digest.hexdigest()
        return self._digests[row]


def named_split(arrays: Mapping[str, Any], y: npt.ArrayLike, where: str, features: tuple[str, ...] = ()) -> Split:
    """Check named arrays and make a split of them.

    Args:
        arrays: by name, floats, integers or booleans, each (n, ...).
        y: labels from 0 on (n,), or numbers to predict, any type of float.
        where: what an error names, such as the file.
        features: names of the columns of the only array, ``ATTRIBUTE=VALUE`` for one of several values.

    Raises:
        DataError: no array, another type, lengths that differ, values that are not finite, or labels that are none.
    """
    found = {str(name): np.asarray(array) for name, array in arrays.items()}
    labels, targets = read_labels(y, where)
    if not found:
        raise DataError(f"{where}: holds no array beside y; give at least one with the samples in its first axis.")
    for name, array in found.items():
        if array.dtype.kind not in KINDS or array.ndim == 0 or 0 in array.shape[1:]:
            raise DataError(
                f"{where}: {name} is {array.dtype} of shape {array.shape}; give numbers or booleans of shape "
                "(samples, ...)."
            )
        if len(array) != len(labels):
            raise DataError(f"{where}: {name} has {len(array)} samples and y {len(labels)} labels; give one a sample.")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError(f"{where}: {name} holds values that are not finite; fill them in or leave them out.")
    if features and (len(found) > 1 or next(iter(found.values())).shape[1:] != (len(features),)):
        raise DataError(f"{where}: names {len(features)} features; they are those of one array of shape (n, features).")
    made = {name: np.ascontiguousarray(a) for name, a in found.items()}
    return Split(NamedArrays(made, features), labels, targets=targets)
