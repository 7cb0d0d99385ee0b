from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from certify.core.errors import ModelError
from certify.data import score


def test_score_gives_top1_margin_and_correct_when_outputs_are_plain() -> None:
    scores = score(np.array([[1.0, 3.5, 2.0], [5.0, -1.0, 4.0]], dtype=np.float32), [1, 2])
    assert scores.top1.tolist() == [1, 0]
    assert scores.margin.tolist() == [1.5, 1.0]
    assert scores.correct.tolist() == [True, False]
    assert (scores.top1.dtype, scores.margin.dtype, scores.correct.dtype) == (np.int64, np.float64, np.bool_)
    assert scores.accuracy == 0.5


def test_score_takes_the_lowest_class_when_outputs_tie() -> None:
    scores = score(np.array([[0.0, 2.0, 2.0], [1.0, 1.0, 1.0]]), [1, 0])
    assert scores.top1.tolist() == [1, 0]
    assert scores.margin.tolist() == [0.0, 0.0]


def test_score_looks_only_at_mapped_columns_when_there_is_a_class_map() -> None:
    outputs = np.zeros((2, 1000), dtype=np.float32)
    outputs[:, 3] = 99.0
    outputs[0, 217], outputs[1, 0] = 2.0, 1.0
    scores = score(outputs, [1, 0], class_map=(0, 217))
    assert scores.top1.tolist() == [1, 0]
    assert scores.margin.tolist() == [2.0, 1.0]


def test_score_breaks_ties_by_class_when_columns_are_not_in_order() -> None:
    assert score(np.array([[4.0, 4.0]]), [0], class_map=(1, 0)).top1.tolist() == [0]


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(2, 7)), elements=st.integers(-4, 4)))
def test_score_agrees_with_sorting_when_outputs_are_any(outputs: np.ndarray) -> None:
    scores = score(outputs, np.zeros(len(outputs), dtype=np.int64))
    for row, top1, margin in zip(outputs.astype(float), scores.top1, scores.margin, strict=True):
        ranked = sorted(range(len(row)), key=lambda k: (-row[k], k))
        assert top1 == ranked[0]
        assert margin == row[ranked[0]] - row[ranked[1]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_score_is_refused_when_an_output_is_not_finite(value: float) -> None:
    outputs = np.ones((4, 3))
    outputs[2, 1] = value
    with pytest.raises(ModelError, match="not finite for 1 of 4 samples .*sample 2"):
        score(outputs, [0, 1, 2, 0])


@pytest.mark.parametrize(
    ("shape", "class_map", "classes", "words"),
    [
        ((4, 2), None, None, "2 outputs, but the data have at least 3 classes"),
        ((4, 1000), None, 3, "1000 outputs, but the data have 3 classes"),
        ((4, 2), None, 3, "2 outputs, but the data have 3 classes"),
        ((4, 10), (1, 2, 10), 3, "10 outputs, but the class map needs at least 11"),
        ((4, 10), (1, 2), 3, "class map has 2 entries, but the data have 3 classes"),
        ((4, 10), (1, 2), None, "class map has 2 entries, but the data have 3 classes"),
        ((4,), None, None, r"got \(4,\)"),
        ((4, 3, 1, 2), None, None, r"got \(4, 3, 1, 2\)"),
        ((4, 3, 0), None, None, r"got \(4, 3, 0\)"),
        ((3, 3), None, None, r"must have shape \(4, classes\)"),
    ],
)
def test_score_is_refused_with_both_widths_when_the_outputs_do_not_fit(
    shape: tuple[int, ...], class_map: tuple[int, ...] | None, classes: int | None, words: str
) -> None:
    with pytest.raises(ModelError, match=words):
        score(np.ones(shape), [0, 1, 2, 0], class_map, classes)


@pytest.mark.parametrize("axes", [(1,), (1, 1), (1, 1, 1)])
def test_score_reads_outputs_when_further_axes_hold_one_value(axes: tuple[int, ...]) -> None:
    outputs = np.eye(3)[[0, 1, 2, 1]]
    assert score(outputs.reshape(4, 3, *axes), [0, 1, 2, 0]).correct.tolist() == [True, True, True, False]


def test_score_accepts_wider_outputs_when_the_number_of_classes_is_not_given() -> None:
    assert score(np.eye(4), [0, 1, 1, 1]).correct.tolist() == [True, True, False, False]
