"""Declared metric: its scores per sample, and those of the best answer that ignores the input.

A metric may have any zero point: ``100 + correct`` says the same as ``correct`` about two models, but its relative loss
is about a hundredth. What a model scores above the best constant answer has a zero that no metric can choose.
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
"""Tolerance for scores outside 0 to 1; a mean of floats need not be exact."""


@dataclass(frozen=True)
class Constant:
    """Best constant answer.

    Attributes:
        answer: the answer in a few words.
        scores: its scores by the declared metric, per sample, (n,).
    """

    answer: str
    scores: Values


@dataclass(frozen=True)
class Declared:
    """Scores of the distinct test samples by a metric other than top-1.

    Attributes:
        metric: name of the metric.
        baseline: scores of the baseline, (n,).
        candidate: likewise of the candidate.
        constant: best constant answer; None if the evidence does not contain it.
    """

    metric: str
    baseline: Values
    candidate: Values
    constant: Constant | None


def declared_metric(evidence: Evidence) -> str:
    """Return the name of the graded metric; top-1 if the evidence declares none.

    Raises:
        CertificateError: the name is not a string.
    """
    name = evidence.header.data.get("metric", TOP1)
    if not isinstance(name, str) or not name:
        raise CertificateError(f"Evidence: the metric must be a name, got {name!r}.")
    return name


def declared_scores(evidence: Evidence) -> Declared | None:
    """Return both models' scores by the declared metric; None if that is top-1.

    Raises:
        CertificateError: a sample lacks a score, has a score without a declared metric, or a score is invalid.
    """
    metric, samples = declared_metric(evidence), evidence.samples
    pairs = [(p.baseline_score, p.candidate_score) for p in samples]
    known = [value for pair in pairs for value in pair if value is not None]
    # All or none: with a few scores left out, a maker could drop the samples that the candidate lost.
    if len(known) != (0 if metric == TOP1 else 2 * len(pairs)):
        raise CertificateError(
            f"Evidence: the metric is {metric}, but {len(known)} scores are recorded for {len(pairs)} samples."
        )
    if metric == TOP1 or not pairs:
        return None
    if len(pairs) < 2 or not all(abs(value) < LARGEST for value in known):
        raise CertificateError(f"Evidence: the scores by {metric} are too few or contain an invalid number.")
    values = np.array(known, dtype=np.float64).reshape(-1, 2)
    labels = evidence.labels()
    if (scale := scale_of(metric)) is not None:
        constant = _best_number(evidence, labels, scale)
    else:
        constant = _commonest_five(labels) if is_own(metric) else _best(evidence, labels)
    return Declared(metric, values[:, 0], values[:, 1], constant)


def metric_fault(evidence: Evidence) -> str | None:
    """Return what is wrong with the declared metric or its scores, to follow its name; None if nothing is."""
    declared = declared_scores(evidence)
    if declared is None:
        return None
    return next(_faults(declared, evidence), None)


def _faults(declared: Declared, evidence: Evidence) -> Iterator[str]:
    constant = [] if declared.constant is None else [declared.constant.scores]
    scores = np.concatenate([declared.baseline, declared.candidate, *constant])
    if scores.min() < -TOLERANCE or scores.max() > 1 + TOLERANCE:
        yield f"gave scores from {scores.min():.6g} to {scores.max():.6g}, but they must be in [0, 1]"
    if is_own(declared.metric):
        right = np.array([[p.baseline_top1 == p.label, p.candidate_top1 == p.label] for p in evidence.samples])
        columns = np.column_stack([declared.baseline, declared.candidate])
        numbers = scale_of(declared.metric) is not None
        if numbers and declared.constant is None:
            yield "is for regression, but the recorded targets are not the ones that the certificate states"
        # Class scores are 0 or 1, and at least those of top-1. For regression, a positive score counts as correct.
        if (
            ((columns > 0) != right).any()
            if numbers
            else not np.isin(columns, (0.0, 1.0)).all() or (columns < right).any()
        ):
            yield "gave scores that do not follow from the models' top-1 classes"
        return
    code = evidence.header.data.get("metric_code")
    if not isinstance(code, str) or not DIGEST.fullmatch(code):
        yield "is third-party code without a stated digest of its source"
    if declared.constant is None:
        yield "was not scored on constant answers, so there is nothing to compare its scores with"


def _commonest_five(labels: npt.NDArray[np.int64]) -> Constant:
    """Return the best constant answer by the built-in metrics other than top-1: the five most common classes."""
    classes, counts = np.unique(labels, return_counts=True)
    # A stable sort breaks ties by class number on every machine.
    named = classes[np.argsort(-counts, kind="stable")[:FIVE]]
    return Constant("the five most common classes", np.isin(labels, named).astype(np.float64))


def _best_number(evidence: Evidence, labels: npt.NDArray[np.int64], scale: float) -> Constant | None:
    """Return the best constant answer in regression; None if the targets were not recorded as stated."""
    recorded = evidence.observed(TargetValues)
    values = Targets(np.array([] if recorded is None else _row(recorded.numbers), dtype=np.float64))
    # The constant answer is the bar for both models, so its targets must be those that were signed.
    if values.digest() != evidence.header.data.get("targets") or labels.max() >= len(values.values):
        return None
    truth = values.values[labels]
    best = best_constant(truth, scale)
    return Constant(f"{best:.6g}", closeness(best, truth, scale))


def _best(evidence: Evidence, labels: npt.NDArray[np.int64]) -> Constant | None:
    """Return the recorded answer with the highest mean on these samples; None if none was recorded."""
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
        raise CertificateError("Evidence: the scores of a constant answer must be a list of numbers.")
    return [float(value) for value in values]


def _by_label(row: list[float]) -> Values:
    return np.array(row, dtype=np.float64)
