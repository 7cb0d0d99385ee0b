"""Runs of a measurement: number of threads, null run, main run and yardstick."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from certify.core.estimate import Estimate, EvidenceLevel
from certify.core.measuring_rules import MeasuringRules
from certify.core.progress import Progress
from certify.core.statistics.batch_means import Series
from certify.core.statistics.blocks import blocks_needed
from certify.core.statistics.ratio import (
    Quantity,
    arm_logs,
    block_log_ratios,
    duration_per_inference,
    energy_per_inference,
    ratio_estimate,
)
from certify.core.windows import Window
from certify.measure import runtimes, schedule, yardstick
from certify.measure.arms import Arm, Workers, blocks_a_start
from certify.measure.client import Worker
from certify.measure.machine import threads_to_try
from certify.measure.meters.base import Meter
from certify.measure.model_under_test import Subject, open_worker, session_settings
from certify.measure.plan import Plan
from certify.measure.schedule import WINDOWS_OF_AN_ARM
from certify.measure.windows import SETTLE_S, Recorder, Running, warm_up

AGAIN = "baseline_again"
DEFAULT = "baseline_default"
RUNTIME = "runtime"
YARDSTICK = "yardstick"


@dataclass(frozen=True)
class Bench:
    """State shared by all runs of a measurement.

    Attributes:
        plan: settings of the user.
        rules: constants of the measurement.
        recorder: recorder of the windows.
        progress: display of the progress; updated only between windows.
        folder: folder for arrays that workers read and write.
        meter: the chosen meter, or None.
    """

    plan: Plan
    rules: MeasuringRules
    recorder: Recorder
    progress: Progress
    folder: Path
    meter: Meter | None

    @property
    def window_s(self) -> float:
        """Target length of a window in seconds."""
        if self.plan.window_s is not None:
            return self.plan.window_s
        return self.rules.window_seconds(None if self.meter is None else self.meter.name)

    @property
    def quantity(self) -> Quantity:
        """Quantity by which models are compared: joules, or seconds if there is no meter."""
        return duration_per_inference if self.meter is None else energy_per_inference

    def least_blocks(self, otherwise: int) -> int:
        """Return the least number of blocks of a run: the edition's, or fewer if the plan says so."""
        return min(otherwise, self.plan.min_blocks or otherwise)

    def blocks_a_start(self, arms: Sequence[Arm]) -> int:
        """Return the number of blocks for which the workers of the arms live."""
        block_s = WINDOWS_OF_AN_ARM * sum(arm.inferences * arm.inference_s for arm in arms)
        least = self.least_blocks(self.rules.minimum_blocks)
        start_s = max(arm.start_s for arm in arms)
        return blocks_a_start(start_s, block_s, least, self.plan.time_limit_s, self.rules)

    def null_blocks(self, baseline: Arm, blocks_a_start: int, attempt: int = 0) -> int:
        """Return the number of blocks of the null run, fixed in advance: as many as fit its time, within the bounds.

        If the user's time limit for the main run is below the edition's limit for the null run, it applies to both; a
        repetition has twice that time, as most short runs that fail have too few blocks.
        """
        # The null run bounds the error of the main run, so it needs no more time than that has.
        time_s = min(self.rules.null_time_s, (1 + attempt) * self.plan.time_limit_s)
        windows_s = 2 * WINDOWS_OF_AN_ARM * (baseline.inferences * baseline.inference_s + SETTLE_S)
        # Each block also includes its share of starting workers.
        fitting = math.floor(time_s / (windows_s + baseline.start_s / blocks_a_start))
        most = min(fitting, self.rules.largest_null_blocks)
        return self.least_blocks(max(self.rules.null_blocks, most))

    def warm(self, worker: Worker, threads: int) -> Running:
        """Warm up a worker and determine the size of its windows."""
        return warm_up(worker, threads, self.window_s, self.rules.longest_window_s)


def choose_threads(bench: Bench, model: Subject, runtime: str | None = None, name: str | None = None) -> Arm:
    """Run a model with several numbers of threads, and choose the cheapest.

    The cheapest number has the fewest joules per inference in the mean of its windows, or seconds if there is no meter.
    A number set by the user is used, and the others are still recorded. On an accelerator only one number is tried.

    Args:
        bench: shared state of the measurement.
        model: model to run.
        runtime: name of the runtime; default: the plan's.
        name: name under which its windows are recorded; default: the model's arm.
    """
    arm, runtime = name or model.arm, runtime or bench.plan.runtime
    plan, count = bench.plan, bench.rules.settings_windows
    # An accelerator's session does its work on the device; threads of the host only feed it.
    numbers = threads_to_try(plan.threads, "accelerator" in runtimes.get(runtime).accelerator())
    costs: dict[int, float] = {}
    arms: dict[int, Arm] = {}
    with bench.progress.task(f"Choosing the number of threads of the {arm}", len(numbers) * count) as task:
        for block, threads in enumerate(numbers):
            # Includes opening and warming up, because each restart of this arm repeats both.
            began_s = time.monotonic()
            with open_worker(model, runtime, threads, plan.batch, arm) as worker:
                running = bench.warm(worker, threads)
                arms[threads] = Arm(
                    arm, model, runtime, threads, plan.batch, running.inference_s, running.inferences,
                    time.monotonic() - began_s,
                )  # fmt: skip
                windows = []
                for position in range(count):
                    windows.append(bench.recorder.record(running, (), "settings", 0, block, position))
                    task.advance(note=f"{threads} threads" if threads > 1 else "1 thread")
            costs[threads] = float(np.mean([bench.quantity(window) for window in windows]))
        # Ties go to the first and smallest number, which dictionaries keep in order.
        chosen = plan.threads or min(costs, key=lambda threads: costs[threads])
        task.advance(0, note=f"{chosen} chosen")
    return arms[chosen]


