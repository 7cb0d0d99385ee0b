from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.guards.runs import baseline_at_best_settings
from certify.core.errors import CertificateError
from certify.core.evidence import Evidence, Observation


def _with_choice(evidence: Evidence, **costs: Any) -> Evidence:
    chosen = Observation("runtime_choice", {"chosen": "onnxruntime-cpu", "unit": "J", "costs": costs, "left_out": {}})
    return replace(evidence, observations=(*evidence.observations, chosen))


def test_guard_passes_when_the_cheapest_runtime_was_taken(evidence: Evidence, edition: Edition) -> None:
    costs = {"onnxruntime-cpu": {"1": [9.0, 9.0], "2": [1.0, 2.0]}, "openvino": {"1": [1.6, 1.5]}}
    assert baseline_at_best_settings(_with_choice(evidence, **costs), edition).outcome == "pass"


def test_guard_fails_when_another_runtime_was_cheaper_for_the_baseline(evidence: Evidence, edition: Edition) -> None:
    costs = {"onnxruntime-cpu": {"1": [1.6, 1.5]}, "openvino": {"1": [9.0], "2": [1.0, 2.0]}}
    finding = baseline_at_best_settings(_with_choice(evidence, **costs), edition)
    assert finding.outcome == "fail" and "ran on onnxruntime-cpu" in finding.sentence and "openvino" in finding.sentence


def test_guard_fails_when_the_models_ran_on_a_runtime_that_was_not_tried(evidence: Evidence, edition: Edition) -> None:
    assert baseline_at_best_settings(_with_choice(evidence, openvino={"1": [1.0]}), edition).outcome == "fail"


@pytest.mark.parametrize("values", ["cheap", [], ["1"], [float("nan")], [-1.0], None])
def test_guard_refuses_costs_that_are_no_numbers(evidence: Evidence, edition: Edition, values: Any) -> None:
    with pytest.raises(CertificateError):
        baseline_at_best_settings(_with_choice(evidence, **{"onnxruntime-cpu": {"1": values}}), edition)
