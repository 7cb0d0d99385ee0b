"""Metrics: how good each sample's output is, as a number; the higher, the better.

Top-1 is what is graded unless another is declared. A declared one enters the grade in its place, by the relative loss
of its mean over the samples; top-1 is reported beside it, and certificate and label name the metric.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from certify.core.errors import ModelError
from certify.core.registry import Registry
from certify.data.dataset import Labels

TOP1 = "top1"
FIVE = 5

Outputs = npt.NDArray[np.float64]
SampleScores = npt.NDArray[np.float64]


class PerSample(Protocol):
    """A function of outputs and truth that scores each sample by itself."""

    def __call__(self, outputs: Outputs, labels: Labels, /) -> npt.ArrayLike:
        """Score samples.

        Args:
            outputs: one column a class, in the order of the classes, (n, c).
            labels: true classes, (n,).

        Returns:
            Scores (n,), any finite numbers; the higher, the better. No sample's score may depend on another sample.
        """


@dataclass(frozen=True)
class Metric:
    """A declared metric.

    Attributes:
        name: ``top1``, ``top5`` or ``package.module:function``, however it was declared.
        function: what scores.
    """

    name: str
    function: PerSample

    def scores(self, outputs: Outputs, labels: Labels) -> SampleScores:
        """Score samples, (n, c) and (n,) to (n,).

        Raises:
            ModelError: what came back is no finite number a sample.
        """
        found = np.asarray(self.function(outputs, labels), dtype=np.float64)
        if found.shape != (len(labels),) or not np.isfinite(found).all():
            raise ModelError(
                f"Metric '{self.name}' gave an array of shape {found.shape}, or numbers that are not finite, for "
                f"{len(labels)} samples; it should give one finite score a sample."
            )
        return found


def top1(outputs: Outputs, labels: Labels) -> SampleScores:
    """1 where the true class comes first; of equal outputs the lowest class does."""
    return (_rank(outputs, labels) < 1).astype(np.float64)


def top5(outputs: Outputs, labels: Labels) -> SampleScores:
    """1 where the true class is among the first five; of equal outputs the lowest class comes first.

    Raises:
        ModelError: there are not more than five classes.
    """
    if outputs.shape[1] <= FIVE:
        raise ModelError(f"Metric 'top5' says nothing about {outputs.shape[1]} classes; take top1.")
    return (_rank(outputs, labels) < FIVE).astype(np.float64)


METRICS = Registry(
    "metric",
    "leanmark.metrics",
    {TOP1: f"{__name__}:top1", "top5": f"{__name__}:top5"},
    "One of your own is named as package.module:function.",
)


def get_metric(name: str) -> Metric:
    """The metric of a name, or a function of the user's own.

    Raises:
        UsageError: there is none of that name, the nearest is named; or it is somebody else's and broken.

    Example:
        >>> get_metric("top1").scores(np.array([[0.1, 0.9]]), np.array([1])).tolist()
        [1.0]
    """
    return Metric(METRICS.place(name), METRICS.load(name))


def _rank(outputs: Outputs, labels: Labels) -> npt.NDArray[np.int64]:
    """How many classes come before the true one, (n,)."""
    own = np.take_along_axis(outputs, labels[:, None], axis=1)
    earlier = np.arange(outputs.shape[1]) < labels[:, None]
    return np.asarray(np.sum((outputs > own) | ((outputs == own) & earlier), axis=1), dtype=np.int64)