def null_run(bench: Bench, baseline: Arm, blocks: int) -> None:
    """Measure the baseline against itself; repeat once, for longer, if the interval exceeds the edition's tolerance.

    Args:
        bench: shared state of the measurement.
        baseline: arm to measure against itself.
        blocks: number of blocks for which workers live, as in the main run.
    """
    tolerance = bench.rules.null_tolerance
    # Under another name, so that windows of the same file are recorded as two arms and judged like any pair.
    again = replace(baseline, name=AGAIN)
    for attempt in range(bench.rules.null_retries + 1):
        described = "Null run: baseline against itself" + (", again" if attempt else "")
        ratio = against(bench, "null", (baseline, again), blocks, described, attempt)
        # The whole interval must lie inside: a wide interval around 1 shows nothing about the machine.
        if ratio is not None and ratio.low >= 1 - tolerance and ratio.high <= 1 + tolerance:
            return
        found = "" if ratio is None else f": {ratio.low:.3f} to {ratio.high:.3f}"
        bench.progress.say(f"The interval of the null run exceeds the tolerance{found}.")


def against(
    bench: Bench, run: str, arms: tuple[Arm, Arm], blocks: int, described: str, attempt: int = 0
) -> Estimate | None:
    """Run two arms of the baseline for as long as this attempt of a null run; return the second's ratio to the first.

    Returns:
        The ratio, or None if a window has no quantity above 0.
    """
    first, second = arms
    count = bench.null_blocks(first, blocks, attempt)
    # The main run uses seed + 1, so no attempt shares its order.
    order = schedule.blocks((first.name, second.name), bench.plan.seed + 2 * attempt)
    with Workers(arms, blocks) as workers, bench.progress.task(described, count * 2 * WINDOWS_OF_AN_ARM) as task:
        for number in range(count):
            for _ in run_block(bench, workers, next(order), run, attempt, number):
                task.advance()
    ratios = block_log_ratios(bench.recorder.run(run).last, bench.quantity, second.name, first.name)
    return ratio_estimate(ratios, bench.rules, EvidenceLevel.DIRECT)


def main_run(bench: Bench, workers: Workers) -> None:
    """Measure the arms in turn: a pilot, then as many blocks as it requires.

    The number of blocks is fixed from the pilot's spread; only the time limit can end the run early.
    """
    plan, rules = bench.plan, bench.rules
    names = [arm.name for arm in workers.arms]
    order, windows = schedule.blocks(names, plan.seed + 1), WINDOWS_OF_AN_ARM * len(names)
    least = bench.least_blocks(rules.minimum_blocks)
    pilot = bench.least_blocks(rules.pilot_blocks)
    began_s = time.monotonic()
    with bench.progress.task("Measuring: pilot", pilot * windows) as task:
        for number in range(pilot):
            for _ in run_block(bench, workers, next(order), "main", 0, number):
                task.advance()
    wanted, found = least, _logs(bench, names)
    # Without a reading in every block, the spread is unknown.
    if found is not None:
        wanted = blocks_needed(found, plan.wanted_half_width, least, rules.maximum_blocks, rules)
    if wanted <= pilot:
        return
    with bench.progress.task("Measuring", (wanted - pilot) * windows) as task:
        for number in range(pilot, wanted):
            elapsed_s = time.monotonic() - began_s
            # Never below the least number, whose interval would not have the stated coverage.
            if number >= least and elapsed_s + elapsed_s / number > plan.time_limit_s:
                return  # one more block of average length would exceed the limit
            for _ in run_block(bench, workers, next(order), "main", 0, number):
                task.advance()


def _logs(bench: Bench, names: Sequence[str]) -> Series | None:
    """Return the logarithms of the ratio of each block so far, (blocks,), or of the quantity of a single model."""
    main = bench.recorder.run("main", len(names))
    if len(names) == 1:
        return arm_logs(main, names[0], bench.quantity)
    return block_log_ratios(main, bench.quantity)


def run_block(
    bench: Bench, workers: Workers, order: Sequence[str], run: str, attempt: int, number: int
) -> Iterator[Window]:
    """Run the windows of one block, in the given order of arms."""
    live = workers.for_block(number)
    by_arm = {running.worker.arm: running for running in live}
    for position, name in enumerate(order):
        waiting = [running for running in live if running.worker.arm != name]
        yield bench.recorder.record(by_arm[name], waiting, run, attempt, number, position)


def yardstick_run(bench: Bench, model: Path, threads: int) -> None:
    """Measure the yardstick file, with a new worker every other window."""
    settings = session_settings(bench.plan.runtime, threads, (yardstick.INPUT_NAME,), yardstick.OUTPUT_NAME)
    # Inputs of its own, whatever the data of the models: only then do figures of different certificates share a unit.
    samples = bench.folder / "yardstick-inputs.npy"
    np.save(samples, yardstick.images())
    count = bench.rules.yardstick_windows
    with bench.progress.task("Measuring the yardstick", count) as task:
        # Restarted like the arms, so that its figure includes the variation between processes.
        for first in range(0, count, 2):
            with Worker(YARDSTICK, model, settings) as worker:
                worker.inputs(samples, 1)
                running = bench.warm(worker, threads)
                for number in range(first, min(first + 2, count)):
                    bench.recorder.record(running, (), YARDSTICK, 0, number, 0)
                    task.advance()
