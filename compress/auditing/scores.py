"""Scores that a model file gives to samples, for membership attacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import logsumexp

from certify.data import Metric, Preprocess, Split, score
from certify.measure.answers import Answers

Floats = npt.NDArray[np.float64]
LARGEST = 60.0
"""Larger log-odds differ only by single-precision rounding."""
DECIMALS = 4
KEPT = Metric("columns", lambda outputs, labels: np.zeros(len(labels)))
"""Metric with which ``score`` keeps the output columns of the classes; its value is not used."""


def class_logits(path: Path, contract: Preprocess, classes: int, split: Split) -> Floats:
    """Run the file and return logits of the data's classes, (n, classes).

    Raises:
        ModelError: the file cannot be run, or its outputs do not fit the classes.
    """
    with Answers(path, contract, classes) as answers:
        outputs = answers.outputs(split)
    scored = score(outputs, split.labels, contract.class_map, classes, KEPT, contract.reading)
    if scored.outputs is None:
        raise ValueError("a declared metric keeps the outputs")
    if contract.reading == "probabilities":
        return np.log(np.clip(scored.outputs, 1e-30, None))
    return scored.outputs


def log_odds(logits: Floats, labels: npt.NDArray[np.int64]) -> Floats:
    """Return log(p / (1 - p)) of each sample's class, which over trainings is close to normal (Carlini et al. 2022).

    Args:
        logits: logits, (n, classes).
        labels: true classes, (n,).

    Returns:
        Log-odds rounded to four decimals, (n,).

    Example:
        >>> log_odds(np.array([[2.0, 0.0], [0.0, 0.0]]), np.array([0, 1])).tolist()
        [2.0, 0.0]
    """
    rows = np.arange(len(labels))
    own = logits[rows, labels]
    others = logits.copy()
    # Compute log(1 - p) from the other classes, because 1 - p would round to 0 for confident answers.
    others[rows, labels] = -np.inf
    odds: Floats = np.clip(own - logsumexp(others, axis=1), -LARGEST, LARGEST)
    return np.round(odds, DECIMALS)


def sample_odds(path: Path, contract: Preprocess, classes: int, split: Split) -> Floats:
    """Return the log-odds that a file gives each sample's class, (n,)."""
    return log_odds(class_logits(path, contract, classes, split), split.labels)
