"""The runs of a measurement: thread number, null, main, yardstick."""

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
YARDSTICK = "yardstick"


@dataclass(frozen=True)
class Bench:
    """What all runs of one measurement share.

    Attributes:
        plan: what the user set.
        rules: constants.
        recorder: keeps the windows.
        progress: moved on between windows only.
        folder: for arrays that workers read and write.
        meter: that was chosen, None where there is none.
    """

    plan: Plan
    rules: MeasuringRules
    recorder: Recorder
    progress: Progress
    folder: Path
    meter: Meter | None

    @property
    def window_s(self) -> float:
        """About how long a window lasts."""
        if self.plan.window_s is not None:
            return self.plan.window_s
        return self.rules.window_seconds(None if self.meter is None else self.meter.name)

    @property
    def quantity(self) -> Quantity:
        """What models are compared by: joules, or seconds where no meter is there."""
        return duration_per_inference if self.meter is None else energy_per_inference

    def least_blocks(self, otherwise: int) -> int:
        """Least number of blocks of a run: the edition's, or fewer where the plan says so."""
        return min(otherwise, self.plan.min_blocks or otherwise)

    def blocks_a_start(self, arms: Sequence[Arm]) -> int:
        """For how many blocks the workers of the arms live."""
        block_s = WINDOWS_OF_AN_ARM * sum(arm.inferences * arm.inference_s for arm in arms)
        least = self.least_blocks(self.rules.minimum_blocks)
        start_s = max(arm.start_s for arm in arms)
        return blocks_a_start(start_s, block_s, least, self.plan.time_limit_s, self.rules)

    def null_blocks(self, baseline: Arm, blocks_a_start: int) -> int:
        """Number of blocks of the null run, fixed before it: as many as fit its time, within the edition's bounds.

        A user who gives the main run less time than the edition gives the null run gives both less.
        """
        time_s = min(self.rules.null_time_s, self.plan.time_limit_s)
        windows_s = 2 * WINDOWS_OF_AN_ARM * (baseline.inferences * baseline.inference_s + SETTLE_S)
        fitting = math.floor(time_s / (windows_s + baseline.start_s / blocks_a_start))
        most = min(fitting, self.rules.largest_null_blocks)
        return self.least_blocks(max(self.rules.null_blocks, most))

    def warm(self, worker: Worker, threads: int) -> Running:
        """Warm a worker up and size its windows."""
        return warm_up(worker, threads, self.window_s, self.rules.longest_window_s)


def choose_threads(bench: Bench, model: Subject) -> Arm:
    """Run a model alone at several thread numbers, and take the one at which it is cheapest.

    Cheapest is fewest joules an inference in the mean of its windows, or seconds where no meter is there. A number that
    the user wants is taken, and the others are recorded beside it. On an accelerator one number is tried.
    """
    plan, count = bench.plan, bench.rules.settings_windows
    numbers = threads_to_try(plan.threads, "accelerator" in runtimes.get(plan.runtime).accelerator())
    costs: dict[int, float] = {}
    arms: dict[int, Arm] = {}
    with bench.progress.task(f"Choosing the number of threads of the {model.arm}", len(numbers) * count) as task:
        for block, threads in enumerate(numbers):
            began_s = time.monotonic()
            with open_worker(model, plan.runtime, threads, plan.batch) as worker:
                running = bench.warm(worker, threads)
                arms[threads] = Arm(
                    model.arm, model, plan.runtime, threads, plan.batch, running.inference_s, running.inferences,
                    time.monotonic() - began_s,
                )  # fmt: skip
                windows = []
                for position in range(count):
                    windows.append(bench.recorder.record(running, (), "settings", 0, block, position))
                    task.advance(note=f"{threads} threads" if threads > 1 else "1 thread")
            costs[threads] = float(np.mean([bench.quantity(window) for window in windows]))
        chosen = plan.threads or min(costs, key=lambda threads: costs[threads])
        task.advance(0, note=f"{chosen} chosen")
    return arms[chosen]


