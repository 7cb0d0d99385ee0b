"""``--runtime auto``: the runtime that is cheapest for the baseline, found on windows of its own.

Every runtime of leanmark's that is installed and can run all the models runs some windows of the baseline, at each
number of threads that is tried; the one with the fewest joules an inference (seconds, where no meter is there) is taken
for both models.
Joules of two devices come from two meters, which can't be compared: so all candidates are on one device, the GPU where
a runtime there can run the models, else the processor. What was tried, what it took and what was left out is recorded.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from certify.core.errors import MeasureError, ModelError, UsageError
from certify.core.evidence import Observation, Workload
from certify.core.measuring_rules import MeasuringRules
from certify.core.progress import Progress, Silent
from certify.data.dataset import Dataset
from certify.data.preprocess import Preprocess
from certify.measure import meters, runtimes
from certify.measure.client import OPEN_TIMEOUT_S
from certify.measure.host import Host
from certify.measure.inputs import save_samples
from certify.measure.machine import threads_to_try
from certify.measure.meters.base import Meter
from certify.measure.model_under_test import Subject, open_worker, subject
from certify.measure.orders import energy_samples
from certify.measure.plan import Plan
from certify.measure.runs import Bench
from certify.measure.runtimes.base import Runtime
from certify.measure.windows import Recorder
from certify.model_file.model_file import kind_of

RUN = "runtime"
TRIED = 32
"""Batches of samples that the windows here go through."""
DEVICES = ("cuda", "cpu")
"""In the order in which they are tried."""

Costs = dict[int, list[float]]
"""Joules (or seconds) an inference of each window, by number of threads."""


@dataclass(frozen=True)
class Settled:
    """The runtime of a measurement.

    Attributes:
        plan: the user's, with the runtime's name as evidence states it.
        runtime: its adapter.
        observations: what was tried; empty where the user named a runtime.
    """

    plan: Plan
    runtime: Runtime
    observations: tuple[Observation, ...] = ()


@dataclass(frozen=True)
class _Trial:
    """What a runtime is tried with."""

    plan: Plan
    rules: MeasuringRules
    models: tuple[Subject, ...]
    folder: Path
    progress: Progress


def settle(
    plan: Plan,
    rules: MeasuringRules,
    models: Mapping[str, tuple[Path, Preprocess]],
    dataset: Dataset,
    progress: Progress | None = None,
    available_meters: Sequence[Meter] | None = None,
) -> Settled:
    """Find the runtime that a plan names, or the cheapest one where it says ``auto``.

    Args:
        plan: what the user set.
        rules: constants of the measurement.
        models: file and preprocessing contract by arm, the baseline first.
        dataset: whose test samples the windows go through.
        progress: where it says what it found.
        available_meters: meters to choose from; None for all.

    Raises:
        UsageError: there is no runtime of that name, it is not installed, or it runs another kind of file.
        MeasureError: none of those installed can run the models.
        LeanmarkError: the models or the data can't be read.
    """
    if plan.runtime != runtimes.AUTO:
        runtime = runtimes.require(plan.runtime)
        for path, _ in models.values():
            if kind_of(path).suffix != runtime.suffix:
                raise UsageError(
                    f"{path}: the runtime {plan.runtime} runs {runtime.suffix} files only; name another one."
                )
        return Settled(replace(plan, runtime=runtimes.RUNTIMES.place(plan.runtime)), runtime)
    progress = progress or Silent()
    with tempfile.TemporaryDirectory(prefix="leanmark-runtimes-") as name:
        folder = Path(name)
        subjects = tuple(subject(arm, *model, plan.batch, folder) for arm, model in models.items())
        indices = energy_samples(subjects, dataset, plan)[: TRIED * plan.batch]
        for one in subjects:
            save_samples(one.inputs, dataset.test, indices, one.preprocess)
        return _cheapest(_Trial(plan, rules, subjects, folder, progress), available_meters)


def make_workload(plan: Plan, runtime: Runtime, threads: int, candidate_threads: int) -> Workload:
    """How the models are run, as the evidence has it."""
    return Workload(
        runtime=plan.runtime,
        runtime_version=runtime.version(),
        provider=runtime.provider,
        batch=plan.batch,
        threads=threads,
        candidate_threads=candidate_threads,
        spinning=runtime.spinning,
        precision=runtime.precision,
        library_versions=dict(runtime.libraries()),
    )


def _cheapest(trial: _Trial, available_meters: Sequence[Meter] | None) -> Settled:
    left_out: dict[str, str] = {}
    usable = _usable(trial.models, left_out)
    for device in DEVICES:
        names = [name for name, runtime in usable.items() if runtime.device == device]
        try:
            meter = _meter(trial.plan, device, available_meters)
        except MeasureError as error:  # the meter that the user named is none for this device
            left_out |= dict.fromkeys(names, str(error))
            continue
        costs = _try_all(trial, names, meter, left_out)
        if costs:
            others = [name for name, runtime in usable.items() if runtime.device != device and name not in left_out]
            left_out |= dict.fromkeys(others, f"Computes on another device than the one that was tried ({device}).")
            return _settled(trial, costs, left_out, "s" if meter is None else "J")
    reasons = " ".join(f"{name}: {reason}" for name, reason in left_out.items())
    raise MeasureError(f"No runtime that is installed here can run the models. {reasons}")


def _usable(models: tuple[Subject, ...], left_out: dict[str, str]) -> dict[str, Runtime]:
    """Installed runtimes for files of the models' kind, by name; the reason for each other one in ``left_out``."""
    found = {}
    kinds = {kind_of(model.path).suffix for model in models}
    for name in runtimes.RUNTIMES.own:
        runtime = runtimes.get(name)
        if kinds != {runtime.suffix}:
            left_out[name] = f"Runs {runtime.suffix} files only."
        elif (reason := runtime.unavailable()) is not None:
            left_out[name] = reason
        else:
            found[name] = runtime
    return found


