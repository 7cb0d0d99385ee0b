"""Metrics: how good each sample's output is, as a number; the higher, the better.

Top-1 is what is graded unless another is declared. A declared one enters the grade in its place, by the relative loss
of what its mean over the samples lies above that of the best constant answer; top-1 is reported beside it and must hold
too, and certificate and label name the metric. One of somebody else's is bound by the digest of its source.
"""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from certify.core.errors import ModelError, UsageError
from certify.core.registry import Registry
from certify.data.dataset import Labels
from certify.data.regression import scale_of

TOP1 = "top1"
FIVE = 5
TOLERANCE = 1e-6
"""By which two scores of one sample may differ; sums of floats depend on their order."""

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
            Scores (n,) from 0 to 1; the higher, the better. No sample's score may depend on another sample.
        """


@dataclass(frozen=True)
class Metric:
    """A declared metric.

    Attributes:
        name: ``top1``, ``top5``, ``regression:SCALE`` or ``package.module:function``, however it was declared.
        function: what scores.
        code: hex SHA-256 of the source of a metric that is not of this package, otherwise None.
    """

    name: str
    function: PerSample
    code: str | None = None

    def scores(self, outputs: Outputs, labels: Labels) -> SampleScores:
        """Score samples, (n, c) and (n,) to (n,).

        Raises:
            ModelError: what came back is not one finite number a sample from 0 to 1, or depends on other samples.
        """
        found = self._called(outputs, labels)
        if self.name not in METRICS.own and len(labels) > 1:
            apart = np.empty_like(found)
            for part in (slice(None, None, 2), slice(1, None, 2)):
                apart[part] = self._called(outputs[part], labels[part])
            if not np.allclose(found, apart, rtol=0, atol=TOLERANCE):
                raise ModelError(
                    f"Metric '{self.name}' gave other scores for the same samples among others; the score of a sample "
                    "should follow from its own output and label."
                )
        return found

    def _called(self, outputs: Outputs, labels: Labels) -> SampleScores:
        found = np.asarray(self.function(outputs, labels), dtype=np.float64)
        if found.shape != (len(labels),) or not np.isfinite(found).all():
            raise ModelError(
                f"Metric '{self.name}' gave an array of shape {found.shape}, or numbers that are not finite, for "
                f"{len(labels)} samples; it should give one finite score a sample."
            )
        if len(found) and not (found.min() >= 0 and found.max() <= 1):
            raise ModelError(
                f"Metric '{self.name}' gave scores from {found.min():.6g} to {found.max():.6g}; a score should lie "
                "between 0 and 1."
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
    "Numbers are graded by regression:SCALE. One of your own is named as package.module:function.",
)


def is_own(name: str) -> bool:
    """Whether a metric is leanmark's, and no code of somebody else's.

    Raises:
        UsageError: it is one for numbers, without a scale.
    """
    return name in METRICS.own or scale_of(name) is not None


def get_metric(name: str) -> Metric:
    """The metric of a name, or a function of the user's own.

    Raises:
        UsageError: there is none of that name, the nearest is named; or it is somebody else's and broken.

    Example:
        >>> get_metric("top1").scores(np.array([[0.1, 0.9]]), np.array([1])).tolist()
        [1.0]
    """
    if scale_of(name) is not None:  # numbers are not scored by class, see certify.data.scoring
        return Metric(name, top1)
    function = METRICS.load(name)
    return Metric(METRICS.place(name), function, None if name in METRICS.own else _code(name, function))


def _code(name: str, function: Callable[..., Any]) -> str:
    """Hex SHA-256 of the file that a function stands in, and of the module that it is named by where that is another.

    Raises:
        UsageError: there is no source to read.
    """
    written = inspect.unwrap(function)
    owner = written if inspect.isroutine(written) or inspect.isclass(written) else type(written)
    try:
        files = {inspect.getfile(owner)}
        if named := getattr(sys.modules.get(METRICS.place(name).partition(":")[0]), "__file__", None):
            files.add(named)
        content = [Path(file).read_bytes() for file in sorted(files)]
    except (OSError, TypeError) as error:  # TypeError: of what was written in no file
        raise UsageError(
            f"The source of the metric '{name}' can't be read ({error}), so its digest can't be stated; let the "
            "function stand in a .py file."
        ) from error
    return hashlib.sha256(b"".join(content)).hexdigest()


def _rank(outputs: Outputs, labels: Labels) -> npt.NDArray[np.int64]:
    """How many classes come before the true one, (n,)."""
    own = np.take_along_axis(outputs, labels[:, None], axis=1)
    earlier = np.arange(outputs.shape[1]) < labels[:, None]
    return np.asarray(np.sum((outputs > own) | ((outputs == own) & earlier), axis=1), dtype=np.int64)
