"""Samples made of named arrays of any shape and type, such as tables, audio or the readings of several sensors."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from certify.core.errors import DataError
from certify.data.columns import remaining_columns
from certify.data.dataset import Split
from certify.data.labels import read_labels
from certify.data.sources import Fields

ONLY = "x"
"""Name of an array that was given without a name."""
KINDS = "fiub"
"""Accepted kinds of NumPy types: floats, integers and booleans."""


class NamedArrays:
    """Named arrays with the samples along the first axis, kept unchanged.

    Args:
        arrays: arrays by name, each (n, ...).
        features: column names of the only array; empty if unknown.
    """

    def __init__(self, arrays: Mapping[str, npt.NDArray[Any]], features: tuple[str, ...] = ()) -> None:
        self._arrays = arrays
        self.features = features
        self._digests: dict[int, str] = {}
        self.fields: Fields = {name: (array.shape[1:], str(array.dtype)) for name, array in arrays.items()}

    def arrays(self, row: int) -> dict[str, npt.NDArray[Any]]:
        """Return the arrays of one sample, by name."""
        return {name: array[row] for name, array in self._arrays.items()}

    def without(self, dropped: Sequence[str], where: str) -> NamedArrays:
        """Return the source with columns of its only array, or whole arrays, left out.

        Raises:
            DataError: nothing is left.
            UsageError: one of them does not exist.
        """
        if not dropped:
            return self
        named = list(self._arrays) if len(self._arrays) > 1 else list(self.features)
        positions = remaining_columns(named, dropped, where)
        if len(self._arrays) > 1:
            return NamedArrays({name: self._arrays[name] for name in (named[i] for i in positions)})
        ((name, array),) = self._arrays.items()
        return NamedArrays(
            {name: np.ascontiguousarray(array[:, positions])}, tuple(self.features[i] for i in positions)
        )

    def size(self, row: int) -> tuple[int, ...]:
        """Return the shape of the first array of a sample, which is the same for all samples."""
        return next(iter(self.fields.values()))[0]

    def digest(self, row: int) -> str:
        """Return the hex SHA-256 of name, type, shape and values of each array, sorted by name."""
        if row not in self._digests:
            digest = hashlib.sha256(b"arrays")
            for name, values in sorted(self.arrays(row).items()):
                # Little-endian, so that the digest does not depend on the platform.
                little = values.astype(values.dtype.newbyteorder("<"))
                # The length of the name is included, so that no two sets of arrays give the same bytes.
                digest.update(f" {len(name)} {name} {values.dtype.name} {'x'.join(map(str, values.shape))} ".encode())
                digest.update(little.tobytes())
            self._digests[row] = digest.hexdigest()
        return self._digests[row]


def plain(value: Any) -> npt.NDArray[Any]:
    """Convert a tensor (on any device), a table of pandas or a sequence to a NumPy array.

    Raises:
        DataError: NumPy has no such type, or values are masked.
    """
    # torch keeps gradients and devices on the tensor.
    for step in ("detach", "cpu"):
        value = getattr(value, step)() if hasattr(value, step) else value
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise DataError("An array has masked values; fill them or remove the samples.")
    try:
        return np.asarray(value)
    except TypeError as error:  # bfloat16, sparse or quantized tensors
        raise DataError(
            f"A {type(value).__name__} cannot be converted to NumPy ({error}); convert it first."
        ) from error


def named_split(
    arrays: Mapping[str, Any],
    y: npt.ArrayLike,
    where: str,
    features: tuple[str, ...] = (),
    dropped: Sequence[str] = (),
) -> Split:
    """Check named arrays and make a split from them.

    Args:
        arrays: floats, integers or booleans by name, each (n, ...).
        y: labels counted from 0 (n,), or numeric targets, any float type.
        where: name used in errors, such as the file.
        features: column names of the only array, ``ATTRIBUTE=VALUE`` for one-hot columns.
        dropped: columns of the only array, or whole arrays, that are left out of the inputs; a use policy still knows
            each sample by its whole record.

    Raises:
        DataError: no array, an unsupported type, different lengths, values that are not finite, or invalid labels.
    """
    found = {str(name): np.asarray(array) for name, array in arrays.items()}
    labels, targets = read_labels(y, where)
    if not found:
        raise DataError(
            f"{where}: contains no array besides y; give at least one, with the samples along its first axis."
        )
    for name, array in found.items():
        if array.dtype.kind not in KINDS or array.ndim == 0 or 0 in array.shape[1:]:
            raise DataError(
                f"{where}: {name} must hold numbers or booleans of shape (samples, ...), got {array.dtype} of shape "
                f"{array.shape}."
            )
        if len(array) != len(labels):
            raise DataError(
                f"{where}: {name} has {len(array)} samples and y has {len(labels)} labels; give one label per sample."
            )
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError(f"{where}: {name} holds values that are not finite; impute them or remove the samples.")
    if features and (len(found) > 1 or next(iter(found.values())).shape[1:] != (len(features),)):
        raise DataError(
            f"{where}: names {len(features)} features, which requires a single array of shape (n, {len(features)})."
        )
    whole = NamedArrays({name: np.ascontiguousarray(a) for name, a in found.items()}, features)
    # A use policy still identifies each row by its whole record, including dropped columns.
    return Split(whole.without(dropped, where), labels, targets=targets).of_records(Split(whole, labels))
