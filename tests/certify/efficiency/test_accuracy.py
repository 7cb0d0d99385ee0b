from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from certify.assessments.efficiency.accuracy import accuracy_estimates
from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.grade import grade
from certify.assessments.efficiency.profile import derive
from certify.core.errors import CertificateError
from certify.core.evidence import Evidence
from certify.core.evidence_file import evidence_bytes, parse_evidence

Maker = Callable[..., Evidence]


def declared(evidence: Evidence, metric: str, baseline: np.ndarray, candidate: np.ndarray) -> Evidence:
    """The same evidence with another metric's scores."""
    predictions = tuple(
        dataclasses.replace(p, baseline_score=float(b), candidate_score=float(c))
        for p, b, c in zip(evidence.predictions, baseline, candidate, strict=True)
    )
    header = dataclasses.replace(evidence.header, data={**evidence.header.data, "metric": metric})
    return dataclasses.replace(evidence, header=header, predictions=predictions)


def right(evidence: Evidence, arm: str) -> np.ndarray:
    return np.array([float(getattr(p, f"{arm}_top1") == p.label) for p in evidence.predictions])


def test_right_and_wrong_give_the_same_loss_as_top1_when_declared(evidence: Evidence, edition: Edition) -> None:
    same = declared(evidence, "own:right", right(evidence, "baseline"), right(evidence, "candidate"))
    mine, top1 = accuracy_estimates(same, edition), accuracy_estimates(evidence, edition)
    for name in ("relative_loss_percent", "lost_samples", "gained_samples"):
        assert mine[name].value == top1[name].value
        assert (mine[name].low, mine[name].high) == (top1[name].low, top1[name].high)
        assert mine[name].method == f"own:right: {top1[name].method}"
    assert mine["score_baseline"].value == top1["accuracy_baseline"].value
    assert mine["accuracy_baseline"] == top1["accuracy_baseline"]


def test_loss_is_that_of_the_mean_score_when_scores_are_any_numbers(evidence: Evidence, edition: Edition) -> None:
    rng = np.random.default_rng(0)
    baseline = rng.uniform(0.5, 1.0, len(evidence.predictions))
    candidate = baseline - rng.uniform(0.0, 0.02, len(baseline))
    made = declared(evidence, "own:confidence", baseline, candidate)
    estimates = accuracy_estimates(parse_evidence(evidence_bytes(made)), edition)
    loss = estimates["relative_loss_percent"]
    assert loss.value == pytest.approx(100 * (1 - candidate.mean() / baseline.mean()))
    assert loss.low < loss.value < loss.high
    assert "Fieller" in loss.method and loss.method.startswith("own:confidence: ")
    assert "lost_samples" not in estimates
    assert estimates["score_candidate"].value == pytest.approx(candidate.mean())


def test_grade_says_that_another_metric_was_declared(evidence: Evidence, edition: Edition) -> None:
    n = len(evidence.predictions)
    scores = np.random.default_rng(0).uniform(0.5, 1.0, n)
    result = grade(derive(declared(evidence, "own:f", scores, scores - 0.001), edition), edition)
    assert result.letter is not None
    assert any("declared metric, not of top-1 (own:f: mean" in note for note in result.notes)
    assert not any("accuracy was lost" in note for note in result.notes)


def test_no_letter_is_given_when_the_baselines_score_may_be_nothing(evidence: Evidence, edition: Edition) -> None:
    scores = np.random.default_rng(0).normal(0.0, 1.0, len(evidence.predictions))
    result = grade(derive(declared(evidence, "own:f", scores, scores), edition), edition)
    assert result.letter is None
    assert any("loss of accuracy could not be determined" in reason for reason in result.reasons)


def test_scores_are_refused_when_they_do_not_fit_the_metric(evidence: Evidence, edition: Edition) -> None:
    ones = np.ones(len(evidence.predictions))
    with pytest.raises(CertificateError, match="the metric is top1, and 3000 scores"):
        accuracy_estimates(declared(evidence, "top1", ones, ones), edition)
    half = declared(evidence, "own:f", ones, ones)
    first = dataclasses.replace(half.predictions[0], candidate_score=None)
    with pytest.raises(CertificateError, match="own:f, and 2999 scores"):
        accuracy_estimates(dataclasses.replace(half, predictions=(first, *half.predictions[1:])), edition)


@pytest.mark.parametrize("metric", [3, "", None])
def test_metric_is_refused_when_it_is_no_name(metric: object, make_evidence: Maker, edition: Edition) -> None:
    evidence = make_evidence()
    header = dataclasses.replace(evidence.header, data={**evidence.header.data, "metric": metric})
    with pytest.raises(CertificateError, match="metric should be a name"):
        accuracy_estimates(dataclasses.replace(evidence, header=header), edition)
