from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from certify.assessments.efficiency.cost import cost_estimates
from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.guards import judge_guards
from certify.assessments.efficiency.guards.runs import baseline_at_best_settings
from certify.assessments.efficiency.guards.runtime import same_choices
from certify.core.errors import CertificateError
from certify.core.evidence import Evidence, Observation

OWN = {"runtime": "openvino-bf16", "runtime_version": "2026", "provider": "CPU", "precision": "bfloat16"}
ORT, OPENVINO = {"onnxruntime-cpu": {"1": [1.0]}}, {"openvino-bf16": {"1": [2.0]}}


def _with_choice(
    evidence: Evidence, baseline: Mapping[str, Any], candidate: Mapping[str, Any] | None = None,
    left_out: Mapping[str, Any] | None = None, **workload: Any,
) -> Evidence:  # fmt: skip
    costs = {"baseline": baseline, "candidate": baseline if candidate is None else candidate}
    values = {"unit": "J", "costs": costs, "left_out": left_out or {"baseline": {}, "candidate": {}}}
    header = replace(evidence.header, workload=replace(evidence.header.workload, **workload))
    return replace(
        evidence, header=header, observations=(*evidence.observations, Observation("runtime_choice", values))
    )


def test_guard_passes_when_the_cheapest_runtime_was_chosen(evidence: Evidence, edition: Edition) -> None:
    costs = {"onnxruntime-cpu": {"1": [9.0, 9.0], "2": [1.0, 2.0]}, "openvino": {"1": [1.6, 1.5]}}
    assert baseline_at_best_settings(_with_choice(evidence, costs), edition).outcome == "pass"


def test_guard_fails_when_another_runtime_was_cheaper_for_the_baseline(evidence: Evidence, edition: Edition) -> None:
    costs = {"onnxruntime-cpu": {"1": [1.6, 1.5]}, "openvino": {"1": [9.0], "2": [1.0, 2.0]}}
    finding = baseline_at_best_settings(_with_choice(evidence, costs), edition)
    assert finding.outcome == "fail" and "ran on onnxruntime-cpu" in finding.sentence and "openvino" in finding.sentence


def test_guard_fails_when_the_models_ran_on_a_runtime_that_was_not_tried(evidence: Evidence, edition: Edition) -> None:
    assert baseline_at_best_settings(_with_choice(evidence, {"openvino": {"1": [1.0]}}), edition).outcome == "fail"


@pytest.mark.parametrize("values", ["cheap", [], ["1"], [float("nan")], [-1.0], None])
def test_guard_refuses_costs_that_are_not_numbers(evidence: Evidence, edition: Edition, values: Any) -> None:
    with pytest.raises(CertificateError):
        baseline_at_best_settings(_with_choice(evidence, {"onnxruntime-cpu": {"1": values}}), edition)


def test_choices_pass_when_both_had_the_same_list_or_no_choice_was_made(evidence: Evidence, edition: Edition) -> None:
    assert same_choices(evidence, edition).outcome == "pass"
    chosen = _with_choice(evidence, {**ORT, **OPENVINO}, candidate_runtime=OWN)
    assert same_choices(chosen, edition).outcome == "pass"
    failed = {"baseline": {}, "candidate": {"openvino-bf16": "no kernel."}}
    assert same_choices(_with_choice(evidence, {**ORT, **OPENVINO}, ORT, failed), edition).outcome == "pass"


def test_choices_fail_alone_when_the_lists_differ(evidence: Evidence, edition: Edition) -> None:
    forged = _with_choice(evidence, ORT, {**ORT, **OPENVINO})
    assert {one.name for one in judge_guards(forged, edition) if one.outcome == "fail"} == {"same_choices"}
    assert "the lists differ" in same_choices(forged, edition).sentence


def test_choices_fail_when_the_candidate_ran_where_the_baseline_could_not(evidence: Evidence, edition: Edition) -> None:
    left_out = {"baseline": {"openvino-bf16": "no kernel."}, "candidate": {}}
    forged = _with_choice(evidence, ORT, {**ORT, **OPENVINO}, left_out, candidate_runtime=OWN)
    assert "cannot run the baseline" in same_choices(forged, edition).sentence
    assert same_choices(forged, edition).outcome == "fail"


def test_choices_fail_when_runtimes_differ_and_no_choice_was_recorded(evidence: Evidence, edition: Edition) -> None:
    workload = replace(evidence.header.workload, candidate_runtime=OWN)
    assert (
        same_choices(replace(evidence, header=replace(evidence.header, workload=workload)), edition).outcome == "fail"
    )


def _against_default(evidence: Evidence, factor: float) -> Evidence:
    """The null run once more, as a run of the baseline whose first arm ran at the default runtime."""
    names = {"baseline": "baseline_default", "baseline_again": "baseline"}
    scale = {"baseline": 1.0, "baseline_again": factor}
    again = [
        replace(one, run="runtime", arm=names[one.arm], energy_j=(one.energy_j or 0.0) * scale[one.arm])
        for one in evidence.run("null").windows
    ]
    return replace(evidence, windows=(*evidence.windows, *again))


def test_savings_are_derived_when_a_better_runtime_was_chosen(evidence: Evidence, edition: Edition) -> None:
    chosen = _with_choice(_against_default(evidence, 0.6), {**ORT, "openvino": {"1": [0.5]}}, runtime="openvino")
    found = cost_estimates(chosen, edition)
    runtime, own, ratio = found["runtime_saving"], found["compression_saving"], found["energy_ratio"]
    assert runtime.low < 0.4 < runtime.high and runtime.high - runtime.low < 0.05
    assert (own.value, own.low, own.high) == (1 - ratio.value, 1 - ratio.high, 1 - ratio.low)


def test_runtime_saving_is_zero_when_the_default_was_chosen(evidence: Evidence, edition: Edition) -> None:
    found = cost_estimates(_with_choice(evidence, ORT), edition)
    assert (found["runtime_saving"].low, found["runtime_saving"].high) == (0, 0)


def test_savings_are_absent_when_nothing_was_chosen_or_measured(evidence: Evidence, edition: Edition) -> None:
    assert not {"runtime_saving", "compression_saving"} & set(cost_estimates(evidence, edition))
    unmeasured = _with_choice(evidence, {"openvino": {"1": [0.5]}}, runtime="openvino")
    assert "runtime_saving" not in cost_estimates(unmeasured, edition)
