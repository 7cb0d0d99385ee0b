"""Scoring of model outputs: the only place that decides whether an output is correct."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from certify.core.errors import ModelError
from certify.data.dataset import Labels, Split, Targets
from certify.data.metrics import TOP1, Metric
from certify.data.probabilities import Probabilities, probability_scores
from certify.data.regression import closeness


@dataclass(frozen=True)
class Scores:
    """Results of scoring, per sample.

    Attributes:
        top1: class with the largest output, int64 (n,); ties go to the lowest class.
        margin: largest output minus second largest, in the unit of the outputs, float64 (n,); 0 for a tie.
        correct: whether ``top1`` is the label, bool (n,).
        declared: scores by the declared metric, float64 (n,); None if top-1 is the metric.
        outputs: scored outputs, one column per class, float64 (n, c); None if top-1 is the metric.
        beyond: probabilistic scores; None for numeric targets.
    """

    top1: Labels
    margin: npt.NDArray[np.float64]
    correct: npt.NDArray[np.bool_]
    declared: npt.NDArray[np.float64] | None = None
    outputs: npt.NDArray[np.float64] | None = None
    beyond: Probabilities | None = None

    @property
    def accuracy(self) -> float:
        """Fraction of correct samples, 0 to 1; the mean score if a metric is declared."""
        return float((self.correct if self.declared is None else self.declared).mean())


def score(
    outputs: npt.NDArray[Any],
    labels: npt.ArrayLike,
    class_map: Sequence[int] | None = None,
    classes: int | None = None,
    metric: Metric | None = None,
    reading: str = "logits",
) -> Scores:
    """Score the outputs of a classifier.

    A single output for two classes belongs to the second class; the first gets logit 0, or 1 minus the probability.

    Args:
        outputs: logits or probabilities, (n, c); trailing axes of size 1, as after a final pooling, are dropped.
        labels: true classes, (n,).
        class_map: output column of each class; other columns are ignored. None: column i is class i.
        classes: number of classes of the data; without a class map there must be exactly as many outputs.
        metric: declared metric besides top-1; it gets the columns of the classes.
        reading: meaning of the outputs, ``logits`` or ``probabilities``.

    Raises:
        ModelError: outputs have the wrong shape or width, or are not finite, or the metric fails.
    """
    values, truth = np.asarray(outputs), np.asarray(labels, dtype=np.int64)
    # Convolutional classifiers may leave spatial dimensions of 1.
    if values.ndim > 2 and set(values.shape[2:]) == {1}:
        values = values.reshape(values.shape[:2])
    if values.ndim != 2 or len(values) != len(truth):
        raise ModelError(f"The output of a classifier must have shape ({len(truth)}, classes), got {values.shape}.")
    if values.shape[1] == 1 and classes == 2:
        values = values.astype(np.float64)
        # With one output for two classes, the other class is its complement, or 0 as a logit.
        values = np.hstack([1 - values if reading == "probabilities" else np.zeros_like(values), values])
    values = _columns(values, class_map, classes, int(truth.max(initial=1)) + 1).astype(np.float64)
    bad = ~np.isfinite(values).all(axis=1)
    if bad.any():
        raise ModelError(
            f"The model's output is not finite for {int(bad.sum())} of {len(values)} samples (first: sample "
            f"{int(bad.argmax())}); the model may overflow or divide by zero."
        )
    top1 = values.argmax(axis=1).astype(np.int64)
    # A partition instead of a sort, because only the two largest are needed.
    first_two = np.partition(values, -2, axis=1)[:, -2:]
    margin = first_two[:, 1] - first_two[:, 0]
    beyond = probability_scores(values, truth, reading)
    if metric is None or metric.name == TOP1:
        return Scores(top1, margin, top1 == truth, beyond=beyond)
    return Scores(top1, margin, top1 == truth, metric.scores(values, truth), values, beyond)


def score_split(
    outputs: npt.NDArray[Any],
    split: Split,
    class_map: Sequence[int] | None,
    classes: int | None,
    metric: Metric | None = None,
    reading: str = "logits",
) -> Scores:
    """Score the outputs (n, ...) for a split, as classes or as numbers; see :func:`score`."""
    if split.targets is not None:
        return score_numbers(outputs, split.labels, split.targets)
    return score(outputs, split.labels, class_map, classes, metric, reading)


def score_numbers(outputs: npt.NDArray[Any], labels: Labels, targets: Targets) -> Scores:
    """Score the outputs of a model that predicts a number.

    An answer within the scale counts as correct. ``top1`` is then the label, otherwise the next label; ``margin`` is
    the absolute value of the answer.

    Args:
        outputs: one number per sample, (n, 1).
        labels: indices of the true numbers, (n,).
        targets: the numbers, with a scale.

    Raises:
        ModelError: outputs have another shape or are not finite.
    """
    values = np.asarray(outputs, dtype=np.float64)
    if values.shape != (len(labels), 1) or targets.scale is None:
        raise ModelError(f"The output of a regression model must have shape ({len(labels)}, 1), got {values.shape}.")
    if not np.isfinite(values).all():
        raise ModelError("The model's output is not finite for some samples; the model may overflow or divide by zero.")
    declared = closeness(values[:, 0], targets.values[labels], targets.scale)
    # An answer within the scale counts as correct, so that checks of classes also work for regression.
    right = declared > 0
    top1 = np.where(right, labels, (labels + 1) % len(targets.values)).astype(np.int64)
    return Scores(top1, np.abs(values[:, 0]), right, declared)


def _columns(
    values: npt.NDArray[Any], class_map: Sequence[int] | None, classes: int | None, at_least: int
) -> npt.NDArray[Any]:
    """Return the output columns of the classes, in the order of the classes."""
    width = values.shape[1]
    if class_map is None:
        if width != classes and (classes is not None or width < at_least):
            wanted = f"{classes}" if classes is not None else f"at least {at_least}"
            raise ModelError(
                f"The model has {width} outputs, but the data have {wanted} classes; give a class map, or a model "
                "whose outputs are the classes of the data."
            )
        return values
    if len(class_map) < at_least or classes not in (None, len(class_map)):
        raise ModelError(
            f"The class map has {len(class_map)} entries, but the data have {classes or at_least} classes; give one "
            "entry per class."
        )
    if width <= max(class_map):
        raise ModelError(
            f"The model has {width} outputs, but the class map needs at least {max(class_map) + 1}; correct the class "
            "map."
        )
    return values[:, list(class_map)]
