"""Labels: classes as integers, or numeric targets as floats; groups; and the digest over samples and labels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from certify.core.errors import DataError

Labels: TypeAlias = npt.NDArray[np.int64]
Indices: TypeAlias = Sequence[int] | npt.NDArray[np.int64]
Groups: TypeAlias = Mapping[str, npt.NDArray[np.str_]]

MAX_CLASSES = 65_536


@dataclass(frozen=True)
class Targets:
    """Numeric targets; a sample's label is the index of its target.

    Attributes:
        values: distinct values, ascending, float64 (m,).
        scale: absolute error from which an answer scores 0; None until a metric declares it.
    """

    values: npt.NDArray[np.float64]
    scale: float | None = None

    def digest(self) -> str:
        """Hex SHA-256 of the values."""
        # Little-endian, so that the digest does not depend on the platform.
        return hashlib.sha256(self.values.astype("<f8").tobytes()).hexdigest()


def samples_digest(digests: Iterable[str], labels: Iterable[int]) -> str:
    """Return the hex SHA-256 over the sorted lines ``digest label``; it does not depend on the order of the samples."""
    # Sorted, so that the order of files does not matter.
    lines = sorted(f"{digest} {label}\n" for digest, label in zip(digests, labels, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def read_labels(y: npt.ArrayLike, where: str) -> tuple[Labels, Targets | None]:
    """Check labels; floats are numeric targets.

    Args:
        y: non-negative integers or booleans, or floats, (n,) or (n, 1).
        where: name used in errors, such as the file.

    Returns:
        Labels (n,), and the numbers that they index; None if they are classes.

    Raises:
        DataError: wrong type or shape, no samples, a negative label, or a number that is not finite.

    Example:
        >>> read_labels([0, 2, 1], "y")[0].tolist()
        [0, 2, 1]
    """
    labels, targets = np.asarray(y), None
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.ndim == 1 and np.issubdtype(labels.dtype, np.floating):
        if not np.isfinite(labels).all():
            raise DataError(f"{where}: y holds numbers that are not finite; remove those samples.")
        # Targets become indices of the distinct values, because labels are integers everywhere else.
        values, labels = np.unique(labels.astype(np.float64), return_inverse=True)
        targets = Targets(values)
    if labels.ndim != 1 or not (np.issubdtype(labels.dtype, np.integer) or labels.dtype == np.bool_):
        raise DataError(
            f"{where}: y must hold integers or floats of shape (n,), got {labels.dtype} of shape {labels.shape}; "
            f"{_instead(labels)}."
        )
    if len(labels) == 0:
        raise DataError(f"{where}: contains no samples; give at least one.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= MAX_CLASSES:
        raise DataError(
            f"{where}: labels in y must be in [0, {MAX_CLASSES - 1}], got {low} to {high}; number the classes from 0."
        )
    return labels.astype(np.int64), targets


def _instead(labels: npt.NDArray[np.generic]) -> str:
    """Return how to convert labels that have another form."""
    if labels.ndim == 2 and labels.dtype.kind in "biuf":
        return "for one-hot labels give y.argmax(1)"
    return "number the classes from 0, in the order of the model's outputs, and name them in 'classes'"
