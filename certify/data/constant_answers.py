"""Scores of constant answers: a model that scores no better has learned nothing.

The best constant answer by any metric cannot be found without knowing the metric, so a list of candidates is tried: for
each of the most common classes the output with which a model is most confident of it, the mean output of each model,
and the class frequencies, as probabilities and as logits. Most are real outputs of models, so a metric cannot recognise
them by their scale.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from certify.core.observations import ConstantAnswers
from certify.data.dataset import Labels
from certify.data.metrics import Metric

COMMONEST = 16
"""Number of classes tried; a rarer class is hardly ever the best constant answer."""

Row = npt.NDArray[np.float64]


@dataclass
class Answers:
    """Running summary of one model's outputs: their sum and the most confident output of each class."""

    total: Row | float = 0.0
    count: int = 0
    surest: dict[int, tuple[float, Row]] = field(default_factory=dict)

    def add(self, outputs: npt.NDArray[np.float64], top1: Labels, margin: npt.NDArray[np.float64]) -> None:
        """Add outputs (n, c) with their top-1 classes and margins, each (n,)."""
        self.total = self.total + outputs.sum(axis=0)
        self.count += len(outputs)
        for label in np.unique(top1).tolist():
            (places,) = np.nonzero(top1 == label)
            best = int(places[np.argmax(margin[places])])
            if label not in self.surest or margin[best] > self.surest[label][0]:
                # Copied, because the row is a view of a batch that would otherwise stay in memory.
                self.surest[label] = float(margin[best]), outputs[best].copy()

    def rows(self, commonest: list[int]) -> Iterator[tuple[str, Row]]:
        """Yield candidate constant answers, each with a name."""
        for label in commonest:
            if label in self.surest:
                yield f"class {label}", self.surest[label][1]
        if self.count:
            yield "its mean output", np.asarray(self.total / self.count, dtype=np.float64)


def constant_answers(metric: Metric, found: Mapping[str, Answers], labels: Labels, classes: int) -> ConstantAnswers:
    """Score the constant answers, per label.

    Args:
        metric: the declared metric.
        found: summary of the outputs by name of the model.
        labels: true classes of the test samples, (n,).
        classes: number of classes.

    Raises:
        ModelError: the metric gives no valid score for one of them.
    """
    counts = np.bincount(labels, minlength=classes)
    commonest = np.argsort(-counts, kind="stable")[:COMMONEST].tolist()
    # One is added per class, so that the logarithm of an absent class is finite.
    share = (counts + 1) / (counts.sum() + classes)
    answers = {f"{model}, {name}": row for model, own in found.items() for name, row in own.rows(commonest)}
    answers |= {"shares of the classes": share, "logarithms of the shares": np.log(share)}
    # One score per label suffices, because the score of a constant answer depends only on the label.
    every = np.arange(classes, dtype=np.int64)
    scores = [metric.scores(np.tile(row, (classes, 1)), every).tolist() for row in answers.values()]
    return ConstantAnswers(list(answers), scores)
