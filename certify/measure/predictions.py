"""The whole test set through both models, in the same runtime and batch as the windows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from certify.data.dataset import Dataset
from certify.data.scoring import score
from certify.errors import ModelError
from certify.evidence import Prediction
from certify.measure.inputs import parts, sample_bytes, save_samples
from certify.measure.subject import Subject
from certify.measure.windows import Running
from certify.progress import Progress


@dataclass(frozen=True)
class Predicted:
    """What one model says of each test sample: class put first (n,), its margin (n,), and the output's width."""

    top1: npt.NDArray[np.int64]
    margin: npt.NDArray[np.float64]
    width: int


def predict(
    dataset: Dataset, subject: Subject, running: Running, batch: int, folder: Path, progress: Progress
) -> Predicted:
    """Run and score the test set on one model.

    Raises:
        ModelError: the output is no table of classes, has the wrong width, or is not finite.
        DataError: a sample does not decode.
    """
    test, contract = dataset.test, subject.preprocess
    samples, outputs = folder / "samples.npy", folder / "outputs.npy"
    top1, margin, width = [], [], 0
    with progress.task(f"Scoring the {subject.arm} on {len(test)} test samples", len(test)) as task:
        for indices in parts(len(test), sample_bytes(contract), batch):
            save_samples(samples, test, indices, contract)
            expected_s = running.inference_s * -(-len(indices) // batch)
            running.worker.predict(samples, outputs, batch, expected_s)
            values = np.load(outputs)
            try:
                scores = score(values, test.labels[indices], contract.class_map, len(dataset.classes))
            except ModelError as error:
                raise ModelError(f"{subject.path} ({subject.arm}): {error}") from error
            width = values.shape[1]
            top1.append(scores.top1)
            margin.append(scores.margin)
            task.advance(len(indices))
    return Predicted(np.concatenate(top1), np.concatenate(margin), width)


def pair(dataset: Dataset, baseline: Predicted, candidate: Predicted) -> tuple[Prediction, ...]:
    """Records of all test samples, in the data's order."""
    test = dataset.test
    return tuple(
        Prediction(
            digest=test.digest(i),
            label=int(test.labels[i]),
            baseline_top1=int(baseline.top1[i]),
            baseline_margin=float(baseline.margin[i]),
            candidate_top1=int(candidate.top1[i]),
            candidate_margin=float(candidate.margin[i]),
        )
        for i in range(len(test))
    )
