"""Metrics: a score for each sample's output; higher is better.

Top-1 is graded unless another metric is declared. A declared metric takes its place in the grade: the loss is relative
to how far the mean score of the baseline exceeds that of the best constant answer. Top-1 is still reported and must
also pass, and certificate and label name the metric. A third-party metric is bound by the digest of its source.
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
from certify.data.dataset import Dataset, Labels
from certify.data.regression import scale_of

TOP1 = "top1"
FIVE = 5
TOLERANCE = 1e-6
"""Tolerance between two scores of one sample; sums of floats depend on their order."""

TRIED = 64
"""Samples on which a third-party metric is tried."""

Outputs = npt.NDArray[np.float64]
SampleScores = npt.NDArray[np.float64]


class PerSample(Protocol):
    """A function of outputs and labels that scores each sample independently."""

    def __call__(self, outputs: Outputs, labels: Labels, /) -> npt.ArrayLike:
        """Score samples.

        Args:
            outputs: one column per class, in the order of the classes, (n, c).
            labels: true classes, (n,).

        Returns:
            Scores (n,) from 0 to 1; higher is better. No sample's score may depend on another sample.
        """


@dataclass(frozen=True)
class Metric:
    """A declared metric.

    Attributes:
        name: ``top1``, ``top5``, ``regression:SCALE`` or ``package.module:function``, as declared.
        function: the scoring function.
        code: hex SHA-256 of the source of a third-party metric, otherwise None.
    """

    name: str
    function: PerSample
    code: str | None = None

    def scores(self, outputs: Outputs, labels: Labels) -> SampleScores:
        """Score samples, (n, c) and (n,) to (n,).

        Raises:
            ModelError: the result is not one finite number from 0 to 1 per sample, or depends on other samples.
        """
        found = self._called(outputs, labels)
        # Scored again in two other batches, because the order could steer a metric that uses the mean of its batch.
        if self.name not in METRICS.own and len(labels) > 1:
            apart = np.empty_like(found)
            for part in (slice(None, None, 2), slice(1, None, 2)):
                apart[part] = self._called(outputs[part], labels[part])
            if not np.allclose(found, apart, rtol=0, atol=TOLERANCE):
                raise ModelError(
                    f"Metric '{self.name}' scores the same samples differently in another batch; the score of a sample "
                    "must depend on its own output and label only."
                )
        return found

    def try_on(self, dataset: Dataset) -> None:
        """Score some right answers by a third-party metric, which otherwise would fail only after all windows.

        Raises:
            ModelError: as for :meth:`scores`.
        """
        if self.code is not None and dataset.test.targets is None:
            labels = dataset.test.labels[:TRIED]
            self.scores(np.eye(len(dataset.classes))[labels], labels)

    def _called(self, outputs: Outputs, labels: Labels) -> SampleScores:
        found = np.asarray(self.function(outputs, labels), dtype=np.float64)
        if found.shape != (len(labels),) or not np.isfinite(found).all():
            raise ModelError(
                f"Metric '{self.name}' must return one finite score per sample; for {len(labels)} samples it returned "
                f"the shape {found.shape}, or values that are not finite."
            )
        if len(found) and not (found.min() >= 0 and found.max() <= 1):
            raise ModelError(
                f"Metric '{self.name}' must return scores in [0, 1], got {found.min():.6g} to {found.max():.6g}."
            )
        return found


def top1(outputs: Outputs, labels: Labels) -> SampleScores:
    """Return 1 where the true class has the largest output; ties go to the lowest class."""
    return (_rank(outputs, labels) < 1).astype(np.float64)


def top5(outputs: Outputs, labels: Labels) -> SampleScores:
    """Return 1 where the true class is among the five largest outputs; ties go to the lowest class.

    Raises:
        ModelError: there are five classes or fewer.
    """
    if outputs.shape[1] <= FIVE:
        raise ModelError(f"The metric 'top5' must have more than 5 classes, got {outputs.shape[1]}; use top1.")
    return (_rank(outputs, labels) < FIVE).astype(np.float64)


METRICS = Registry(
    "metric",
    "leanmark.metrics",
    {TOP1: f"{__name__}:top1", "top5": f"{__name__}:top5"},
    "For numeric targets use regression:SCALE; for your own metric, package.module:function.",
)


def is_own(name: str) -> bool:
    """Return whether a metric is built in, not third-party code.

    Raises:
        UsageError: it is a regression metric without a scale.
    """
    return name in METRICS.own or scale_of(name) is not None


def get_metric(name: str) -> Metric:
    """Return a built-in metric by name, or a user's function.

    Raises:
        UsageError: unknown name (the nearest one is suggested), or a third-party metric that cannot be loaded.

    Example:
        >>> get_metric("top1").scores(np.array([[0.1, 0.9]]), np.array([1])).tolist()
        [1.0]
    """
    if scale_of(name) is not None:  # regression is not scored by class, see certify.data.scoring
        return Metric(name, top1)
    function = METRICS.load(name)
    return Metric(METRICS.place(name), function, None if name in METRICS.own else _code(name, function))


def _code(name: str, function: Callable[..., Any]) -> str:
    """Return the hex SHA-256 of the file that defines a function, and of the module that names it if that differs.

    Raises:
        UsageError: the source cannot be read.
    """
    # Without unwrapping, a decorator would be digested in place of the function.
    written = inspect.unwrap(function)
    owner = written if inspect.isroutine(written) or inspect.isclass(written) else type(written)
    try:
        files = {inspect.getfile(owner)}
        # Both files are digested, because the named module may only re-export the function.
        if named := getattr(sys.modules.get(METRICS.place(name).partition(":")[0]), "__file__", None):
            files.add(named)
        content = [Path(file).read_bytes() for file in sorted(files)]
    except (OSError, TypeError) as error:  # TypeError: defined outside any file
        raise UsageError(
            f"The source of the metric '{name}' cannot be read ({error}), so its digest cannot be computed; define the "
            "function in a .py file."
        ) from error
    return hashlib.sha256(b"".join(content)).hexdigest()


def _rank(outputs: Outputs, labels: Labels) -> npt.NDArray[np.int64]:
    """Return how many classes rank above the true one, (n,)."""
    own = np.take_along_axis(outputs, labels[:, None], axis=1)
    # Ties go to the lowest class, as in argmax.
    earlier = np.arange(outputs.shape[1]) < labels[:, None]
    return np.asarray(np.sum((outputs > own) | ((outputs == own) & earlier), axis=1), dtype=np.int64)