def _meter(plan: Plan, device: str, available: Sequence[Meter] | None) -> Meter | None:
    if plan.meter is not None:
        return meters.require(plan.meter, device).meter
    return meters.choose(device, available).meter


def _try_all(trial: _Trial, names: Sequence[str], meter: Meter | None, left_out: dict[str, str]) -> dict[str, Costs]:
    """Costs by runtime; one that can't run every model is left out with the reason."""
    recorder = Recorder(meter, Host(), trial.folder / "windows.jsonl")
    bench = Bench(trial.plan, trial.rules, recorder, trial.progress, trial.folder, meter)
    found = {}
    for number, name in enumerate(names):
        try:
            found[name] = _try(bench, name, trial.models, number)
        except (MeasureError, ModelError) as error:
            left_out[name] = _without_paths(str(error), trial.models)
    return found


def _without_paths(sentence: str, models: tuple[Subject, ...]) -> str:
    """A reason for the evidence, which names no folder of its maker."""
    for model in models:
        for path in (str(model.path.resolve()), str(model.path)):
            sentence = sentence.replace(path, f"the {model.arm}")
    return sentence


def _try(bench: Bench, name: str, models: tuple[Subject, ...], number: int) -> Costs:
    """Run all models once, and some windows of the baseline at each number of threads."""
    plan, count = bench.plan, bench.rules.settings_windows
    baseline, *others = models
    for model in others:
        with open_worker(model, name, plan.threads or 1, plan.batch) as worker:
            worker.window(1, OPEN_TIMEOUT_S)
    costs: Costs = {}
    on_accelerator = "accelerator" in runtimes.get(name).accelerator()
    numbers = threads_to_try(None, on_accelerator) if plan.threads is None else (plan.threads,)
    with bench.progress.task(f"Trying {name} on the {baseline.arm}", len(numbers) * count) as task:
        for threads in numbers:
            costs[threads] = []
            with open_worker(baseline, name, threads, plan.batch) as worker:
                running = bench.warm(worker, threads)
                for position in range(count):
                    window = bench.recorder.record(running, (), RUN, 0, number, position)
                    cost = bench.quantity(window)
                    if cost is None or cost <= 0:
                        raise MeasureError(f"The meter read no energy in a window of {name}.")
                    costs[threads].append(cost)
                    task.advance(note=f"{threads} threads")
    return costs


def _settled(trial: _Trial, costs: dict[str, Costs], left_out: dict[str, str], unit: str) -> Settled:
    least = {name: min(float(np.mean(values)) for values in found.values()) for name, found in costs.items()}
    chosen = min(least, key=lambda name: least[name])
    told = ", ".join(f"{name} {cost:.3g} {unit}" for name, cost in sorted(least.items(), key=lambda item: item[1]))
    trial.progress.say(f"Runtime: {chosen}, the cheapest for the {trial.models[0].arm} (an inference takes {told}).")
    values: dict[str, Any] = {
        "chosen": chosen,
        "unit": unit,
        "costs": {name: {str(threads): each for threads, each in found.items()} for name, found in costs.items()},
        "left_out": left_out,
    }
    plan = replace(trial.plan, runtime=chosen)
    return Settled(plan, runtimes.get(chosen), (Observation("runtime_choice", values),))
