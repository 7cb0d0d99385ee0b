from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from certify.core.errors import ModelError
from certify.core.progress import Silent
from certify.data.metrics import Metric, get_metric
from certify.measure.inputs import save_samples
from certify.measure.model_under_test import open_worker, subject
from certify.measure.predictions import Predicted, pair, predict
from certify.measure.windows import Running


def _predict(small_pair, folder: Path, metric: Metric | None) -> Predicted:
    model = subject("baseline", small_pair.baseline, small_pair.contract, 1, folder)
    save_samples(model.inputs, small_pair.dataset.test, [0, 1], small_pair.contract)
    with open_worker(model, "onnxruntime-cpu", 1, 1) as worker:
        return predict(small_pair.dataset, model, Running(worker, 1, 0.01, 1), 1, folder, Silent(), metric)


def _confidence(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(outputs.mean(axis=1) - outputs[np.arange(len(labels)), labels]))


def test_every_test_sample_has_a_score_when_a_metric_is_declared(small_pair, tmp_path: Path) -> None:
    assert small_pair.contract.sample_bytes() == 4 * 3 * 32 * 32
    plain = _predict(small_pair, tmp_path, get_metric("top1"))
    scored = _predict(small_pair, tmp_path, Metric("tests:confidence", _confidence))
    assert plain.declared is None
    assert scored.declared is not None and scored.declared.shape == (80,)
    assert np.array_equal(scored.top1, plain.top1)
    records = pair(small_pair.dataset, scored, scored)
    assert records[3].baseline_score == records[3].candidate_score == scored.declared[3]
    assert pair(small_pair.dataset, plain, plain)[3].baseline_score is None


def test_metric_is_refused_with_its_file_when_it_does_not_fit_the_model(small_pair, tmp_path: Path) -> None:
    with pytest.raises(
        ModelError,
        match=r"float\.onnx \(baseline\): The metric 'top5' must have more than 5 classes, got 4",
    ):
        _predict(small_pair, tmp_path, get_metric("top5"))
