"""Guards: named checks over recorded observations, each a pure function of the evidence and the edition.

A fail gives no letter. Neither does an unknown, unless the edition lists the guard in ``may_be_unknown``.
"""

from __future__ import annotations

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.guards import (
    baseline,
    counted,
    data,
    machine,
    meter,
    models,
    plausible,
    quality,
    recognition,
    runs,
    runtime,
    surroundings,
)
from certify.assessments.efficiency.guards.result import COMPARING, IN_AUDITOR_FILE, Answer, Guard, Outcome
from certify.core.evidence import Evidence
from certify.core.finding import Finding

GUARDS: dict[str, Guard] = {
    "counter_moved": meter.counter_moved,
    "counter_monotonic": meter.counter_monotonic,
    "counter_agrees_with_power": meter.counter_agrees_with_power,
    "no_throttling": machine.no_throttling,
    "device_alone": machine.device_alone,
    "steal_low": machine.steal_low,
    "temperature_bounded": machine.temperature_bounded,
    "enough_windows": runs.enough_windows,
    "null_holds": runs.null_holds,
    "sessions_isolated": machine.sessions_isolated,
    "surroundings_clean": surroundings.surroundings_clean,
    "same_runtime": surroundings.same_runtime,
    "same_choices": runtime.same_choices,
    "baseline_at_best_settings": runs.baseline_at_best_settings,
    "baseline_not_padded": baseline.baseline_not_padded,
    "quantization_fused": models.quantization_fused,
    "channels_removed": models.channels_removed,
    "one_device": models.one_device,
    "test_unseen": data.test_unseen,
    "test_distinct": data.test_distinct,
    "same_task": models.same_task,
    "cost_counted": counted.cost_counted,
    "same_contract": counted.same_contract,
    "inputs_real": data.inputs_real,
    "outputs_finite": data.outputs_finite,
    "metric_bound": quality.metric_bound,
    "top1_kept": quality.top1_kept,
    "baseline_beats_majority": quality.baseline_beats_majority,
    "candidate_beats_majority": quality.candidate_beats_majority,
    "enough_test_samples": data.enough_test_samples,
    "answers_stable": recognition.answers_stable,
    "same_on_changed": recognition.same_on_changed,
    "same_cost_on_changed": recognition.same_cost_on_changed,
    "holds_on_fresh": recognition.holds_on_fresh,
    "labels_agree": data.labels_agree,
    "windows_in_order": plausible.windows_in_order,
    "windows_vary": plausible.windows_vary,
    "cpu_time_possible": plausible.cpu_time_possible,
    "latencies_agree": plausible.latencies_agree,
    "meter_known": plausible.meter_known,
    "joules_follow": plausible.joules_follow,
    "joules_not_modelled": plausible.joules_not_modelled,
    "energy_above_idle": plausible.energy_above_idle,
}

NEED_ROWS = (
    "test_unseen", "test_distinct", "outputs_finite", "answers_stable", "same_on_changed", "labels_agree",
)  # fmt: skip
"""Guards that need an auditor if the data are private: they read rows, or the number of training samples."""

__all__ = ["GUARDS", "NEED_ROWS", "Answer", "Guard", "Outcome", "judge_guards"]


def judge_guards(evidence: Evidence, edition: Edition) -> tuple[Finding, ...]:
    """Run every applicable guard: for a single model, those that need no second one.

    Raises:
        CertificateError: an observation has a value of the wrong type.
    """
    applicable = {name: guard for name, guard in GUARDS.items() if evidence.compares or guard not in COMPARING}
    hidden = NEED_ROWS if evidence.withheld else ()
    return tuple(
        Finding(name, *(IN_AUDITOR_FILE if name in hidden else guard(evidence, edition)))
        for name, guard in applicable.items()
    )
