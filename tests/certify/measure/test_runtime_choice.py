from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from certify.assessments.efficiency.edition import Edition
from certify.core.errors import MeasureError, ModelError, UsageError
from certify.core.evidence import Workload
from certify.core.progress import Silent
from certify.core.windows import Window
from certify.measure import machine, runs, runtime_choice, runtimes
from certify.measure.model_under_test import subject
from certify.measure.plan import Plan
from certify.measure.runtime_choice import Settled, make_workload, settle
from certify.measure.windows import Running

AUTO = Plan(runtime="auto", threads=1, window_s=0.02, yardstick=False)


class Said(Silent):
    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)


def _settle(pair: Any, edition: Edition, plan: Plan = AUTO, **more: Any) -> Settled:
    models = {"baseline": (pair.baseline, pair.contract), "candidate": (pair.candidate, pair.contract)}
    return settle(plan, edition.plan, models, pair.dataset, **more)


class FakeRuntime:
    suffix = ".onnx"

    def __init__(self, device: str = "cpu", reason: str | None = None) -> None:
        self.device = device
        self._reason = reason

    def unavailable(self) -> str | None:
        return self._reason

    def accelerator(self) -> dict[str, str]:
        return {"accelerator": "a fake one"} if self.device == "cuda" else {}


def _cost(known: dict[str, Any], name: str, arm: str) -> Any:
    cost = known[name][1]
    return cost[arm] if isinstance(cost, dict) else cost


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Runtimes and what they take, in place of workers: {name: (runtime, seconds or an error, also by arm)}."""
    known: dict[str, Any] = {}

    class FakeWorker:
        def __init__(self, name: str, arm: str, threads: int) -> None:
            self.name, self.arm, self.threads = name, arm, threads

        def window(self, inferences: int, expected_s: float) -> None:
            return

    @contextmanager
    def opened(model: Any, name: str, threads: int, batch: int, arm: str = "") -> Iterator[FakeWorker]:
        cost = _cost(known, name, model.arm)
        if isinstance(cost, Exception):
            raise cost
        yield FakeWorker(name, model.arm, threads)

    def record(recorder: Any, running: Any, waiting: Any, run: str, attempt: int, block: int, position: int) -> Window:
        cost = _cost(known, running.worker.name, running.worker.arm) / running.threads
        return Window(run, attempt, block, position, "baseline", running.threads, 1, 0.0, cost, cost, None)

    monkeypatch.setattr(runtimes.RUNTIMES, "own", known)
    monkeypatch.setattr(runtimes, "get", lambda name: known[name][0])
    monkeypatch.setattr(runtime_choice, "open_worker", opened)
    monkeypatch.setattr(runtime_choice.Bench, "warm", lambda _, worker, threads: Running(worker, threads, 1.0, 1))
    monkeypatch.setattr(runtime_choice.Recorder, "record", record)
    return known


def test_cheapest_is_chosen_and_reported_when_several_can_run_both(bench, small_pair, edition: Edition) -> None:
    bench["slow"] = FakeRuntime(), 2.0
    bench["fast"] = FakeRuntime(), 1.0
    said = Said()
    settled = _settle(small_pair, edition, available_meters=[], progress=said)
    assert settled.plan == replace(AUTO, runtime="fast") and settled.runtime is bench["fast"][0]
    assert settled.names == {"baseline": "fast", "candidate": "fast"} and settled.default is None
    (observation,) = settled.observations
    count = edition.plan.settings_windows
    assert observation.name == "runtime_choice"
    costs = {"slow": {"1": [2.0] * count}, "fast": {"1": [1.0] * count}}
    assert observation.values == {
        "unit": "s", "costs": {"baseline": costs, "candidate": costs}, "left_out": {"baseline": {}, "candidate": {}},
    }  # fmt: skip
    assert said.sentences == [
        f"Runtime of the {arm}: fast (fast 1 s, slow 2 s per inference)." for arm in ("baseline", "candidate")
    ]


def test_each_model_uses_its_own_cheapest_and_the_default_is_kept_for_comparison(bench, small_pair, edition) -> None:
    bench["onnxruntime-cpu"] = FakeRuntime(), {"baseline": 3.0, "candidate": 1.0}
    bench["half"] = FakeRuntime(), {"baseline": 2.0, "candidate": 2.0}
    settled = _settle(small_pair, edition, available_meters=[])
    assert settled.names == {"baseline": "half", "candidate": "onnxruntime-cpu"}
    assert settled.default == "onnxruntime-cpu" and settled.plan.runtime == "half"


def test_candidate_may_not_use_a_runtime_that_the_baseline_cannot(bench, small_pair, edition) -> None:
    bench["both"] = FakeRuntime(), 2.0
    bench["one"] = FakeRuntime(), {"baseline": ModelError("no kernel."), "candidate": 1.0}
    settled = _settle(small_pair, edition, available_meters=[])
    assert settled.names == {"baseline": "both", "candidate": "both"}
    assert settled.observations[0].values["left_out"] == {"baseline": {"one": "no kernel."}, "candidate": {}}


def test_baseline_may_use_a_runtime_that_the_candidate_cannot(bench, small_pair, edition) -> None:
    bench["both"] = FakeRuntime(), 2.0
    bench["one"] = FakeRuntime(), {"baseline": 1.0, "candidate": ModelError("no kernel.")}
    settled = _settle(small_pair, edition, available_meters=[])
    assert settled.names == {"baseline": "one", "candidate": "both"}


def test_auto_tries_only_runtimes_named_in_the_plan(bench, small_pair, edition) -> None:
    bench["fast"] = FakeRuntime(), 1.0
    bench["slow"] = FakeRuntime(), 2.0
    settled = _settle(small_pair, edition, replace(AUTO, among=("slow",)), available_meters=[])
    assert settled.plan.runtime == "slow"
    assert set(settled.observations[0].values["costs"]["baseline"]) == {"slow"}


def test_each_runtime_counts_at_its_best_thread_number(
    bench, small_pair, edition: Edition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "thread_numbers", lambda: (1, 2))
    bench["one"] = FakeRuntime(), 2.0
    settled = _settle(small_pair, edition, replace(AUTO, threads=None), available_meters=[])
    costs = settled.observations[0].values["costs"]["baseline"]["one"]
    assert {threads: set(values) for threads, values in costs.items()} == {"1": {2.0}, "2": {1.0}}


def test_one_thread_number_is_tried_when_an_accelerator_computes(
    bench, small_pair, edition: Edition, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "thread_numbers", lambda: (1, 2))
    bench["gpu"] = FakeRuntime("cuda"), 2.0
    settled = _settle(small_pair, edition, replace(AUTO, threads=None), available_meters=[])
    assert set(settled.observations[0].values["costs"]["baseline"]["gpu"]) == {"1"}


@pytest.mark.parametrize(("device", "wanted", "tried"), [("cpu", None, [1, 2]), ("cuda", None, [1]), ("cuda", 2, [2])])
def test_thread_numbers_of_a_model_are_tried_on_the_processor_alone(
    bench, small_pair, edition: Edition, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, device: str,
    wanted: int | None, tried: list[int],
) -> None:  # fmt: skip
    monkeypatch.setattr(machine, "thread_numbers", lambda: (1, 2))
    monkeypatch.setattr(runs, "open_worker", runtime_choice.open_worker)
    bench["some"] = FakeRuntime(device), 1.0
    plan = replace(AUTO, runtime="some", threads=wanted)
    model = subject("baseline", small_pair.baseline, small_pair.contract, 1, tmp_path)
    recorded: list[int] = []
    record = runtime_choice.Recorder.record
    monkeypatch.setattr(
        runtime_choice.Recorder, "record", lambda *given: (recorded.append(given[1].threads), record(*given))[1]
    )
    recorder = runtime_choice.Recorder(None, runtime_choice.Host(), tmp_path / "windows.jsonl")
    arm = runs.choose_threads(runs.Bench(plan, edition.plan, recorder, Silent(), tmp_path, None), model)
    assert sorted(set(recorded)) == tried and arm.threads == tried[-1]


@pytest.mark.parametrize("error", [ModelError("no kernel for Odd."), MeasureError("killed by SIGSEGV.")])
def test_runtime_is_skipped_with_the_reason_when_it_cannot_run_the_models(
    bench, small_pair, edition: Edition, error: Exception
) -> None:
    bench["broken"] = FakeRuntime(), error
    bench["absent"] = FakeRuntime(reason="Install it."), 0.1
    bench["works"] = FakeRuntime(), 2.0
    settled = _settle(small_pair, edition, available_meters=[])
    assert settled.plan.runtime == "works"
    left_out = {"broken": str(error), "absent": "Install it."}
    assert settled.observations[0].values["left_out"] == {"baseline": left_out, "candidate": left_out}


def test_reason_names_no_folder_when_a_runtime_is_skipped(bench, small_pair, edition: Edition) -> None:
    bench["broken"] = FakeRuntime(), ModelError(f"{small_pair.candidate.resolve()}: cannot be loaded.")
    bench["works"] = FakeRuntime(), 2.0
    values = _settle(small_pair, edition, available_meters=[]).observations[0].values
    assert values["left_out"]["candidate"] == {"broken": "the candidate: cannot be loaded."}


def test_runtime_is_skipped_when_the_meter_read_nothing(bench, small_pair, edition: Edition) -> None:
    bench["still"] = FakeRuntime(), 0.0
    bench["works"] = FakeRuntime(), 2.0
    values = _settle(small_pair, edition, available_meters=[]).observations[0].values
    assert set(values["costs"]["baseline"]) == {"works"}
    assert "read no energy" in values["left_out"]["baseline"]["still"]


def test_joules_of_two_devices_are_never_compared(bench, small_pair, edition: Edition) -> None:
    bench["processor"] = FakeRuntime(), 0.001
    bench["gpu"] = FakeRuntime("cuda"), 5.0
    settled = _settle(small_pair, edition, available_meters=[])
    values = settled.observations[0].values
    assert settled.plan.runtime == "gpu" and set(values["costs"]["baseline"]) == {"gpu"}
    assert "another device" in values["left_out"]["baseline"]["processor"]


def test_processor_is_used_when_no_gpu_runtime_works(bench, small_pair, edition: Edition) -> None:
    bench["gpu"] = FakeRuntime("cuda"), ModelError("no driver.")
    bench["processor"] = FakeRuntime(), 1.0
    settled = _settle(small_pair, edition, available_meters=[])
    assert settled.plan.runtime == "processor"
    assert settled.observations[0].values["left_out"]["baseline"] == {"gpu": "no driver."}


def test_error_gives_every_reason_when_no_runtime_works(bench, small_pair, edition: Edition) -> None:
    bench["a"] = FakeRuntime(), ModelError("bad a.")
    bench["b"] = FakeRuntime(reason="Install b."), 1.0
    with pytest.raises(MeasureError, match=r"can run the models.*b: Install b\. a: bad a\."):
        _settle(small_pair, edition, available_meters=[])


def test_named_runtime_is_used_without_a_trial_when_installed(small_pair, edition: Edition) -> None:
    settled = _settle(small_pair, edition, Plan())
    assert settled.plan == Plan() and settled.observations == ()
    assert settled.names == {"baseline": "onnxruntime-cpu", "candidate": "onnxruntime-cpu"}
    with pytest.raises(UsageError, match="did you mean 'openvino'"):
        _settle(small_pair, edition, Plan(runtime="openvno"))


def test_workload_states_versions_and_precision_and_its_digest_covers_them() -> None:
    workload = make_workload(Settled(Plan(batch=4), {"candidate": "onnxruntime-cpu"}), 1, 2)
    assert (workload.batch, workload.threads, workload.candidate_threads, workload.spinning) == (4, 1, 2, True)
    assert workload.library_versions["onnxruntime"] == workload.runtime_version
    assert workload.digest() != replace(workload, library_versions={"onnxruntime": "0"}).digest()
    assert workload.digest() != replace(workload, precision="f16").digest()
    assert isinstance(workload, Workload) and workload.candidate_runtime == {} and workload.of("candidate") == workload


def test_workload_states_what_differs_for_the_candidate_when_each_chose_its_own(bench) -> None:
    for name, version, precision in (("mine", "1", "as in the model"), ("other", "9", "bfloat16")):
        runtime = SimpleNamespace(provider=f"part of {name}", precision=precision, spinning=False)
        runtime.version, runtime.libraries = (lambda told=version: told), (lambda told={name: version}: told)
        bench[name] = runtime, 1.0
    names = {"baseline": "mine", "candidate": "other"}
    workload = make_workload(Settled(Plan(runtime="mine"), names), 1, 1)
    assert (workload.of("baseline").runtime, workload.of("baseline").precision) == ("mine", "as in the model")
    ran = workload.of("candidate")
    assert (ran.runtime, ran.runtime_version, ran.provider, ran.precision) == (
        "other",
        "9",
        "part of other",
        "bfloat16",
    )
    assert workload.library_versions == {"mine": "1", "other": "9"}


def test_auto_measures_real_runtimes_when_they_are_installed(small_pair, edition: Edition, tmp_path: Path) -> None:
    few = replace(edition, plan=replace(edition.plan, settings_windows=2))
    settled = _settle(small_pair, few)
    values = settled.observations[0].values
    for arm, costs in values["costs"].items():
        assert "onnxruntime-cpu" in costs and values["unit"] == "J"
        assert set(costs) | set(values["left_out"][arm]) == set(runtimes.RUNTIMES.own)
        assert all(cost > 0 for found in costs.values() for each in found.values() for cost in each)
        means = {name: sum(found["1"]) / 2 for name, found in costs.items()}
        assert settled.names[arm] == min(means, key=lambda name: means[name])
