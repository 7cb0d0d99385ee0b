"""The profile of one model: absolute figures from blocks of windows of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.guards import COMPARING, GUARDS
from certify.assessments.efficiency.profile import derive
from certify.core.estimate import EvidenceLevel
from certify.core.evidence import Evidence, Observation
from certify.core.statistics.ratio import arm_logs, energy_per_inference
from certify.core.windows import Run, Window

Maker = Callable[..., Evidence]

ALONE = "candidate"


def _alone(make_evidence: Maker, noise: float = 0.02, blocks: int = 10, drift: float = 0.0, **more: object) -> Evidence:
    """Evidence of a model that takes 2 J and 0.2 s an inference."""
    evidence = make_evidence(**more)
    model = next(window for window in evidence.windows if window.run == "main")
    rng, windows = np.random.default_rng(3), []
    for block in range(blocks):
        for position in (0, 1):
            factor = float(np.exp(rng.normal(0, noise) + drift * block))
            power_w = 10 * float(np.exp(0.001 * rng.standard_normal()))
            counted = {"package-0_before_uj": 0.0, "package-0_after_uj": 1e6 * power_w * factor}
            windows.append(
                replace(
                    model, block=block, position=position, arm=ALONE, inferences=5, duration_s=factor, cpu_s=factor,
                    energy_j=None if model.energy_j is None else power_w * factor, start_s=2.0 * len(windows),
                    reading={} if model.energy_j is None else counted,
                )
            )  # fmt: skip
    kept = [o for o in evidence.observations if o.name not in ("workers", "outputs")]
    header = replace(evidence.header, models={ALONE: evidence.header.models[ALONE]})
    latencies = tuple(one for one in evidence.latencies if one.arm == ALONE)
    scored = Observation("scored", {"correct": 90, "samples": 100})
    return Evidence(header, tuple(windows), latencies, (), (*kept, scored))


def test_figures_are_those_of_the_model_when_measured_alone(make_evidence: Maker, edition: Edition) -> None:
    estimates = derive(_alone(make_evidence), edition).estimates
    for name, truth in (("energy_j", 2.0), ("duration_s", 0.2), ("throughput_per_s", 5.0)):
        estimate = estimates[f"{name}_{ALONE}"]
        assert estimate.low < truth < estimate.high and estimate.n == 10, name
    accuracy = estimates[f"accuracy_{ALONE}"]
    assert accuracy.value == 0.9 and 0.8 < accuracy.low < 0.9 < accuracy.high < 1
    assert {f"latency_p50_s_{ALONE}", f"macs_{ALONE}", f"peak_memory_bytes_{ALONE}"} <= set(estimates)
    assert not any(name.endswith(("_baseline", "_ratio")) for name in estimates)


def test_guards_that_need_one_model_are_judged(make_evidence: Maker, edition: Edition) -> None:
    guards = derive(_alone(make_evidence), edition).guards
    asked = [name for name, guard in GUARDS.items() if guard not in COMPARING]
    assert {guard.name: guard.outcome for guard in guards} == dict.fromkeys(asked, "pass")
    assert "joules_follow" in asked and not {"null_holds", "same_task", "sessions_isolated"} & set(asked)
    stolen = derive(_alone(make_evidence, host={"steal_share": 0.4}), edition)
    assert [guard.name for guard in stolen.guards if guard.outcome == "fail"] == ["steal_low"]


def test_smallest_difference_grows_with_the_noise_and_not_with_drift(make_evidence: Maker, edition: Edition) -> None:
    quiet, loud, drifting = (
        derive(_alone(make_evidence, **knobs), edition).estimates["smallest_detectable_saving"].value
        for knobs in ({"noise": 0.005}, {"noise": 0.05}, {"noise": 0.005, "drift": 0.02})
    )
    assert 0 < quiet < 0.03 < loud
    assert drifting == pytest.approx(quiet, rel=0.2)


def test_only_time_is_given_when_there_is_no_meter(make_evidence: Maker, edition: Edition) -> None:
    estimates = derive(_alone(make_evidence, level=None), edition).estimates
    assert f"duration_s_{ALONE}" in estimates
    assert estimates["smallest_detectable_saving"].evidence == EvidenceLevel.DIRECT
    metered = derive(_alone(make_evidence, level="modelled"), edition).estimates
    assert metered["smallest_detectable_saving"].evidence == EvidenceLevel.MODELLED
    assert not any(name.startswith("energy") for name in estimates)


def test_accuracy_is_missing_when_nothing_was_scored(make_evidence: Maker, edition: Edition) -> None:
    evidence = _alone(make_evidence)
    unscored = replace(evidence, observations=tuple(o for o in evidence.observations if o.name != "scored"))
    assert f"accuracy_{ALONE}" not in derive(unscored, edition).estimates


def test_logs_are_none_when_a_window_was_not_read(make_evidence: Maker) -> None:
    windows: list[Window] = list(_alone(make_evidence).windows)
    assert arm_logs(Run(tuple(windows), 1), ALONE, energy_per_inference) is not None
    windows[3] = replace(windows[3], energy_j=0.0)
    windows[2] = replace(windows[2], energy_j=0.0)
    assert arm_logs(Run(tuple(windows), 1), ALONE, energy_per_inference) is None
    windows[3] = replace(windows[3], energy_j=None)
    assert arm_logs(Run(tuple(windows), 1), ALONE, energy_per_inference) is None
