"""The measurement of a pair of models, from the first window to the evidence.

Thread number (on windows of its own), null run, main run, yardstick, latencies, predictions. Nothing here looks at a
result to decide when to stop: the number of blocks is fixed once, from the pilot's spread, and cut by the time limit.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib.metadata
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from certify.data.dataset import Dataset
from certify.data.preprocess import Preprocess
from certify.errors import MeasureError
from certify.evidence import ARMS, Evidence, Header, Latencies, Observation, Prediction, Workload
from certify.judge.edition import Edition
from certify.measure import meters, observe, runs, runtimes
from certify.measure.attempts import count_attempt
from certify.measure.host import Host
from certify.measure.inputs import InputStatistics, sample_bytes, save_samples, window_samples
from certify.measure.machine import describe
from certify.measure.meters.base import Meter
from certify.measure.plan import Plan
from certify.measure.predictions import pair, predict
from certify.measure.runs import Bench
from certify.measure.runtimes.base import Runtime
from certify.measure.subject import Subject, open_worker, session_facts, subject
from certify.measure.windows import MeasurementStopped, Recorder, Running
from certify.measure.yardstick import yardstick_file
from certify.progress import Progress, Silent

Pair = tuple[Subject, Subject]


@dataclass(frozen=True)
class Measured:
    """What a measurement gave beside its windows."""

    attempt: int
    workload: Workload
    latencies: tuple[Latencies, ...]
    predictions: tuple[Prediction, ...]
    observations: tuple[Observation, ...]


def measure(
    baseline: Path,
    candidate: Path,
    dataset: Dataset,
    preprocess_baseline: Preprocess,
    preprocess_candidate: Preprocess,
    plan: Plan,
    edition: Edition,
    *,
    baseline_origin: str,
    progress: Progress | None = None,
    available_meters: Sequence[Meter] | None = None,
) -> Evidence:
    """Measure energy, time, memory and accuracy of two ONNX files against each other.

    Args:
        baseline: the untouched original.
        candidate: what is to be cheaper.
        dataset: whose test part is fed and scored.
        preprocess_baseline: how the baseline is fed and read.
        preprocess_candidate: how the candidate is.
        plan: what the user set.
        edition: constants of the measurement.
        baseline_origin: where the baseline comes from, in one sentence.
        progress: where it says how far it is.
        available_meters: meters to choose from; None for all.

    Raises:
        ModelError: a file can't be read, fed, loaded or scored.
        DataError: a test sample can't be read.
        UsageError: the runtime of the plan does not exist.
        MeasureError: the meter that the plan names can't be used here.
        MeasurementStopped: a worker or the meter failed; ``windows`` holds what had been finished.
    """
    runtime = runtimes.get(plan.runtime)
    choice = _choose_meter(plan, runtime, available_meters)
    recorder = Recorder(choice.meter, Host())
    created = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    with tempfile.TemporaryDirectory(prefix="leanmark-") as name:
        folder = Path(name)
        both = (
            subject(ARMS[0], baseline, preprocess_baseline, plan.batch, folder),
            subject(ARMS[1], candidate, preprocess_candidate, plan.batch, folder),
        )
        statistics = _save_inputs(both, dataset, plan)
        bench = Bench(plan, edition, recorder, progress or Silent(), folder, choice.meter)
        try:
            found = _run(bench, runtime, both, dataset, created)
        except MeasureError as error:
            raise MeasurementStopped(str(error), recorder.windows) from error
    header = Header(
        created=created,
        leanmark=_version(),
        edition=edition.name,
        seed=plan.seed,
        attempt=found.attempt,
        baseline_origin=baseline_origin,
        device=describe(),
        data=_data_facts(dataset),
        workload=found.workload,
        meter=None if choice.meter is None else choice.meter.facts(choice.refused),
        models={model.arm: model.facts for model in both},
        time_limit_s=plan.time_limit_s,
        wanted_half_width=plan.wanted_half_width,
    )
    observations = (*found.observations, observe.inputs(statistics), observe.parts_overlap(dataset))
    return Evidence(header, tuple(recorder.windows), found.latencies, found.predictions, observations)


def _choose_meter(plan: Plan, runtime: Runtime, available: Sequence[Meter] | None) -> meters.Choice:
    if plan.meter is not None:
        return meters.require(plan.meter, runtime.device)
    return meters.choose(runtime.device, available)


def _run(bench: Bench, runtime: Runtime, both: Pair, dataset: Dataset, created: str) -> Measured:
    """All runs, in their order."""
    plan, baseline = bench.plan, both[0]
    yardstick = yardstick_file() if plan.yardstick else None
    graphs = observe.graphs(both, plan.runtime, plan.threads or 1, bench.folder)
    threads, candidate_threads = (runs.choose_threads(bench, model) for model in both)
    workload = Workload(plan.runtime, runtime.version(), runtime.provider, plan.batch, threads, candidate_threads)
    digests = [model.facts.file_digest for model in both]
    attempt = count_attempt(digests[0], digests[1], workload.digest(), created)
    runs.null_run(bench, baseline, threads)
    with contextlib.ExitStack() as live:
        first = _warm_worker(bench, live, baseline, threads)
        second = _warm_worker(bench, live, both[1], candidate_threads)
        runs.main_run(bench, first, second)
        if yardstick is not None:
            runs.yardstick_run(bench, yardstick, threads, (first, second))
        running = dict(zip(ARMS, (first, second), strict=True))
        latencies, memory = _latencies(bench, running)
        predicted = {
            model.arm: predict(dataset, model, running[model.arm], plan.batch, bench.folder, bench.progress)
            for model in both
        }
        pids = {arm: one.worker.pid for arm, one in running.items()}
        sessions = {arm: session_facts(one.worker) for arm, one in running.items()}
    widths = {arm: result.width for arm, result in predicted.items()}
    observations = (
        *graphs,
        Observation("workers", {"pids": pids}),
        Observation("sessions", sessions),
        Observation("outputs", {arm: {"finite": True, "width": width} for arm, width in widths.items()}),
        Observation("peak_memory", memory),
        observe.interfaces(both, widths, plan.batch),
        *observe.power_check(bench.meter, bench.recorder.of("main")),
    )
    predictions = pair(dataset, predicted[ARMS[0]], predicted[ARMS[1]])
    return Measured(attempt, workload, latencies, predictions, observations)


def _warm_worker(bench: Bench, live: contextlib.ExitStack, model: Subject, threads: int) -> Running:
    worker = live.enter_context(open_worker(model, bench.plan.runtime, threads, bench.plan.batch))
    return bench.warm(worker, threads)


def _latencies(bench: Bench, running: dict[str, Running]) -> tuple[tuple[Latencies, ...], dict[str, int]]:
    """Single inferences of both models, and the memory that each worker took at most until then."""
    edition = bench.edition
    passes, memory = [], {}
    with bench.progress.task("Timing single inferences", len(running)) as task:
        for arm, one in running.items():
            seconds = one.worker.latency(edition.latency_calls, edition.latency_time_s)
            passes.append(Latencies(arm, tuple(seconds)))
            memory[arm] = one.worker.peak_memory()
            task.advance()
    return tuple(passes), memory


def _save_inputs(both: Pair, dataset: Dataset, plan: Plan) -> InputStatistics:
    """Write the same test samples for both models, each made ready as its contract says."""
    largest = max(sample_bytes(model.preprocess) for model in both)
    samples = window_samples(dataset.test, largest, plan.batch, plan.seed)
    found = [save_samples(model.inputs, dataset.test, samples, model.preprocess) for model in both]
    return found[0].worse(found[1])


def _data_facts(dataset: Dataset) -> dict[str, str | int]:
    return {
        "name": dataset.name,
        "spec": dataset.spec,
        "test_samples": len(dataset.test),
        "test_digest": dataset.test_digest(),
        "classes": len(dataset.classes),
    }


def _version() -> str:
    try:
        return importlib.metadata.version("leanmark")
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
