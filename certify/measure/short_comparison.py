"""A short comparison of two models, for choosing between many: without null run, yardstick and grade.

Windows are as in a full measurement: isolated workers, arms in turn (ABBA and BAAB), the ratio from paired logarithms.
There are only a few, with one number of threads; if the machine is noisy there are more, up to a limit, and the
interval shows the remaining uncertainty.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from certify.core.errors import MeasureError, UsageError
from certify.core.estimate import Estimate, EvidenceLevel
from certify.core.evidence import ARMS
from certify.core.measuring_rules import MeasuringRules
from certify.core.progress import Progress
from certify.core.statistics.ratio import (
    block_log_ratios,
    duration_per_inference,
    energy_per_inference,
    ratio_estimate,
)
from certify.data.dataset import Dataset
from certify.data.preprocess import Preprocess
from certify.measure import meters, runtimes, schedule
from certify.measure.arms import Arm, Workers
from certify.measure.experiment import choose_meter, open_bench, save_inputs
from certify.measure.meters.base import Meter
from certify.measure.model_under_test import Subject, open_worker, subject
from certify.measure.plan import Plan
from certify.measure.runs import Bench, run_block
from certify.measure.schedule import WINDOWS_OF_AN_ARM

BLOCKS, MOST_BLOCKS = 8, 32
"""Blocks of a comparison: the minimum, and the maximum if the interval is wider than the plan wants."""
BLOCKS_A_START = 4
"""Number of blocks for which workers live."""
RUN = "main"

Quantity = Literal["energy", "latency"]


def compare(
    models: Sequence[tuple[Path, Preprocess]],
    dataset: Dataset,
    plan: Plan,
    rules: MeasuringRules,
    quantity: Quantity = "energy",
    *,
    blocks: int = BLOCKS,
    progress: Progress | None = None,
    available_meters: Sequence[Meter] | None = None,
) -> Estimate:
    """Measure the ratio of the cost of one inference, second model over first.

    Args:
        models: file and preprocessing contract of both.
        dataset: data whose test part is fed; a search puts other samples there.
        plan: runtime, batch, seed, meter, window; one thread by default.
        rules: constants of a measurement.
        quantity: joules, or wall seconds.
        blocks: number of blocks of four windows each; up to four times as many if the interval is wider than the plan
            wants.
        progress: display of the progress.
        available_meters: meters to choose from; None for all.

    Returns:
        The ratio with its 95 % interval, at the evidence level of the meter.

    Raises:
        UsageError: energy is requested but there is no meter, or the runtime is unknown.
        ModelError: a file cannot be read, fed or run.
        MeasureError: a worker or the meter failed.

    Example:
        >>> from certify.measure.short_comparison import compare
        >>> compare([(before, contract), (after, contract)], dataset, Plan(), rules)  # doctest: +SKIP
    """
    runtimes.require(plan.runtime)
    choice = require_meter(plan, available_meters) if quantity == "energy" else meters.Choice(None, {})
    # Both models use the same number of threads, because choosing one per model needs separate measurements.
    plan = replace(plan, threads=plan.threads or 1)
    with open_bench(plan, rules, choice, progress) as bench:
        pairs = zip(ARMS, models, strict=True)
        subjects = [subject(arm, *model, plan.batch, bench.folder) for arm, model in pairs]
        save_inputs(subjects, dataset, plan)
        arms = [_arm(bench, model) for model in subjects]
        per_inference = energy_per_inference if quantity == "energy" else duration_per_inference
        level = EvidenceLevel.DIRECT if choice.meter is None else choice.meter.level
        found: Estimate | None = None
        # Stops by the width of the interval alone. Stopping by its value would select lucky moments and bias the ratio.
        for so_far in _blocks(bench, arms, blocks, MOST_BLOCKS // BLOCKS * blocks):
            if so_far < blocks:
                continue
            found = ratio_estimate(block_log_ratios(bench.recorder.run(RUN).last, per_inference), rules, level)
            # The interval is twice its half-width, which is relative to the ratio.
            if found is None or found.high - found.low <= 2 * plan.wanted_half_width * found.value:
                break
    if found is None:
        raise MeasureError(
            f"The windows have no {quantity}, since the meter read nothing; measure again, or compare by latency."
        )
    return found


def require_meter(plan: Plan, available_meters: Sequence[Meter] | None = None) -> meters.Choice:
    """Return the meter for a comparison by energy.

    Raises:
        UsageError: there is no meter, or the runtime is unknown.
        MeasureError: the plan's meter cannot be used here.
    """
    choice = choose_meter(plan, runtimes.require(plan.runtime), available_meters)
    if choice.meter is None:
        raise UsageError(
            "There is no energy meter on this machine (see leanmark meters); compare by latency or bytes instead."
        )
    return choice


def _arm(bench: Bench, model: Subject) -> Arm:
    """Return the model at the plan's settings, with windows sized by one warm worker."""
    plan = bench.plan
    with open_worker(model, plan.runtime, plan.threads or 1, plan.batch) as worker:
        running = bench.warm(worker, plan.threads or 1)
    return Arm(
        model.arm, model, plan.runtime, running.threads, plan.batch, running.inference_s, running.inferences, 0.0
    )


def _blocks(bench: Bench, arms: Sequence[Arm], least: int, most: int) -> Iterator[int]:
    """Run blocks and yield the number done; the run's length depends on the interval's width, not on its values."""
    order = schedule.blocks([arm.name for arm in arms], bench.plan.seed)
    windows = len(arms) * WINDOWS_OF_AN_ARM
    with Workers(arms, BLOCKS_A_START) as workers, bench.progress.task("Measuring in turn", least * windows) as task:
        for number in range(most):
            for _ in run_block(bench, workers, next(order), RUN, 0, number):
                task.advance()
            yield number + 1
