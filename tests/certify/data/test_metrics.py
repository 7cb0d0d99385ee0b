from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from certify.core.errors import ModelError, UsageError
from certify.data import Metric, get_metric, score
from certify.data.metrics import PerSample

OUTPUTS = hnp.arrays(np.float64, st.tuples(st.integers(1, 6), st.integers(6, 9)), elements=st.integers(-3, 3))


@given(OUTPUTS)
def test_built_in_metrics_agree_with_sorting_when_outputs_tie(outputs: np.ndarray) -> None:
    labels = np.arange(len(outputs), dtype=np.int64)
    first, five = get_metric("top1").scores(outputs, labels), get_metric("top5").scores(outputs, labels)
    for row, label, one, among in zip(outputs, labels.tolist(), first, five, strict=True):
        ranked = sorted(range(len(row)), key=lambda k: (-row[k], k))
        assert one == (ranked[0] == label)
        assert among == (label in ranked[:5])
    assert np.array_equal(first, score(outputs, labels).correct)


def test_top5_refuses_when_there_are_no_more_classes() -> None:
    with pytest.raises(ModelError, match="5 classes"):
        get_metric("top5").scores(np.ones((2, 5)), np.array([0, 1]))


def test_score_applies_a_declared_metric_to_the_class_columns() -> None:
    outputs = np.zeros((2, 20))
    outputs[0, 19] = 5.0
    mapped = tuple(range(10, 20))
    scores = score(outputs, [9, 8], mapped, 10, get_metric("top5"))
    assert scores.declared is not None
    assert scores.declared.tolist() == [1.0, 0.0]
    assert score(outputs, [9, 8], mapped, 10, get_metric("top1")).declared is None


def test_own_metric_is_found_in_the_working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "def margin(outputs, labels):\n    return outputs[range(len(labels)), labels] > outputs.mean(axis=1)\n"
    (tmp_path / "own_metric_module.py").write_text(source + "\ndef broken(outputs, labels):\n    return outputs\n")
    monkeypatch.chdir(tmp_path)
    metric = get_metric("own_metric_module:margin")
    assert metric.scores(np.array([[1.0, 3.0]]), np.array([1])).tolist() == [1.0]
    assert metric.code == hashlib.sha256((tmp_path / "own_metric_module.py").read_bytes()).hexdigest()
    assert get_metric("top5").code is None
    with pytest.raises(ModelError, match="own_metric_module:broken.*one finite score per sample"):
        get_metric("own_metric_module:broken").scores(np.ones((3, 2)), np.zeros(3, dtype=np.int64))
    with pytest.raises(UsageError, match="margin"):
        get_metric("own_metric_module:margn")


def test_unknown_metric_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match="top5"):
        get_metric("top55")


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda outputs, labels: 100.0 + (outputs.argmax(1) == labels), r"in \[0, 1\], got 100 to 101"),
        (lambda outputs, labels: -0.1 * (outputs.argmax(1) == labels), "got -0.1 to"),
        (lambda outputs, labels: np.full(len(labels), np.nan), "one finite score"),
        (lambda outputs, labels: (outputs.argmax(1) == labels) / len(labels), "in another batch"),
        (lambda outputs, labels: np.linspace(0, 1, len(labels)), "in another batch"),
    ],
    ids=["an offset", "below 0", "no number", "a share of the batch", "by place"],
)
def test_scores_of_an_own_metric_are_refused_when_they_are_not_one_per_sample_from_0_to_1(
    function: PerSample, words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        Metric("own:metric", function).scores(np.eye(4)[[0, 1, 2, 0]], np.array([0, 1, 2, 3]))


def test_metric_is_refused_when_its_source_cannot_be_read() -> None:
    with pytest.raises(UsageError, match="source of the metric 'math:hypot' cannot be read"):
        get_metric("math:hypot")
