"""A trace that an NVIDIA H100 gave: ResNet-50 at batch 32 in FP32, in FP16, and pruned to half of its multiply-adds."""

from __future__ import annotations

import importlib
from dataclasses import replace
from pathlib import Path

import pytest

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.guards import judge_guards
from certify.core.estimate import EvidenceLevel
from certify.core.evidence import Evidence, Window
from certify.measure import observations
from certify.measure.meters import require
from certify.measure.meters.base import Usage
from certify.measure.meters.trace import Trace, read_trace

PATH = Path(__file__).parent / "traces" / "h100_resnet50.jsonl"
ROOT = Path(__file__).parents[4]
FIGURES = ROOT / "recipes" / "guides" / "figures.md"
ARMS = {"ResNet-50 FP32": "baseline", "ResNet-50 FP16": "candidate"}
METER_GUARDS = (
    "counter_moved", "counter_monotonic", "counter_agrees_with_power", "meter_known", "joules_follow",
    "joules_not_modelled", "windows_vary",
)  # fmt: skip


@pytest.fixture(scope="module")
def trace() -> Trace:
    return read_trace(PATH)


def _windows(trace: Trace) -> list[Window]:
    """The windows of the FP32 and the FP16 network, as those of a main run."""
    found, start_s = [], 0.0
    for number, one in enumerate(trace.windows):
        if (arm := ARMS.get(one.label)) is not None:
            found.append(
                Window(
                    "main",
                    0,
                    number // 6,
                    number % 6,
                    arm,
                    1,
                    one.inferences or 0,
                    start_s,
                    one.duration_s,
                    one.cpu_s,
                    one.energy_j,
                    one.reading,
                )  # fmt: skip
            )
        start_s += one.duration_s
    return found


def test_replay_returns_the_recorded_readings_of_the_board(trace: Trace) -> None:
    meter = require(f"replay:{PATH}", "cuda").meter
    assert meter is not None
    assert (meter.name, meter.level, meter.scope) == ("replay:nvml", EvidenceLevel.COUNTER, "board")
    assert meter.facts({}).parameters["board"] == "NVIDIA H100 80GB HBM3"
    played = []
    for window in trace.windows:
        meter.start()
        played.append(meter.stop(Usage(window.duration_s, window.cpu_s)).energy_j)
    assert played == [window.energy_j for window in trace.windows]


def test_readings_of_a_real_board_pass_the_guards_of_meters(trace: Trace, evidence: Evidence, edition: Edition) -> None:
    windows = _windows(trace)
    others = [seen for seen in evidence.observations if seen.name != "power_check"]
    found = replace(
        evidence,
        header=replace(evidence.header, meter=trace.meter),
        windows=tuple(windows),
        observations=(*others, *observations.power_check(windows)),
    )
    outcomes = {result.name: result.outcome for result in judge_guards(found, edition)}
    assert {name: outcomes[name] for name in METER_GUARDS} == dict.fromkeys(METER_GUARDS, "pass")


@pytest.mark.skipif(not FIGURES.is_file(), reason="the tests were copied without the guides")
def test_guide_shows_the_figures_of_the_trace(trace: Trace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "tests" / "benchmarks")
    benchmark = importlib.import_module("gpu_trace")
    guide = FIGURES.read_text()
    windows = list(trace.windows)
    for line in benchmark.table(windows, 32, EvidenceLevel.COUNTER).splitlines():
        assert line in guide.splitlines()
    assert "0.9973 on average, from 0.9819 to 1.0075" in benchmark.agreement(windows)
    assert "0.9973 times the integrated power on average (0.9819 to 1.0075)" in " ".join(guide.split())
