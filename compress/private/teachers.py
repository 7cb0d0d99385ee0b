"""Teachers on disjoint parts of the private data, and their votes (PATE).

Papernot et al. 2017 (arXiv 1610.05755) and 2018 (arXiv 1802.08908). A teacher is a linear classifier: its part is
small, and hundreds must be trained.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from certify.core.errors import UsageError
from certify.data import Split
from compress.private.entropy import gaussian

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
FEWEST = 2
"""Minimum number of records in a part."""


def parts_of(split: Split, teachers: int) -> list[Labels]:
    """Divide a part by the identifiers of its samples: the place of a record depends on that record alone.

    Copies of a sample go to the same part, so no two parts share a sample.

    Raises:
        UsageError: a part would have fewer than two samples.
    """
    # Assign by digest instead of position, because adding a record must not move the others to other teachers.
    places = np.array([int(split.digest(i)[:15], 16) % teachers for i in range(len(split))])
    parts = [np.flatnonzero(places == teacher).astype(np.int64) for teacher in range(teachers)]
    if min(map(len, parts)) < FEWEST:
        raise UsageError(
            f"{teachers} teachers are too many for {len(split)} samples: a part has fewer than {FEWEST}; use fewer."
        )
    return parts


def require_disjoint(parts: list[Labels]) -> None:
    """Reject parts that share a sample, because one record would then affect several votes.

    Raises:
        UsageError: two parts share a sample.
    """
    joined = np.concatenate(parts)
    if shared := len(joined) - len(np.unique(joined)):
        raise UsageError(f"The teachers' parts share {shared} samples; give each teacher a part of its own.")


def train_teacher(features: Floats, labels: Labels, classes: int, steps: int, decay: float, lr: float) -> Floats:
    """Train a linear classifier on a part; return its weights, (classes, features + 1), the bias last."""
    inputs = np.hstack([features, np.ones((len(features), 1))]).astype(np.float32)
    wanted = np.eye(classes, dtype=np.float32)[labels]
    weights = np.zeros((classes, inputs.shape[1]), dtype=np.float32)
    mean, square = np.zeros_like(weights), np.zeros_like(weights)
    for step in range(1, steps + 1):
        logits = inputs @ weights.T
        # Shifted by the largest logit, since exp overflows in float32 above 88.
        shares = np.exp(logits - logits.max(1, keepdims=True))
        shares /= shares.sum(1, keepdims=True)
        gradient = (shares - wanted).T @ inputs / len(labels) + decay * weights
        mean, square = 0.9 * mean + 0.1 * gradient, 0.99 * square + 0.01 * gradient**2
        rate = lr * 0.5 * (1 + np.cos(np.pi * step / steps)) / (1 - 0.9**step)
        weights -= rate * mean / (np.sqrt(square / (1 - 0.99**step)) + 1e-8)
    return weights.astype(np.float64)


def add_votes(counts: Labels, weights: Floats, queries: Floats) -> None:
    """Add one teacher's vote for each query to the counts, (queries, classes)."""
    answers = (queries @ weights[:, :-1].T + weights[:, -1]).argmax(1)
    counts[np.arange(len(queries)), answers] += 1


@dataclass(frozen=True)
class Vote:
    """Settings of the vote, all fixed before the first query.

    Attributes:
        noise: standard deviation of the votes' noise.
        answers: maximum number of answered queries.
        threshold: minimum noisy count of the leading class, in votes; None answers every query.
        threshold_noise: standard deviation of the check's noise; None if there is no threshold.
        queries: maximum number of queries.
    """

    noise: float
    answers: int
    threshold: float | None
    threshold_noise: float | None
    queries: int


def noisy_votes(counts: Labels, vote: Vote) -> Floats:
    """Return the votes for each class, with the noise that is accounted for, (classes,)."""
    return counts + vote.noise * gaussian(len(counts))


def answer(counts: Labels, vote: Vote) -> tuple[Labels, Labels]:
    """Run Confident-GNMax: query in order, answer if enough teachers agree, and stop at the cap.

    Vote counts are not kept; only the answers leave this function.

    Returns:
        The indices of the answered queries, and the answers.
    """
    answered: list[int] = []
    answers: list[int] = []
    for query in range(min(len(counts), vote.queries)):
        if len(answers) == vote.answers:
            break
        if vote.threshold is not None and vote.threshold_noise is not None:
            # The check has its own noise, which is accounted for even if no answer follows.
            highest = float(counts[query].max()) + vote.threshold_noise * float(gaussian(1)[0])
            if highest < vote.threshold:
                continue
        answered.append(query)
        answers.append(int(noisy_votes(counts[query], vote).argmax()))
    return np.array(answered, dtype=np.int64), np.array(answers, dtype=np.int64)
