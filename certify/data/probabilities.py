"""Probabilistic scores of a classifier beyond top-1: proper scores, confidence, and rank of the true class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

LEAST = 1e-15
"""Least probability in the log loss, which would be infinite at 0."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Probabilities:
    """Probabilistic scores of each sample, each (n,).

    Attributes:
        brier: sum over the classes of (probability - truth)^2, 0 to 2 (Brier 1950).
        log_loss: -log of the probability of the true class.
        confidence: largest probability.
        rank: number of classes that rank above the true one; ties go to the lowest class.
    """

    brier: Values
    log_loss: Values
    confidence: Values
    rank: npt.NDArray[np.int64]

    def at(self, places: npt.NDArray[np.int64]) -> Probabilities:
        """Return the scores of the samples at the indices ``places``, in that order."""
        return Probabilities(*(getattr(self, field.name)[places] for field in fields(self)))

    @classmethod
    def joined(cls, parts: Sequence[Probabilities]) -> Probabilities:
        """Concatenate the scores of several parts."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def probability_scores(outputs: Values, labels: npt.NDArray[np.int64], reading: str) -> Probabilities:
    """Score outputs as probabilities.

    Args:
        outputs: one column per class, float64 (n, c).
        labels: true classes, (n,).
        reading: meaning of the outputs, ``logits`` or ``probabilities``; the latter are normalised to a sum of 1.

    Example:
        >>> probability_scores(np.array([[0.25, 0.75]]), np.array([1]), "probabilities").brier.tolist()
        [0.125]
    """
    if reading == "probabilities":
        clipped = np.clip(outputs, 0.0, None)
        shares = clipped / np.maximum(clipped.sum(axis=1, keepdims=True), LEAST)
        logs = np.log(np.maximum(shares, LEAST))
    else:
        from scipy.special import log_softmax  # here, since SciPy takes longer to load than what reads data

        # Computed from the logits, because the softmax may underflow to 0 before its logarithm is taken.
        logs = np.maximum(np.asarray(log_softmax(outputs, axis=1)), np.log(LEAST))
        shares = np.exp(logs)
    rows = np.arange(len(labels))
    own, of_truth = outputs[rows, labels][:, None], shares[rows, labels]
    # The sum over classes of (share - truth)^2, expanded.
    brier = (shares**2).sum(axis=1) - 2 * of_truth + 1
    earlier = np.arange(outputs.shape[1]) < labels[:, None]
    rank = np.sum((outputs > own) | ((outputs == own) & earlier), axis=1).astype(np.int64)
    # Rounding can make it slightly negative.
    return Probabilities(np.maximum(brier, 0.0), -logs[rows, labels], shares.max(axis=1), rank)
