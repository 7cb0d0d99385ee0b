from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.profile import derive
from certify.core.errors import MeasureError, ModelError
from certify.core.estimate import EvidenceLevel
from certify.core.evidence import Evidence, MeterFacts, Observation
from certify.core.evidence_file import evidence_bytes, parse_evidence
from certify.core.run_observations import RuntimeChoice
from certify.measure import client, experiment, runs, windows
from certify.measure.arms import Workers
from certify.measure.experiment import measure
from certify.measure.meters.base import Reading, Usage
from certify.measure.plan import Plan
from certify.measure.runtime_choice import Settled
from certify.measure.windows import MeasurementInterrupted, MeasurementStopped

SHORT = Plan(window_s=0.05, time_limit_s=0.01, min_blocks=2, yardstick=False, threads=1)
YARDSTICK_WINDOWS = 4
"""Windows of both workers together."""


def _measure(pair, edition: Edition, plan: Plan = SHORT, **more) -> Evidence:
    rules = replace(edition.plan, changed_window_s=0.01)  # the shortest that test_recognition.py judges
    return measure(
        ((pair.baseline, pair.contract), (pair.candidate, pair.contract)), pair.dataset, plan, rules,
        baseline_origin="made by a test", **more,
    )  # fmt: skip


@pytest.fixture(scope="module", autouse=True)
def no_pause() -> Iterator[None]:
    """Windows follow without a pause, because no test compares them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "SETTLE_S", 0.0)
        yield


@pytest.fixture(scope="module")
def measured(small_pair, edition: Edition, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evidence]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEANMARK_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        patch.setenv("LEANMARK_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(runs, "blocks_a_start", lambda *plan: 1)
        plan = Plan(window_s=0.1, time_limit_s=0.01, min_blocks=2, seed=5)
        short = replace(edition, plan=replace(edition.plan, yardstick_windows=YARDSTICK_WINDOWS))
        yield _measure(small_pair, short, plan)


def test_measure_records_every_run_when_a_pair_is_given(measured: Evidence) -> None:
    assert {w.run for w in measured.windows} == {"settings", "null", "main", "yardstick"}
    main = [w for w in measured.windows if w.run == "main"]
    for block in range(2):
        arms = [w.arm for w in main if w.block == block]
        assert arms in (
            ["baseline", "candidate", "candidate", "baseline"],
            ["candidate", "baseline", "baseline", "candidate"],
        )
    assert sum(w.run == "yardstick" for w in measured.windows) == YARDSTICK_WINDOWS
    assert all(w.duration_s >= 0.03 and w.energy_j > 0 and w.cpu_s > 0 for w in main)
    for run in ("null", "main"):
        sizes = {(w.arm, w.inferences) for w in measured.windows if w.run == run}
        assert len(sizes) == len({arm for arm, _ in sizes}) == 2  # a window's size never changes within a run


def test_each_model_runs_and_is_scored_on_its_own_runtime_when_they_chose_differently(
    small_pair, edition: Edition, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setenv("LEANMARK_STATE_HOME", str(tmp_path))
    names = {"baseline": "openvino", "candidate": "onnxruntime-cpu"}
    costs = {arm: {name: {"1": [1.0 + (name != best)]} for name in names.values()} for arm, best in names.items()}
    observed = Observation.of(RuntimeChoice("J", costs, {"baseline": {}, "candidate": {}}))
    plan = replace(SHORT, runtime="openvino")
    monkeypatch.setattr(experiment, "settle", lambda *_: Settled(plan, names, "onnxruntime-cpu", (observed,)))
    measured = _measure(small_pair, edition)
    sessions = measured.observation("sessions")
    assert sessions["baseline"]["precision"] == "f32" and sessions["candidate"]["precision"] == "as in the model"
    assert measured.run("runtime").arms in (("baseline_default", "baseline"), ("baseline", "baseline_default"))
    assert measured.header.workload.of("candidate").provider == "CPUExecutionProvider"
    profile = derive(parse_evidence(evidence_bytes(measured)), edition)
    judged = {finding.name: finding.outcome for finding in profile.guards}
    names_of = ("same_runtime", "same_choices", "one_device", "windows_in_order", "sessions_isolated")
    assert {name: judged[name] for name in names_of} == dict.fromkeys(names_of, "pass")
    assert -2 < profile.estimates["runtime_saving"].value < 1


def test_evidence_reads_back_the_same_when_written(measured: Evidence) -> None:
    assert parse_evidence(evidence_bytes(measured)) == measured


def test_evidence_holds_what_the_guards_read_when_measured(measured: Evidence) -> None:
    observed = {o.name: o.values for o in measured.observations}
    assert observed["quantization"]["candidate"] == {"intended": 3, "fused": 3, "unfused": []}
    assert observed["quantization"]["baseline"]["intended"] == 0
    assert observed["zero_channels"]["baseline"]["channels"] == 32 + 32 + 4
    assert observed["interfaces"]["baseline"] == {
        "input": [1, 3, 32, 32], "outputs": 4, "scored": 4, "graph_outputs": 1
    }  # fmt: skip
    assert observed["inputs"]["distinct"] == observed["inputs"]["samples"] == 80
    assert observed["overlap"]["train/test"] is None
    assert observed["sessions"]["candidate"]["providers"] == ["CPUExecutionProvider"]
    assert observed["sessions"]["candidate"]["threads"] == measured.header.workload.candidate_threads
    assert observed["sessions"]["baseline"]["pinned"]
    pids = observed["workers"]["pids"]
    started = [pid for arm in ("baseline", "candidate") for pid in pids[arm]]
    assert len(pids["baseline"]) == len(pids["candidate"]) >= 2  # new ones for every block
    assert len(set(started)) == len(started)
    for arm in ("baseline", "candidate"):
        nodes = observed["node_costs"][arm]
        assert {"Conv", "QLinearConv"} & {node["operator"] for node in nodes["nodes"]}
        assert sum(node["share"] for node in nodes["nodes"]) + nodes["rest"] == pytest.approx(1)
    assert all(10e6 < size < 2e9 for size in observed["peak_memory"].values())
    assert "power_check" not in observed


def test_profile_derives_from_the_evidence_when_measured(measured: Evidence, edition: Edition) -> None:
    profile = derive(measured, edition)
    assert {"energy_ratio", "null_ratio", "energy_yardstick_baseline", "latency_p50_s_candidate"} <= set(
        profile.estimates
    )
    assert profile.estimates["accuracy_baseline"].value > 0.9
    held = {guard.name: guard.outcome for guard in profile.guards}
    for name in ("quantization_fused", "channels_removed", "one_device", "same_task", "inputs_real", "counter_moved"):
        assert held[name] == "pass", name


def test_header_states_meter_and_workload(measured: Evidence) -> None:
    header = measured.header
    assert header.meter is not None and header.meter.name not in header.meter.refused
    assert header.workload.runtime == "onnxruntime-cpu" and header.workload.graph_optimization == "all"
    assert header.attempt == 1
    assert header.models["baseline"].macs == 32 * 32 * 32 * (3 + 32) * 9 + 4 * 128
    assert header.models["baseline"].macs == header.models["candidate"].macs
    assert header.data["test_samples"] == 80


def test_thread_number_is_the_cheapest_tried_when_none_is_forced(measured: Evidence) -> None:
    by_threads: dict[int, list[float]] = {}
    for window in measured.windows:
        if window.run == "settings" and window.arm == "baseline":
            assert window.energy_j is not None
            by_threads.setdefault(window.threads, []).append(window.energy_j / window.inferences)
    means = {threads: float(np.mean(costs)) for threads, costs in by_threads.items()}
    assert measured.header.workload.threads == min(means, key=lambda threads: means[threads])
    assert {1, len(os.sched_getaffinity(0))} <= set(means)
    assert {window.arm for window in measured.windows if window.run == "settings"} == {"baseline", "candidate"}


class _Fails:
    """A meter whose counter vanishes after some windows."""

    name = "fails"
    devices = frozenset({"cpu"})
    scope = "package"
    resolution = "1 J"
    privilege = "none"
    level = EvidenceLevel.COUNTER

    def __init__(self, good: int) -> None:
        self._left = good

    def unavailable(self) -> str | None:
        return None

    def facts(self, refused: Mapping[str, str]) -> MeterFacts:
        return MeterFacts(self.name, "counter", self.scope, "none", None, dict(refused))

    def start(self) -> None:
        self._left -= 1

    def stop(self, usage: Usage) -> Reading:
        if self._left < 0:
            raise MeasureError("The meter fails failed midway: its file is gone.")
        return Reading(usage.duration_s, {})


def test_measure_keeps_finished_windows_when_the_meter_fails_midway(small_pair, edition: Edition) -> None:
    with pytest.raises(MeasurementStopped, match="its file is gone") as stopped:
        _measure(small_pair, edition, available_meters=[_Fails(good=5)])
    assert len(stopped.value.windows) == 5


def _send_in_main_run(monkeypatch: pytest.MonkeyPatch, sign: signal.Signals) -> None:
    """Let the worker of the candidate get a signal in the second block of the main run."""
    for_block = Workers.for_block

    def sending(self, number):
        running = for_block(self, number)
        if number == 1 and [arm.name for arm in self.arms] == ["baseline", "candidate"]:
            os.kill(running[1].worker.pid, sign)
            time.sleep(0.05)
        return running

    monkeypatch.setattr(Workers, "for_block", sending)


def test_measure_names_the_model_and_signal_when_a_worker_is_killed(
    small_pair, edition: Edition, monkeypatch: pytest.MonkeyPatch
) -> None:
    _send_in_main_run(monkeypatch, signal.SIGKILL)
    with pytest.raises(MeasurementStopped, match=r"candidate.*int8\.onnx.*SIGKILL") as stopped:
        _measure(small_pair, edition)
    kept = [(window.run, window.block) for window in stopped.value.windows]
    assert {run for run, _ in kept} == {"settings", "null", "main"}
    assert kept.count(("main", 0)) == 4  # the block before is whole


def test_measure_names_the_model_and_ends_it_when_a_worker_hangs(
    small_pair, edition: Edition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "CALL_TIMEOUT_S", 1.0)
    monkeypatch.setattr(runs, "null_run", lambda *rest: None)
    _send_in_main_run(monkeypatch, signal.SIGSTOP)
    with pytest.raises(MeasurementStopped, match=r"candidate.*int8\.onnx.*did not answer 'window'") as stopped:
        _measure(small_pair, edition)
    assert [window.run for window in stopped.value.windows].count("main") >= 4


def test_no_worker_is_left_when_measuring_is_interrupted(
    small_pair, edition: Edition, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = []

    def interrupt(bench, workers, order, *rest):
        pids.extend(running.worker.pid for running in workers.for_block(0))
        raise KeyboardInterrupt

    monkeypatch.setattr(runs, "run_block", interrupt)
    with pytest.raises(MeasurementInterrupted) as stopped:
        _measure(small_pair, edition)
    assert stopped.value.windows  # of the settings
    assert len(pids) == 2 and not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_measure_refuses_a_model_that_gives_nan(small_pair, edition: Edition, tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    model = onnx.load(str(small_pair.baseline))
    bias = next(t for t in model.graph.initializer if t.name == "b3")
    bias.CopyFrom(numpy_helper.from_array(np.full(4, np.nan, dtype=np.float32), "b3"))
    onnx.save(model, str(tmp_path / "nan.onnx"))
    with pytest.raises(ModelError, match="NaN or infinity"):
        _measure(replace(small_pair, baseline=tmp_path / "nan.onnx"), edition)


@pytest.fixture(scope="module")
def strained(small_pair, edition: Edition, tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Batches that do not divide the test set, a null run that cannot hold, and no meter at all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LEANMARK_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        never = replace(edition, plan=replace(edition.plan, null_tolerance=1e-9))
        return _measure(small_pair, never, replace(SHORT, batch=7), available_meters=[])


def test_null_run_is_repeated_once_when_its_interval_leaves_the_tolerance(strained: Evidence) -> None:
    assert {window.attempt for window in strained.windows if window.run == "null"} == {0, 1}


def test_every_sample_is_scored_when_the_last_batch_is_not_full(strained: Evidence) -> None:
    assert len(strained.predictions) == 80
    assert strained.header.workload.batch == 7
    assert np.mean([p.baseline_top1 == p.label for p in strained.predictions]) > 0.9


def test_energy_is_missing_when_there_is_no_meter(strained: Evidence) -> None:
    assert strained.header.meter is None
    assert {window.energy_j for window in strained.windows} == {None}
    assert strained.observation("power_check") is None


def test_single_model_is_measured_without_a_null_run(small_pair, edition: Edition) -> None:
    plan = replace(SHORT, min_blocks=4)
    alone = measure([(small_pair.candidate, small_pair.contract)], small_pair.dataset, plan, edition.plan)
    assert set(alone.header.models) == {"candidate"} and not alone.predictions
    assert {window.run for window in alone.windows} == {"settings", "main"}
    blocks = alone.run("main").complete
    assert [[window.arm for window in block.windows] for block in blocks] == [["candidate"] * 2] * len(blocks)
    assert len(blocks) >= 4
    profile = derive(alone, edition)
    assert profile.estimates["accuracy_candidate"].value > 0.9
    assert {"duration_s_candidate", "smallest_detectable_saving", "latency_p50_s_candidate"} <= set(profile.estimates)
    assert not {"null_holds", "same_task"} & {guard.name for guard in profile.guards}


def test_single_model_has_no_accuracy_when_it_was_not_scored(small_pair, edition: Edition) -> None:
    models = [(small_pair.candidate, small_pair.contract)]
    alone = measure(models, small_pair.dataset, SHORT, edition.plan, score=False)
    assert alone.observation("scored") is None and "accuracy_candidate" not in derive(alone, edition).estimates
