from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import bdtr

from certify.assessments.efficiency.classes import SIGNED_CLASSES, class_estimates, class_losses
from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.grade import grade
from certify.assessments.efficiency.profile import derive
from certify.core.errors import CertificateError
from certify.core.evidence import Evidence, Observation, Prediction
from certify.core.statistics.multiple import holm

Maker = Callable[..., Evidence]


def scored(evidence: Evidence, baseline: np.ndarray, candidate: np.ndarray, labels: np.ndarray) -> Evidence:
    """Evidence in which each sample is right or wrong as told."""
    made = [
        Prediction(f"{i:064x}", label, label if b else label + 1, 1.0, label if c else label + 1, 1.0)
        for i, (b, c, label) in enumerate(zip(baseline.tolist(), candidate.tolist(), labels.tolist(), strict=True))
    ]
    return dataclasses.replace(evidence, predictions=tuple(made))


@pytest.fixture
def hurt(evidence: Evidence) -> Evidence:
    """Twenty classes of 100 samples, of which class 7 loses 15 and all others nothing."""
    labels = np.repeat(np.arange(20), 100)
    baseline = np.tile(np.arange(100) < 95, 20)
    candidate = baseline & ~((labels == 7) & (np.tile(np.arange(100), 20) < 15))
    names = Observation("classes", {"names": [f"animal {i}" for i in range(20)]})
    made = scored(evidence, baseline, candidate, labels)
    return dataclasses.replace(made, observations=(*made.observations, names))


def test_classes_are_listed_by_clearest_loss_when_one_is_worse(hurt: Evidence, edition: Edition) -> None:
    losses = class_losses(hurt, edition)
    assert len(losses) == 20
    first = losses[0]
    assert (first.label, first.name, first.baseline.n) == (7, "animal 7", 100)
    assert (first.baseline.value, first.candidate.value) == (0.95, 0.8)
    assert first.difference.value == pytest.approx(-15)
    assert first.difference.high < 0
    assert first.p.value == pytest.approx(20 * 2 * 0.5**15)
    assert first.is_worse(edition)
    assert not any(loss.is_worse(edition) for loss in losses[1:])


def test_profile_signs_few_classes_when_there_are_a_thousand(evidence: Evidence, edition: Edition) -> None:
    labels = np.tile(np.arange(1000), 5)
    rng = np.random.default_rng(0)
    many = scored(evidence, rng.random(5000) < 0.8, rng.random(5000) < 0.78, labels)
    estimates = class_estimates(class_losses(many, edition), edition)
    assert sum(name.endswith("_difference_points") for name in estimates) == SIGNED_CLASSES
    assert len(json.dumps({name: estimate.to_json() for name, estimate in estimates.items()})) < 16_000
    assert len(class_losses(many, edition)) == 1000


def test_grade_names_the_class_that_is_worse(hurt: Evidence, edition: Edition) -> None:
    profile = derive(hurt, edition)
    assert profile.estimates["classes_worse"].value == 1
    note = next(note for note in grade(profile, edition).notes if "is significant" in note)
    assert note == "In 1 of the classes the loss is significant, most clearly in class animal 7: 15 of 95 points."


def test_grade_names_no_class_when_none_is_worse(evidence: Evidence, edition: Edition) -> None:
    assert not any("of the classes" in note for note in grade(derive(evidence, edition), edition).notes)


def test_false_alarms_are_rare_when_no_class_is_worse(evidence: Evidence, edition: Edition) -> None:
    """The chance to call any of ten classes worse that is not stays below 5 % (here one-sided: 2.5 %)."""
    rng = np.random.default_rng(1)
    called = 0
    for _ in range(1000):
        gained, lost = rng.binomial(100, 0.05, (2, 10))
        p = holm(np.minimum(1.0, 2 * bdtr(np.minimum(gained, lost).astype(float), gained + lost, 0.5)))
        called += bool(np.any((p <= 0.05) & (lost > gained)))
    assert called / 1000 <= 0.03


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_never_lowers_and_keeps_the_order(values: list[float]) -> None:
    p = np.array(values)
    corrected = holm(p)
    assert np.all(corrected >= p) and np.all(corrected <= 1)
    order = np.argsort(p, kind="stable")
    assert np.all(np.diff(corrected[order]) >= 0)
    assert corrected[order[0]] == pytest.approx(min(1.0, len(p) * p[order[0]]))


def test_holm_matches_a_worked_example() -> None:
    assert holm(np.array([0.01, 0.04, 0.03, 0.005])) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_classes_are_absent_when_nothing_was_scored(evidence: Evidence, edition: Edition) -> None:
    assert class_estimates(class_losses(dataclasses.replace(evidence, predictions=()), edition), edition) == {}


def test_classes_are_refused_when_their_names_are_not_strings(make_evidence: Maker, edition: Edition) -> None:
    with pytest.raises(CertificateError, match="class names"):
        class_losses(make_evidence(observations={"classes": {"names": [1, 2]}}), edition)
