"""Multiple testing: control of the probability that any of several tests errs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.special import bdtr

from certify.core.statistics.proportions import PairedTable


def simultaneous(confidence: float, intervals: int) -> float:
    """Return the confidence of each of several intervals with simultaneous coverage ``confidence`` (Bonferroni).

    Example:
        >>> round(simultaneous(0.95, 5), 4)
        0.99
    """
    return 1 - (1 - confidence) / max(1, intervals)


def holm(p_values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return p-values corrected by Holm's step-down procedure, in the given order, (m,) to (m,).

    Holm (1979), "A simple sequentially rejective multiple test procedure".

    Example:
        >>> holm(np.array([0.01, 0.04, 0.03])).tolist()
        [0.03, 0.06, 0.06]
    """
    # Stable, so that equal p-values are listed in the same order on every machine.
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    # A later hypothesis cannot be rejected before an earlier one, hence the running maximum.
    stepped = np.minimum(1.0, np.maximum.accumulate(p_values[order] * factors))
    corrected = np.empty_like(stepped)
    corrected[order] = stepped
    return corrected


def mcnemar_p_values(tables: Sequence[PairedTable]) -> npt.NDArray[np.float64]:
    """Return exact two-sided p-values of McNemar's test for many tables at once, (m,)."""
    gained = np.array([table.only_candidate for table in tables])
    lost = np.array([table.only_baseline for table in tables])
    return np.asarray(np.minimum(1.0, 2 * bdtr(np.minimum(gained, lost).astype(np.float64), gained + lost, 0.5)))