def null_run(bench: Bench, baseline: Arm, blocks: int) -> None:
    """Measure the baseline against itself; once more where its interval leaves the edition's tolerance.

    Args:
        bench: of the measurement.
        baseline: in both places.
        blocks: for how many blocks workers live, the same as in the main run.
    """
    tolerance = bench.rules.null_tolerance
    for attempt in range(bench.rules.null_retries + 1):
        ratio = null_attempt(bench, baseline, blocks, attempt)
        if ratio is not None and ratio.low >= 1 - tolerance and ratio.high <= 1 + tolerance:
            return
        found = "" if ratio is None else f": {ratio.low:.3f} to {ratio.high:.3f}"
        bench.progress.say(f"The null run's interval leaves the tolerance{found}.")


def null_attempt(bench: Bench, baseline: Arm, blocks: int, attempt: int) -> Estimate | None:
    """One null run: its ratio, None where no window has a quantity above 0."""
    count = bench.null_blocks(baseline, blocks)
    described = "Null run: baseline against itself" + (", again" if attempt else "")
    order = schedule.blocks((baseline.name, AGAIN), bench.plan.seed + 2 * attempt)
    with (
        Workers((baseline, replace(baseline, name=AGAIN)), blocks) as workers,
        bench.progress.task(described, count * 2 * WINDOWS_OF_AN_ARM) as task,
    ):
        for number in range(count):
            for _ in run_block(bench, workers, next(order), "null", attempt, number):
                task.advance()
    ratios = block_log_ratios(bench.recorder.run("null").last, bench.quantity, candidate=AGAIN)
    return ratio_estimate(ratios, bench.rules, EvidenceLevel.DIRECT)


def main_run(bench: Bench, workers: Workers) -> None:
    """Measure the arms in turn: a pilot, then the blocks that it calls for.

    The number is fixed from the pilot's spread; the time limit may cut the rest short, and nothing else does.
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
    if found is not None:
        wanted = blocks_needed(found, plan.wanted_half_width, least, rules.maximum_blocks, rules)
    if wanted <= pilot:
        return
    with bench.progress.task("Measuring", (wanted - pilot) * windows) as task:
        for number in range(pilot, wanted):
            elapsed_s = time.monotonic() - began_s
            if number >= least and elapsed_s + elapsed_s / number > plan.time_limit_s:
                return  # one more block of the usual length would pass the limit
            for _ in run_block(bench, workers, next(order), "main", 0, number):
                task.advance()


def _logs(bench: Bench, names: Sequence[str]) -> Series | None:
    """What the blocks so far say, (blocks,): the logarithm of the ratio, or of the quantity of a model alone."""
    main = bench.recorder.run("main", len(names))
    if len(names) == 1:
        return arm_logs(main, names[0], bench.quantity)
    return block_log_ratios(main, bench.quantity)


def run_block(
    bench: Bench, workers: Workers, order: Sequence[str], run: str, attempt: int, number: int
) -> Iterator[Window]:
    """Run the windows of one block, in the order of the arms' names."""
    live = workers.for_block(number)
    by_arm = {running.worker.arm: running for running in live}
    for position, name in enumerate(order):
        waiting = [running for running in live if running.worker.arm != name]
        yield bench.recorder.record(by_arm[name], waiting, run, attempt, number, position)


def yardstick_run(bench: Bench, model: Path, threads: int) -> None:
    """Measure the yardstick's file, with a new worker every other window."""
    settings = session_settings(bench.plan.runtime, threads, (yardstick.INPUT_NAME,), yardstick.OUTPUT_NAME)
    samples = bench.folder / "yardstick-inputs.npy"
    np.save(samples, yardstick.pictures())
    count = bench.rules.yardstick_windows
    with bench.progress.task("Measuring the yardstick", count) as task:
        for first in range(0, count, 2):
            with Worker(YARDSTICK, model, settings) as worker:
                worker.inputs(samples, 1)
                running = bench.warm(worker, threads)
                for number in range(first, min(first + 2, count)):
                    bench.recorder.record(running, (), YARDSTICK, 0, number, 0)
                    task.advance()
