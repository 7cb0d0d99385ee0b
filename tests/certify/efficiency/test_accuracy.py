from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from certify.assessments.efficiency.accuracy import accuracy_estimates
from certify.assessments.efficiency.classes import class_losses
from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.grade import grade
from certify.assessments.efficiency.profile import derive
from certify.core.errors import CertificateError
from certify.core.estimate import Estimate
from certify.core.evidence import Evidence, Observation
from certify.core.evidence_file import evidence_bytes, parse_evidence
from certify.core.observations import ConstantAnswers

Maker = Callable[..., Evidence]


def declared(
    evidence: Evidence, metric: str, baseline: np.ndarray, candidate: np.ndarray, constant: float = 0.1
) -> Evidence:
    """The same evidence with another metric's scores; to name one class is worth ``constant`` on its samples."""
    predictions = tuple(
        dataclasses.replace(p, baseline_score=float(b), candidate_score=float(c))
        for p, b, c in zip(evidence.predictions, baseline, candidate, strict=True)
    )
    data = {**evidence.header.data, "metric": metric, "metric_code": "ab" * 32}
    answers = ConstantAnswers(["any"], [[constant] * 10])
    return dataclasses.replace(
        evidence,
        header=dataclasses.replace(evidence.header, data=data),
        predictions=predictions,
        observations=(*evidence.observations, Observation.of(answers)),
    )


def right(evidence: Evidence, arm: str) -> np.ndarray:
    return np.array([float(getattr(p, f"{arm}_top1") == p.label) for p in evidence.predictions])


@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1.0), (0.9, 0.1), (0.999, 0.001)])
def test_loss_is_the_same_when_a_metric_is_mapped_to_another_zero(
    offset: float, scale: float, evidence: Evidence, edition: Edition
) -> None:
    """What ``100 + right`` did, squeezed into 0 to 1."""

    def loss(offset: float, scale: float) -> Estimate:
        scores = [offset + scale * right(evidence, arm) for arm in ("baseline", "candidate")]
        made = declared(evidence, "own:right", *scores, offset + scale * 0.1)
        return accuracy_estimates(made, edition)["relative_loss_percent"]

    plain, mapped = loss(0.0, 1.0), loss(offset, scale)
    assert mapped.value == pytest.approx(plain.value, rel=1e-6)
    assert (mapped.low, mapped.high) == pytest.approx((plain.low, plain.high), rel=1e-6)
    above = [float(right(evidence, arm).mean()) - 0.1 for arm in ("baseline", "candidate")]
    assert plain.value == pytest.approx(100 * (1 - above[1] / above[0]))


def test_loss_is_that_of_the_mean_score_when_scores_are_any_numbers(evidence: Evidence, edition: Edition) -> None:
    rng = np.random.default_rng(0)
    baseline = rng.uniform(0.5, 1.0, len(evidence.predictions))
    candidate = baseline - rng.uniform(0.0, 0.02, len(baseline))
    made = declared(evidence, "own:confidence", baseline, candidate)
    estimates = accuracy_estimates(parse_evidence(evidence_bytes(made)), edition)
    loss = estimates["relative_loss_percent"]
    assert loss.value == pytest.approx(100 * (1 - (candidate.mean() - 0.1) / (baseline.mean() - 0.1)))
    assert loss.low < loss.value < loss.high
    assert "Fieller" in loss.method and loss.method.startswith("own:confidence: ")
    assert "lost_samples" not in estimates
    assert estimates["score_candidate"].value == pytest.approx(candidate.mean())
    assert estimates["score_constant"].value == pytest.approx(0.1)


def test_repeated_samples_count_once_when_there_are_forty_of_each(evidence: Evidence, edition: Edition) -> None:
    """Samples that the candidate alone gets right, again and again, gain nothing and narrow nothing."""
    gained = [p for p in evidence.predictions if p.candidate_top1 == p.label != p.baseline_top1]
    again = dataclasses.replace(evidence, predictions=(*evidence.predictions, *gained * 40))
    once, often = accuracy_estimates(evidence, edition), accuracy_estimates(again, edition)
    assert often.pop("duplicate_samples").value == 40 * len(gained) > 0
    assert often == once
    assert class_losses(again, edition) == class_losses(evidence, edition)


def test_grade_notes_that_another_metric_was_declared(evidence: Evidence, edition: Edition) -> None:
    n = len(evidence.predictions)
    scores = np.random.default_rng(0).uniform(0.5, 1.0, n)
    result = grade(derive(declared(evidence, "own:f", scores, scores - 0.001), edition), edition)
    assert result.letter is not None
    assert any("declared metric, not of top-1 (own:f: mean" in note for note in result.notes)
    assert not any("accuracy was lost" in note for note in result.notes)


def test_no_letter_is_given_when_the_baseline_score_may_be_zero(evidence: Evidence, edition: Edition) -> None:
    scores = 0.1 + np.random.default_rng(0).normal(0.0, 1.0, len(evidence.predictions))
    result = grade(derive(declared(evidence, "own:f", scores, scores), edition), edition)
    assert result.letter is None
    assert any("accuracy loss could not be determined" in reason for reason in result.reasons)


def test_scores_are_refused_when_they_do_not_fit_the_metric(evidence: Evidence, edition: Edition) -> None:
    ones = np.ones(len(evidence.predictions))
    with pytest.raises(CertificateError, match="the metric is top1, but 3000 scores"):
        accuracy_estimates(declared(evidence, "top1", ones, ones), edition)
    half = declared(evidence, "own:f", ones, ones)
    first = dataclasses.replace(half.predictions[0], candidate_score=None)
    with pytest.raises(CertificateError, match="own:f, but 2999 scores"):
        accuracy_estimates(dataclasses.replace(half, predictions=(first, *half.predictions[1:])), edition)


@pytest.mark.parametrize("metric", [3, "", None])
def test_metric_is_refused_when_it_is_not_a_name(metric: object, make_evidence: Maker, edition: Edition) -> None:
    evidence = make_evidence()
    header = dataclasses.replace(evidence.header, data={**evidence.header.data, "metric": metric})
    with pytest.raises(CertificateError, match="metric must be a name"):
        accuracy_estimates(dataclasses.replace(evidence, header=header), edition)
