"""Two measurements of one pair: what counts as agreement, and on which figure they part."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certify.assessment.agreement import Agreement
from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.remeasurement import compare_measurements
from certify.core.errors import CertificateError
from certify.core.evidence import Evidence, Observation

Builder = Callable[..., Evidence]


@pytest.fixture(scope="session", name="make_evidence")
def without_fresh_data(make_evidence: Builder) -> Builder:
    """Builds honest evidence of measurements in which no fresh data were scored."""

    return lambda **knobs: without_fresh(make_evidence(**knobs))


def without_fresh(evidence: Evidence) -> Evidence:
    return replace(evidence, observations=tuple(one for one in evidence.observations if one.name != "fresh_data"))


def outcomes(agreement: Agreement) -> dict[str, str]:
    return {figure.name: figure.outcome for figure in agreement.figures}


@pytest.fixture
def other_top1(with_predictions: Builder) -> Builder:
    """Puts another class first on some samples that the candidate had right."""

    def change(evidence: Evidence, changed: int) -> Evidence:
        samples = list(evidence.predictions)
        for i in range(changed):
            samples[i] = replace(samples[i], candidate_top1=(samples[i].candidate_top1 + 1) % 10)
        return with_predictions(evidence, samples)

    return change


def test_compare_measurements_agrees_when_noise_alone_differs(make_evidence: Builder, edition: Edition) -> None:
    agreement = compare_measurements(make_evidence(seed=1), make_evidence(seed=2), edition)
    assert outcomes(agreement) == dict.fromkeys(["accuracy_baseline", "accuracy_candidate", "energy_ratio"], "agrees")
    assert agreement.agrees and agreement.decided and agreement.verdict == "The two measurements agree."
    assert agreement.changed == {"baseline": (), "candidate": ()}


def test_compare_measurements_names_the_accuracy_when_samples_changed(
    make_evidence: Builder, other_top1: Builder, with_predictions: Builder, edition: Edition
) -> None:
    first = make_evidence()
    second = other_top1(make_evidence(seed=2), 87)  # 5.8 of 100, as an int8 file on another processor
    agreement = compare_measurements(first, without_fresh(with_predictions(second, second.predictions[::-1])), edition)
    assert outcomes(agreement) == {
        "accuracy_baseline": "agrees", "accuracy_candidate": "differs", "energy_ratio": "agrees",
    }  # fmt: skip
    figure = agreement.figures[1]
    assert figure.difference.value == pytest.approx(-5.8) and figure.p < 1e-20
    assert len(agreement.changed["candidate"]) == 87 and not agreement.changed["baseline"]
    assert not agreement.agrees and agreement.decided
    assert "DISAGREE on accuracy_candidate" in agreement.verdict


def test_compare_measurements_agrees_when_few_samples_changed(
    make_evidence: Builder, other_top1: Builder, edition: Edition
) -> None:
    agreement = compare_measurements(make_evidence(), other_top1(make_evidence(), 5), edition)
    assert outcomes(agreement)["accuracy_candidate"] == "agrees"  # 5 of 5 one way: p = 0.06
    agreement = compare_measurements(make_evidence(), other_top1(make_evidence(), 6), edition)
    assert outcomes(agreement)["accuracy_candidate"] == "differs"  # 6 of 6: p = 0.03


@pytest.mark.parametrize(
    ("ratio", "noise", "outcome"),
    [
        (0.31, 0.01, "agrees"),  # within what a null run may be off
        (0.36, 0.01, "differs"),
        (0.25, 0.01, "differs"),
        (0.30, 0.5, "undecided"),  # too wide to exclude a letter
        (0.90, 0.01, "differs"),
    ],
)
def test_compare_measurements_judges_the_energy_ratio_when_it_moved(
    make_evidence: Builder, edition: Edition, ratio: float, noise: float, outcome: str
) -> None:
    second = make_evidence(ratio=ratio, noise=noise, null_noise=0.01, seed=5, header={"time_limit_s": 1.0})
    figure = compare_measurements(make_evidence(ratio=0.3), second, edition).figures[-1]
    assert (figure.outcome, "letter" in figure.sentence) == (outcome, outcome != "differs"), figure.sentence


@pytest.mark.parametrize("knobs", [{"level": "modelled"}, {"host": {"foreign_cpu_share": 0.9}}])
def test_compare_measurements_leaves_energy_open_when_the_second_cannot_judge(
    make_evidence: Builder, edition: Edition, knobs: dict[str, object]
) -> None:
    agreement = compare_measurements(make_evidence(), make_evidence(ratio=0.9, **knobs), edition)
    assert outcomes(agreement)["energy_ratio"] == "undecided"
    assert not agreement.agrees and not agreement.decided
    assert "could not be confirmed" in agreement.verdict


def test_compare_measurements_refuses_when_something_else_was_measured(
    make_evidence: Builder, edition: Edition
) -> None:
    first = make_evidence()
    with pytest.raises(CertificateError, match="1490 against 1500"):
        compare_measurements(first, make_evidence(samples=1490), edition)
    swapped = replace(first.predictions[0], label=9)
    with pytest.raises(CertificateError, match="different samples"):
        compare_measurements(first, replace(first, predictions=(swapped, *first.predictions[1:])), edition)
    with pytest.raises(CertificateError, match="No sample"):
        compare_measurements(replace(first, predictions=()), replace(first, predictions=()), edition)
    with pytest.raises(CertificateError, match="batch 8"):
        workload = replace(first.header.workload, batch=8)
        compare_measurements(first, replace(first, header=replace(first.header, workload=workload)), edition)
    models = {**first.header.models, "candidate": replace(first.header.models["candidate"], file_digest="ff")}
    with pytest.raises(CertificateError, match="candidate file"):
        compare_measurements(first, replace(first, header=replace(first.header, models=models)), edition)
    forged = replace(first.windows[-7], duration_s=0.0)
    with pytest.raises(CertificateError, match="duration greater than 0"):
        compare_measurements(first, replace(first, windows=(*first.windows[:-7], forged)), edition)
    with pytest.raises(CertificateError, match="no energy_ratio"):
        compare_measurements(first, make_evidence(level=None), edition)
    agreement = compare_measurements(make_evidence(level=None), make_evidence(level=None), edition)
    assert outcomes(agreement) == dict.fromkeys(["accuracy_baseline", "accuracy_candidate"], "agrees")


@settings(max_examples=15)
@given(ratio=st.floats(0.05, 2.0), other=st.floats(0.05, 2.0))
def test_ratio_test_is_symmetric_when_the_two_are_swapped(
    make_evidence: Builder, edition: Edition, ratio: float, other: float
) -> None:
    runs = make_evidence(ratio=ratio, blocks=3), make_evidence(ratio=other, blocks=3, seed=1)
    there = compare_measurements(runs[0], runs[1], edition).figures[-1].difference
    back = compare_measurements(runs[1], runs[0], edition).figures[-1].difference
    assert math.isclose(there.value * back.value, 1, rel_tol=1e-9)
    assert math.isclose(there.low * back.high, 1, rel_tol=1e-9)


@pytest.mark.parametrize(("right", "outcome"), [(0.96, "agrees"), (0.5, "differs")])
def test_compare_measurements_tests_the_candidate_on_fresh_data_when_they_were_scored(
    make_evidence: Builder, edition: Edition, right: float, outcome: str
) -> None:
    both = round(1000 * right)
    fresh = {"name": "unseen", "test_digest": "ab" * 32, "samples": 1000, "shared": 0, "both": both,
             "only_baseline": 970 - both, "only_candidate": 0}  # fmt: skip
    second = make_evidence(seed=2)
    second = replace(second, observations=(*second.observations, Observation("fresh_data", fresh)))
    assert outcomes(compare_measurements(make_evidence(), second, edition))["accuracy_fresh"] == outcome
