"""The runs of a measurement: thread number, null, main, yardstick."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from certify.estimate import EvidenceLevel
from certify.evidence import ARMS, Window
from certify.judge.blocks import blocks_needed
from certify.judge.edition import Edition
from certify.judge.ratio import (
    Quantity,
    block_log_ratios,
    duration_per_inference,
    energy_per_inference,
    last_attempt,
    ratio_estimate,
)
from certify.measure import schedule, yardstick
from certify.measure.client import Worker
from certify.measure.machine import thread_numbers
from certify.measure.meters.base import Meter
from certify.measure.plan import Plan
from certify.measure.subject import Subject, open_worker, session_settings
from certify.measure.windows import Recorder, Running, warm_up
from certify.progress import Progress

WINDOWS_A_BLOCK = 4
AGAIN = "baseline_again"
YARDSTICK = "yardstick"


@dataclass(frozen=True)
class Bench:
    """What all runs of one measurement share.

    Attributes:
        plan: what the user set.
        edition: constants.
        recorder: keeps the windows.
        progress: moved on between windows only.
        folder: for arrays that workers read and write.
        meter: that was chosen, None where there is none.
    """

    plan: Plan
    edition: Edition
    recorder: Recorder
    progress: Progress
    folder: Path
    meter: Meter | None

    @property
    def window_s(self) -> float:
        """About how long a window lasts."""
        if self.plan.window_s is not None:
            return self.plan.window_s
        return self.edition.window_seconds(None if self.meter is None else self.meter.name)

    @property
    def quantity(self) -> Quantity:
        """What models are compared by: joules, or seconds where no meter is there."""
        return duration_per_inference if self.meter is None else energy_per_inference

    def least_blocks(self, otherwise: int) -> int:
        """Least number of blocks of a run: the edition's, or fewer where the plan says so."""
        return min(otherwise, self.plan.min_blocks or otherwise)

    def warm(self, worker: Worker, threads: int) -> Running:
        """Warm a worker up and size its windows."""
        return warm_up(worker, threads, self.window_s, self.edition.longest_window_s)


def choose_threads(bench: Bench, model: Subject) -> int:
    """Run a model alone at several thread numbers, and take the one at which it is cheapest.

    Cheapest is fewest joules an inference in the mean of its windows, or seconds where no meter is there. A number that
    the user wants is taken, and the others are recorded beside it.
    """
    plan, count = bench.plan, bench.edition.settings_windows
    numbers = sorted({*thread_numbers(), *([] if plan.threads is None else [plan.threads])})
    costs: dict[int, float] = {}
    with bench.progress.task(f"Choosing the number of threads of the {model.arm}", len(numbers) * count) as task:
        for block, threads in enumerate(numbers):
            with open_worker(model, plan.runtime, threads, plan.batch) as worker:
                running = bench.warm(worker, threads)
                windows = []
                for position in range(count):
                    windows.append(bench.recorder.record(running, (), "settings", 0, block, position))
                    task.advance(note=f"{threads} threads")
            costs[threads] = float(np.mean([bench.quantity(window) for window in windows]))
    return plan.threads or min(costs, key=lambda threads: costs[threads])


def null_run(bench: Bench, baseline: Subject, threads: int) -> None:
    """Measure the baseline against itself; once more where its interval leaves the edition's tolerance.

    Each attempt starts two processes of its own, since one may be a few percent faster than the other for as long as
    they live, by where its memory happened to be placed.
    """
    for attempt in range(bench.edition.null_retries + 1):
        with contextlib.ExitStack() as live:
            arms = (None, AGAIN)
            workers = [
                live.enter_context(open_worker(baseline, bench.plan.runtime, threads, bench.plan.batch, arm))
                for arm in arms
            ]
            first, second = (bench.warm(worker, threads) for worker in workers)
            if _null_attempt(bench, (first, second), attempt):
                return


