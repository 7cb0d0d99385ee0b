"""The measurement of one model that is compared with nothing.

Every block is some windows of one process, so that the interval of the joules holds what differs from process to
process. What a comparison on this machine could tell apart is read from the same blocks, taken in pairs as they follow
each other; no null run of its own is needed for that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from certify.core.evidence import ALONE, Evidence, Observation
from certify.core.measuring_rules import MeasuringRules
from certify.core.progress import Progress
from certify.core.statistics.ratio import block_logs
from certify.core.windows import Window
from certify.data.dataset import Dataset
from certify.data.preprocess import Preprocess
from certify.measure import observe, runs
from certify.measure.arms import Workers
from certify.measure.experiment import (
    choose_meter,
    finish,
    finish_observations,
    header,
    now,
    open_bench,
    save_inputs,
)
from certify.measure.meters.base import Meter
from certify.measure.model_under_test import subject
from certify.measure.plan import Plan
from certify.measure.runs import Bench
from certify.measure.runtime_choice import make_workload, settle
from certify.measure.yardstick import yardstick_file
from certify.model_file.onnx_file.onnx_file import OnnxFile

WINDOWS_A_BLOCK = 2


def measure_alone(
    model: Path,
    preprocess: Preprocess,
    dataset: Dataset,
    plan: Plan,
    rules: MeasuringRules,
    *,
    score: bool = True,
    progress: Progress | None = None,
    available_meters: Sequence[Meter] | None = None,
) -> Evidence:
    """Measure energy, time, memory and accuracy of one ONNX file.

    Args:
        model: its file.
        preprocess: how the model is fed and read.
        dataset: whose test part is fed and scored.
        plan: what the user set; its half-width is that of the joules themselves here, relative.
        rules: constants of the measurement.
        score: whether the test samples are scored.
        progress: where it says how far it is.
        available_meters: meters to choose from; None for all.

    Returns:
        Evidence of the one arm ``candidate``, for ``certify.assessments.efficiency.alone``. It is none to grade by.

    Raises:
        LeanmarkError: as :func:`certify.measure.experiment.measure` does.
    """
    settled = settle(plan, rules, {ALONE: (model, preprocess)}, dataset, progress, available_meters)
    plan, runtime = settled.plan, settled.runtime
    choice = choose_meter(plan, runtime, available_meters)
    created = now()
    with open_bench(plan, rules, choice, progress) as bench:
        one = subject(ALONE, model, preprocess, plan.batch, bench.folder)
        inputs = observe.inputs(save_inputs((one,), dataset, plan))
        yardstick = yardstick_file() if plan.yardstick and runtime.suffix == OnnxFile.suffix else None
        arm = runs.choose_threads(bench, one)
        with Workers((arm,), bench.blocks_a_start((arm,), WINDOWS_A_BLOCK)) as workers:
            _main_run(bench, workers)
        if yardstick is not None:
            runs.yardstick_run(bench, yardstick, arm.threads)
        finished = finish(bench, arm, dataset, score)
        windows = tuple(bench.recorder.windows())
    workload = make_workload(plan, runtime, arm.threads, arm.threads)
    origin = "measured alone, compared with nothing"
    costs = {} if finished.node_costs is None else {ALONE: finished.node_costs}
    head = header(plan, rules, choice, dataset, {ALONE: one.facts}, workload, created, 1, origin)
    observations = [
        Observation("workers", {"pids": workers.pids, "blocks_a_start": workers.blocks}),
        observe.sessions(workers.sessions, costs, plan.runtime),
        *finish_observations({ALONE: finished}),
        inputs,
        *settled.observations,
    ]
    if finished.predicted is not None:
        correct = int((finished.predicted.top1 == dataset.test.labels).sum())
        observations.append(Observation("scored", {"correct": correct, "samples": len(dataset.test)}))
    return Evidence(head, windows, (finished.latencies,), (), tuple(observations))


def _main_run(bench: Bench, workers: Workers) -> None:
    """Windows of the model alone, as many blocks as the pilot calls for."""
    order = (ALONE,) * WINDOWS_A_BLOCK

    def run(number: int) -> Iterator[Window]:
        return runs.run_block(bench, workers, order, "main", 0, number)

    runs.staged(bench, WINDOWS_A_BLOCK, run, lambda: block_logs(bench.recorder.run("main"), bench.quantity))
