"""What is to be predicted: classes as integers, or numbers as floats."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from certify.core.errors import DataError
from certify.data.dataset import Labels, Targets

MAX_CLASSES = 65_536


def read_labels(y: npt.ArrayLike, where: str) -> tuple[Labels, Targets | None]:
    """Check labels, and take floats for numbers to predict.

    Args:
        y: integers or booleans from 0 on, or floats, (n,) or (n, 1).
        where: what an error names, such as the file.

    Returns:
        Labels (n,), and the numbers that they stand for; None where they stand for classes.

    Raises:
        DataError: a wrong type or shape, no samples, a negative label, or a number that is not finite.

    Example:
        >>> read_labels([0, 2, 1], "y")[0].tolist()
        [0, 2, 1]
    """
    labels, targets = np.asarray(y), None
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.ndim == 1 and np.issubdtype(labels.dtype, np.floating):
        if not np.isfinite(labels).all():
            raise DataError(f"{where}: y holds numbers that are not finite; leave those samples out.")
        values, labels = np.unique(labels.astype(np.float64), return_inverse=True)
        targets = Targets(values)
    if labels.ndim != 1 or not (np.issubdtype(labels.dtype, np.integer) or labels.dtype == np.bool_):
        raise DataError(f"{where}: y is {labels.dtype} of shape {labels.shape}; give integers or floats of shape (n,).")
    if len(labels) == 0:
        raise DataError(f"{where}: holds no samples; give at least one.")
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high >= MAX_CLASSES:
        raise DataError(f"{where}: y runs from {low} to {high}; labels count the classes from 0 to {MAX_CLASSES - 1}.")
    return labels.astype(np.int64), targets
