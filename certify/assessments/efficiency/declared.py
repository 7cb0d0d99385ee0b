"""A declared metric: its scores sample by sample, and those of the best answer that does not look at the input.

A metric may have any zero: 100 + right and right say the same of two models, and the relative loss of the first is a
hundredth of the second's. What a model adds to the best constant answer has a zero that no metric chooses.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from certify.core.errors import CertificateError
from certify.core.evidence import Evidence
from certify.core.observations import ConstantAnswers, TargetValues
from certify.core.windows import LARGEST
from certify.data.dataset import Targets
from certify.data.metrics import FIVE, TOP1, is_own
from certify.data.regression import best_constant, closeness, scale_of

Values = npt.NDArray[np.float64]
DIGEST = re.compile("[0-9a-f]{64}")
TOLERANCE = 1e-9
"""By which a score may lie outside of 0 to 1; a mean of floats need not be exact."""


@dataclass(frozen=True)
class Constant:
    """The best constant answer.

    Attributes:
        answer: what it answers, in a few words.
        scores: by the declared metric, sample by sample, (n,).
    """

    answer: str
    scores: Values


@dataclass(frozen=True)
class Declared:
    """Scores of the different test samples by a metric other than top-1.

    Attributes:
        metric: its name.
        baseline: scores of the baseline, (n,).
        candidate: likewise of the candidate.
        constant: the best constant answer; None where the evidence does not tell.
    """

    metric: str
    baseline: Values
    candidate: Values
    constant: Constant | None


def declared_metric(evidence: Evidence) -> str:
    """Name of the metric that is graded; top-1 where the evidence declares none.

    Raises:
        CertificateError: it is not text.
    """
    name = evidence.header.data.get("metric", TOP1)
    if not isinstance(name, str) or not name:
        raise CertificateError(f"Evidence: the metric should be a name, found {name!r}.")
    return name


def declared_scores(evidence: Evidence) -> Declared | None:
    """Scores of both models by the declared metric; None where that is top-1.

    Raises:
        CertificateError: a sample has no score by the metric, or the other way round, or a score cannot be one.
    """
    metric, samples = declared_metric(evidence), evidence.samples
    pairs = [(p.baseline_score, p.candidate_score) for p in samples]
    known = [value for pair in pairs for value in pair if value is not None]
    if len(known) != (0 if metric == TOP1 else 2 * len(pairs)):
        raise CertificateError(
            f"Evidence: the metric is {metric}, and {len(known)} scores stand in {len(pairs)} samples."
        )
    if metric == TOP1 or not pairs:
        return None
    if len(pairs) < 2 or not all(abs(value) < LARGEST for value in known):
        raise CertificateError(f"Evidence: the scores by {metric} are too few, or hold a number that cannot be one.")
    values = np.array(known, dtype=np.float64).reshape(-1, 2)
    labels = evidence.labels()
    if (scale := scale_of(metric)) is not None:
        constant = _best_number(evidence, labels, scale)
    else:
        constant = _commonest_five(labels) if is_own(metric) else _best(evidence, labels)
    return Declared(metric, values[:, 0], values[:, 1], constant)


def metric_fault(evidence: Evidence) -> str | None:
    """What is wrong with the declared metric or its scores, to follow its name; None where nothing is."""
    declared = declared_scores(evidence)
    if declared is None:
        return None
    return next(_faults(declared, evidence), None)


def _faults(declared: Declared, evidence: Evidence) -> Iterator[str]:
    constant = [] if declared.constant is None else [declared.constant.scores]
    scores = np.concatenate([declared.baseline, declared.candidate, *constant])
    if scores.min() < -TOLERANCE or scores.max() > 1 + TOLERANCE:
        yield f"gave scores from {scores.min():.6g} to {scores.max():.6g}, and they must lie between 0 and 1"
    if is_own(declared.metric):
        right = np.array([[p.baseline_top1 == p.label, p.candidate_top1 == p.label] for p in evidence.samples])
        given = np.column_stack([declared.baseline, declared.candidate])
        numbers = scale_of(declared.metric) is not None
        if numbers and declared.constant is None:
            yield "is for numbers, and those that were to be predicted are not the ones that the certificate states"
        if ((given > 0) != right).any() if numbers else not np.isin(given, (0.0, 1.0)).all() or (given < right).any():
            yield "gave scores that do not follow from what the models put first"
        return
    code = evidence.header.data.get("metric_code")
    if not isinstance(code, str) or not DIGEST.fullmatch(code):
        yield "is code of somebody else's, and no digest of its source is stated"
    if declared.constant is None:
        yield "was not asked what it gives for constant answers, so that nothing says what its scores are worth"


def _commonest_five(labels: npt.NDArray[np.int64]) -> Constant:
    """The best constant answer by leanmark's own metrics beside top-1: to name the five commonest classes."""
    classes, counts = np.unique(labels, return_counts=True)
    named = classes[np.argsort(-counts, kind="stable")[:FIVE]]
    return Constant("the five commonest classes", np.isin(labels, named).astype(np.float64))


def _best_number(evidence: Evidence, labels: npt.NDArray[np.int64], scale: float) -> Constant | None:
    """The best constant answer to numbers; None where they were not recorded as they are stated."""
    recorded = evidence.observed(TargetValues)
    values = Targets(np.array([] if recorded is None else _row(recorded.numbers), dtype=np.float64))
    if values.digest() != evidence.header.data.get("targets") or labels.max() >= len(values.values):
        return None
    truth = values.values[labels]
    best = best_constant(truth, scale)
    return Constant(f"{best:.6g}", closeness(best, truth, scale))


def _best(evidence: Evidence, labels: npt.NDArray[np.int64]) -> Constant | None:
    """The recorded answer with the highest mean on these samples; None where none was recorded."""
    recorded = evidence.observed(ConstantAnswers)
    if recorded is None or not recorded.answers or len(recorded.answers) != len(recorded.scores):
        return None
    answers = [
        Constant(str(answer), _by_label(row)[labels]) if len(row) > labels.max() else None
        for answer, row in zip(recorded.answers, map(_row, recorded.scores), strict=True)
    ]
    known = [answer for answer in answers if answer is not None]
    return max(known, key=lambda answer: float(np.mean(answer.scores))) if len(known) == len(answers) else None


def _row(values: object) -> list[float]:
    if not isinstance(values, list | tuple) or not all(
        isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST for value in values
    ):
        raise CertificateError("Evidence: the scores of a constant answer should be a list of numbers.")
    return [float(value) for value in values]


def _by_label(row: list[float]) -> Values:
    return np.array(row, dtype=np.float64)
