"""Numbers to predict: read, cut, scored, and graded by what a model adds to the best constant answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.grade import grade
from certify.assessments.efficiency.guards import judge_guards
from certify.assessments.efficiency.profile import derive
from certify.core.errors import DataError, ModelError, UsageError
from certify.core.evidence import Evidence, Observation, Prediction
from certify.data import Dataset, load
from certify.data.dataset import Targets
from certify.data.metrics import get_metric, is_own
from certify.data.regression import best_constant, closeness
from certify.data.scoring import score_numbers

NUMBERS = np.linspace(-1, 1, 40) ** 3


def read(folder: Path, numbers: Any = NUMBERS) -> Dataset:
    images = np.random.default_rng(0).integers(0, 256, (len(numbers), 8, 8), dtype=np.uint8)
    np.savez(folder / "numbers.npz", x=images, y=numbers)
    return load(f"npz:{folder / 'numbers.npz'}")


def test_floats_are_read_as_numbers_and_split_regardless_of_their_size(tmp_path: Path) -> None:
    data = read(tmp_path, NUMBERS[::-1])
    found = []
    for split in data.parts.values():
        assert split.targets is not None
        found += split.targets.values[split.labels].tolist()
    assert sorted(found) == sorted(NUMBERS)
    assert data.test.labels.max() > 30 > 10 > data.test.labels.min()  # not the smallest numbers alone


def test_data_and_metric_must_both_be_numeric(tmp_path: Path) -> None:
    numbers, classes = read(tmp_path).test, load("mnist5k").test
    assert numbers.scaled(0.5).subset([0]).targets == replace(numbers.scaled(0.5).targets, scale=0.5)  # type: ignore[type-var]
    assert classes.scaled(None).targets is None
    with pytest.raises(DataError, match="regression:SCALE"):
        numbers.scaled(None)
    with pytest.raises(DataError, match="hold classes"):
        classes.scaled(0.5)
    with pytest.raises(DataError, match="not finite"):
        read(tmp_path, np.array([1.0, np.nan, 2.0]))


def test_numeric_metric_is_leanmarks_own_and_needs_a_scale() -> None:
    assert is_own("regression:2") and get_metric("regression:2").code is None and not is_own("mine:regression")
    for name in ("regression:", "regression:0", "regression:-1", "regression:nan", "regression:inf", "regression:x"):
        with pytest.raises(UsageError, match="no valid scale"):
            get_metric(name)


def test_numbers_are_scored_by_the_error_clipped_at_the_scale() -> None:
    targets = Targets(np.array([0.0, 1.0, 5.0]), 2.0)
    found = score_numbers(np.array([[0.5], [-1.0], [9.0]]), np.array([0, 1, 2]), targets)
    assert found.declared is not None and found.declared.tolist() == [0.75, 0.0, 0.0]
    assert found.top1.tolist() == [0, 2, 0] and found.correct.tolist() == [True, False, False]
    assert found.margin.tolist() == [0.5, 1.0, 9.0]
    for outputs in (np.zeros((3, 2)), np.zeros(3), np.full((3, 1), np.nan)):
        with pytest.raises(ModelError):
            score_numbers(outputs, np.array([0, 1, 2]), targets)


@given(st.lists(st.integers(-20, 20), min_size=1, max_size=30), st.integers(1, 15))
def test_no_constant_answer_beats_the_best_constant_one(numbers: list[int], scale: int) -> None:
    truth = np.array(numbers, dtype=np.float64)
    best = closeness(best_constant(truth, scale), truth, scale).mean()
    others = [closeness(answer, truth, scale).mean() for answer in np.arange(-25, 25, 0.25)]
    assert best >= max(others) - 1e-9


Judge = Callable[..., Evidence]


@pytest.fixture
def scored(make_evidence: Any, with_predictions: Any) -> Judge:
    """Evidence of two models that err by some spread, on 1,500 numbers of spread 1; the candidate adds an offset."""

    def make(spreads: tuple[float, float], shrunk: float = 1.0, values: np.ndarray | None = None) -> Evidence:
        rng = np.random.default_rng(3)
        honest = make_evidence()
        table = np.sort(rng.standard_normal(len(honest.predictions)))
        targets, labels = Targets(table, 2.0), np.arange(len(table))
        answers = [(table + spread * rng.standard_normal(len(table)))[:, None] for spread in spreads]
        before, after = (score_numbers(one, labels, targets) for one in (answers[0], shrunk * answers[1]))
        assert before.declared is not None and after.declared is not None
        predictions = [
            Prediction(p.digest, i, int(before.top1[i]), float(before.margin[i]), int(after.top1[i]),
                       float(after.margin[i]), float(before.declared[i]), float(after.declared[i]))
            for i, p in enumerate(honest.predictions)
        ]  # fmt: skip
        data = {**honest.header.data, "metric": "regression:2", "targets": targets.digest()}
        evidence: Evidence = with_predictions(replace(honest, header=replace(honest.header, data=data)), predictions)
        told = Observation("targets", {"numbers": (table if values is None else values).tolist()})
        return replace(evidence, observations=(*evidence.observations, told))

    return make


def failed(evidence: Evidence, edition: Edition) -> dict[str, str]:
    return {one.name: one.sentence for one in judge_guards(evidence, edition) if one.outcome != "pass"}


def test_candidate_earns_a_letter_when_it_predicts_about_as_well(scored: Judge, edition: Edition) -> None:
    evidence = scored((0.1, 0.11))
    assert failed(evidence, edition) == {}
    profile = derive(evidence, edition)
    assert grade(profile, edition).letter is not None
    constant = profile.estimates["score_constant"]
    assert 0.5 < constant.value < 0.7  # 1 - E|x| / 2 of a normal spread, without what lies beyond 2
    before, after = profile.estimates["score_baseline"].value, profile.estimates["score_candidate"].value
    expected = 100 * (1 - (after - constant.value) / (before - constant.value))
    assert profile.estimates["relative_loss_percent"].value == pytest.approx(expected)


def test_no_letter_is_given_when_errors_grow_or_the_answer_is_constant(scored: Judge, edition: Edition) -> None:
    worse = scored((0.1, 0.4))
    assert failed(worse, edition) == {} and grade(derive(worse, edition), edition).letter is None
    assert list(failed(scored((0.1, 0.1), shrunk=0.0), edition)) == ["candidate_beats_majority"]


def test_metric_bound_fails_when_scores_or_numbers_differ(scored: Judge, edition: Edition) -> None:
    honest = scored((0.1, 0.11))
    better = [replace(p, candidate_score=0.0) if i < 5 else p for i, p in enumerate(honest.predictions)]
    assert list(failed(replace(honest, predictions=tuple(better)), edition)) == ["metric_bound"]
    for values in (np.zeros(1500), np.zeros(3)):
        assert "not the ones" in failed(scored((0.1, 0.11), values=values), edition)["metric_bound"]
