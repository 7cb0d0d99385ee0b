"""Predictions of both models for the whole test set, with the same runtime and batch as the windows."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from certify.core.errors import ModelError
from certify.core.evidence import Prediction
from certify.core.progress import Progress
from certify.data.constant_answers import Answers
from certify.data.dataset import Dataset
from certify.data.metrics import Metric
from certify.data.probabilities import Probabilities
from certify.data.scoring import Scores, score_split
from certify.measure.inputs import parts, save_samples
from certify.measure.model_under_test import Subject
from certify.measure.windows import Running


@dataclass(frozen=True)
class Predicted:
    """Predictions of one model for each test sample.

    Attributes:
        top1: top-1 class, (n,).
        margin: largest output minus second largest, (n,).
        width: number of outputs.
        declared: scores by the declared metric, (n,); None if top-1 is the metric.
        answers: summary of the outputs for constant answers; None if top-1 is the metric.
        beyond: probabilistic scores; None for numeric targets.
    """

    top1: npt.NDArray[np.int64]
    margin: npt.NDArray[np.float64]
    width: int
    declared: npt.NDArray[np.float64] | None = None
    answers: Answers = field(default_factory=Answers)
    beyond: Probabilities | None = None


def predict(
    dataset: Dataset,
    subject: Subject,
    running: Running,
    batch: int,
    folder: Path,
    progress: Progress,
    metric: Metric | None = None,
) -> Predicted:
    """Run and score the test set on one model.

    Args:
        dataset: data whose test part is scored.
        subject: the model.
        running: its warm worker.
        batch: number of samples per inference.
        folder: folder for the arrays exchanged with the worker.
        progress: display of the progress.
        metric: declared metric besides top-1.

    Raises:
        ModelError: the output has the wrong shape or width, is not finite, or cannot be scored.
        DataError: a sample cannot be decoded.
    """
    test, contract = dataset.test, subject.preprocess
    samples, outputs = folder / "samples.npy", folder / "outputs.npy"
    found: list[Scores] = []
    answers, width = Answers(), 0
    with progress.task(f"Scoring the {subject.arm} on {len(test)} test samples", len(test)) as task:
        for indices in parts(len(test), contract.sample_bytes(), batch):
            save_samples(samples, test, indices, contract)
            expected_s = running.inference_s * -(-len(indices) // batch)
            running.worker.predict(samples, outputs, batch, expected_s)
            values = np.load(outputs)
            try:
                part, classes = test.subset(indices), len(dataset.classes)
                scored = score_split(values, part, contract.class_map, classes, metric, contract.reading)
            except ModelError as error:
                raise ModelError(f"{subject.path} ({subject.arm}): {error}") from error
            if scored.outputs is not None:
                answers.add(scored.outputs, scored.top1, scored.margin)
            # Outputs are dropped part by part, because those of a large test set may not fit into memory.
            found.append(replace(scored, outputs=None))
            width = values.shape[1]
            task.advance(len(indices))
    declared = [scores.declared for scores in found if scores.declared is not None]
    beyond = [scores.beyond for scores in found if scores.beyond is not None]
    return Predicted(
        np.concatenate([scores.top1 for scores in found]),
        np.concatenate([scores.margin for scores in found]),
        width,
        np.concatenate(declared) if declared else None,
        answers,
        Probabilities.joined(beyond) if beyond else None,
    )


def pair(dataset: Dataset, baseline: Predicted, candidate: Predicted) -> tuple[Prediction, ...]:
    """Return the records of all test samples, in the data's order."""
    test = dataset.test
    return tuple(
        Prediction(
            digest=test.digest(i),
            label=int(test.labels[i]),
            baseline_top1=int(baseline.top1[i]),
            baseline_margin=float(baseline.margin[i]),
            candidate_top1=int(candidate.top1[i]),
            candidate_margin=float(candidate.margin[i]),
            baseline_score=None if baseline.declared is None else float(baseline.declared[i]),
            candidate_score=None if candidate.declared is None else float(candidate.declared[i]),
        )
        for i in range(len(test))
    )