def _null_attempt(bench: Bench, both: tuple[Running, Running], attempt: int) -> bool:
    """One null run; whether its interval lies within the tolerance."""
    edition = bench.edition
    count = bench.least_blocks(edition.null_blocks)
    described = "Null run: baseline against itself" + (", again" if attempt else "")
    order = schedule.blocks(ARMS[0], AGAIN, bench.plan.seed + 2 * attempt)
    with bench.progress.task(described, count * WINDOWS_A_BLOCK) as task:
        for number in range(count):
            for _ in run_block(bench, both, next(order), "null", attempt, number):
                task.advance()
    windows = last_attempt(bench.recorder.windows, "null")
    ratios = block_log_ratios(windows, bench.quantity, candidate=AGAIN)
    ratio = ratio_estimate(ratios, edition, EvidenceLevel.DIRECT)
    if ratio is not None and ratio.low >= 1 - edition.null_tolerance and ratio.high <= 1 + edition.null_tolerance:
        return True
    bench.progress.say(
        "The null run's interval leaves the tolerance"
        + (f": {ratio.low:.3f} to {ratio.high:.3f}." if ratio is not None else ".")
    )
    return False


def main_run(bench: Bench, baseline: Running, candidate: Running) -> None:
    """Measure the candidate against the baseline: a pilot, then the blocks that it calls for.

    The number is fixed from the pilot's spread; the time limit may cut the rest short, and nothing else does.
    """
    plan, edition = bench.plan, bench.edition
    least = bench.least_blocks(edition.minimum_blocks)
    pilot = bench.least_blocks(edition.pilot_blocks)
    order = schedule.blocks(*ARMS, plan.seed + 1)
    began_s = time.monotonic()
    with bench.progress.task("Measuring: pilot", pilot * WINDOWS_A_BLOCK) as task:
        for number in range(pilot):
            for _ in run_block(bench, (baseline, candidate), next(order), "main", 0, number):
                task.advance()
    ratios = block_log_ratios(bench.recorder.of("main"), bench.quantity)
    wanted = least
    if ratios is not None:
        wanted = blocks_needed(ratios, plan.wanted_half_width, least, edition.maximum_blocks, edition)
    if wanted <= pilot:
        return
    with bench.progress.task("Measuring", (wanted - pilot) * WINDOWS_A_BLOCK) as task:
        for number in range(pilot, wanted):
            elapsed_s = time.monotonic() - began_s
            if number >= least and elapsed_s + elapsed_s / number > plan.time_limit_s:
                return  # one more block of the usual length would pass the limit
            for _ in run_block(bench, (baseline, candidate), next(order), "main", 0, number):
                task.advance()


def run_block(
    bench: Bench, both: tuple[Running, Running], arms: Sequence[str], run: str, attempt: int, number: int
) -> Iterator[Window]:
    """Run the windows of one block in the order of ``arms``."""
    by_arm = {running.worker.arm: running for running in both}
    for position, arm in enumerate(arms):
        waiting = [running for running in both if running.worker.arm != arm]
        yield bench.recorder.record(by_arm[arm], waiting, run, attempt, number, position)


def yardstick_run(bench: Bench, model: Path, threads: int, waiting: Sequence[Running]) -> None:
    """Measure the yardstick's file in a worker of its own, which lives only for this."""
    settings = session_settings(bench.plan.runtime, threads, yardstick.INPUT_NAME, yardstick.OUTPUT_NAME)
    samples = bench.folder / "yardstick-inputs.npy"
    np.save(samples, yardstick.pictures())
    count = bench.edition.yardstick_windows
    with (
        bench.progress.task("Measuring the yardstick", count) as task,
        Worker(YARDSTICK, model, settings) as worker,
    ):
        worker.inputs(samples, 1)
        running = bench.warm(worker, threads)
        for number in range(count):
            bench.recorder.record(running, waiting, YARDSTICK, 0, number, 0)
            task.advance()
