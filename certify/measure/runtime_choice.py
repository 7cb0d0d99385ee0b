"""``--runtime auto``: choice of the cheapest runtime and precision for each model, on separate windows.

Every installed built-in runtime runs some windows of each model, at each number of threads tried. The baseline takes
the runtime with the fewest joules per inference (seconds, if there is no meter) among those that can run it; the other
model takes the cheapest among those that can also run the baseline, so that no model is compared with an original that
was excluded from its runtime. A precision that differs from the file's counts as a separate runtime. Joules of two
devices come from two meters and cannot be compared, so all candidates run on one device: the GPU if a runtime there can
run the models, otherwise the processor. The runtimes tried, their costs and the runtimes excluded are recorded.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from certify.core.errors import MeasureError, ModelError, UsageError
from certify.core.evidence import DEFAULT_RUNTIME, PER_ARM, Observation, Workload
from certify.core.measuring_rules import MeasuringRules
from certify.core.progress import Progress, Silent
from certify.core.run_observations import RuntimeChoice
from certify.data.dataset import Dataset
from certify.data.preprocess import Preprocess
from certify.measure import meters, runtimes
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
"""Number of batches of samples that the trial windows cycle through."""
DEVICES = ("cuda", "cpu")
"""Devices, in the order in which they are tried."""

Costs = dict[int, list[float]]
"""Joules (or seconds) per inference of each window, by number of threads."""


ByArm = dict[str, dict[str, Costs]]
"""Costs by arm and runtime."""


@dataclass(frozen=True)
class Settled:
    """The runtimes chosen for a measurement.

    Attributes:
        plan: the user's plan, with the first model's runtime as recorded in the evidence.
        names: names of the runtimes by arm.
        default: the default runtime, if it can run the baseline and another one is cheaper; otherwise None.
        observations: record of the trials; empty if the user named a runtime.
    """

    plan: Plan
    names: Mapping[str, str]
    default: str | None = None
    observations: tuple[Observation, ...] = ()

    @property
    def runtime(self) -> Runtime:
        """Adapter of the first model; the other model runs on the same device."""
        return runtimes.get(self.plan.runtime)


@dataclass(frozen=True)
class _Trial:
    """Inputs of the trials."""

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
    """Return the runtime that a plan names, or for ``auto`` the cheapest one for each model.

    Args:
        plan: the user's settings.
        rules: constants of the measurement.
        models: file and preprocessing contract by arm, the baseline first.
        dataset: data whose test samples the windows cycle through.
        progress: display of the results.
        available_meters: meters to choose from; None for all.

    Raises:
        UsageError: the runtime is unknown, not installed, or runs another kind of file.
        MeasureError: no installed runtime can run the models.
        LeanmarkError: the models or the data cannot be read.
    """
    if plan.runtime != runtimes.AUTO:
        runtime = runtimes.require(plan.runtime)
        for path, _ in models.values():
            if kind_of(path).suffix != runtime.suffix:
                raise UsageError(
                    f"{path}: runtime {plan.runtime} runs {runtime.suffix} files only; choose another one with "
                    "--runtime."
                )
        # The evidence names a plug-in by the place of its code, whatever name was given.
        place = runtimes.RUNTIMES.place(plan.runtime)
        return Settled(replace(plan, runtime=place), dict.fromkeys(models, place))
    progress = progress or Silent()
    with tempfile.TemporaryDirectory(prefix="leanmark-runtimes-") as name:
        folder = Path(name)
        subjects = tuple(subject(arm, *model, plan.batch, folder) for arm, model in models.items())
        # The same order as in the main run, cut off: the trials feed what will be measured.
        indices = energy_samples(subjects, dataset, plan)[: TRIED * plan.batch]
        for under_test in subjects:
            save_samples(under_test.inputs, dataset.test, indices, under_test.preprocess)
        return _cheapest(_Trial(plan, rules, subjects, folder, progress), available_meters)


def make_workload(settled: Settled, threads: int, candidate_threads: int) -> Workload:
    """Return the workload as recorded in the evidence."""
    runtime, last = settled.runtime, list(settled.names.values())[-1]
    candidate = runtimes.get(last)
    own = dict(zip(PER_ARM, (last, candidate.version(), candidate.provider, candidate.precision), strict=True))
    return Workload(
        runtime=settled.plan.runtime,
        runtime_version=runtime.version(),
        provider=runtime.provider,
        batch=settled.plan.batch,
        threads=threads,
        candidate_threads=candidate_threads,
        spinning=runtime.spinning,
        precision=runtime.precision,
        library_versions={**runtime.libraries(), **candidate.libraries()},
        candidate_runtime={} if last == settled.plan.runtime else own,
    )


def _cheapest(trial: _Trial, available_meters: Sequence[Meter] | None) -> Settled:
    left_out: dict[str, dict[str, str]] = {model.arm: {} for model in trial.models}
    usable = _usable(trial, left_out)
    # Costs on two devices come from two meters with different scopes, so only runtimes of one device compete.
    for device in DEVICES:
        names = [name for name, runtime in usable.items() if runtime.device == device]
        try:
            meter = _meter(trial.plan, device, available_meters)
        except MeasureError as error:  # the meter that the user named does not cover this device
            _leave_out(left_out, names, str(error))
            continue
        costs = _try_all(trial, names, meter, left_out)
        if chosen := _chosen(costs):
            others = [name for name, runtime in usable.items() if runtime.device != device]
            _leave_out(left_out, others, f"Computes on another device than the one that was tried ({device}).")
            return _settled(trial, costs, chosen, left_out, "s" if meter is None else "J")
    dropped = dict(reason for reasons in left_out.values() for reason in reasons.items())
    reasons = " ".join(f"{name}: {reason}" for name, reason in dropped.items())
    raise MeasureError(f"No installed runtime can run the models. {reasons}")


def _leave_out(left_out: dict[str, dict[str, str]], names: Sequence[str], reason: str) -> None:
    """Record a reason for every model that does not have one yet."""
    for own in left_out.values():
        own |= {name: reason for name in names if name not in own}


def _chosen(costs: ByArm) -> dict[str, str]:
    """Return the cheapest runtime by arm among those that can also run the first model; empty if any model has none."""
    first, *_ = costs.values()
    usable = {arm: {name: _least(found) for name, found in own.items() if name in first} for arm, own in costs.items()}
    return {arm: min(own, key=lambda name: own[name]) for arm, own in usable.items()} if all(usable.values()) else {}


def _least(found: Costs) -> float:
    return min(float(np.mean(values)) for values in found.values())


def _usable(trial: _Trial, left_out: dict[str, dict[str, str]]) -> dict[str, Runtime]:
    """Return installed runtimes for the models' kind of file, by name; record reasons for the others."""
    found = {}
    kinds = {kind_of(model.path).suffix for model in trial.models}
    for name in trial.plan.among or runtimes.RUNTIMES.own:
        runtime = runtimes.get(name)
        if kinds != {runtime.suffix}:
            _leave_out(left_out, [name], f"Runs {runtime.suffix} files only.")
        elif (reason := runtime.unavailable()) is not None:
            _leave_out(left_out, [name], reason)
        else:
            found[name] = runtime
    return found


def _meter(plan: Plan, device: str, available: Sequence[Meter] | None) -> Meter | None:
    if plan.meter is not None:
        return meters.require(plan.meter, device).meter
    return meters.choose(device, available).meter


def _try_all(trial: _Trial, names: Sequence[str], meter: Meter | None, left_out: dict[str, dict[str, str]]) -> ByArm:
    """Return costs by arm and runtime; a runtime that cannot run a model is left out for it, with the reason."""
    recorder = Recorder(meter, Host(), trial.folder / "windows.jsonl")
    bench = Bench(trial.plan, trial.rules, recorder, trial.progress, trial.folder, meter)
    costs: ByArm = {model.arm: {} for model in trial.models}
    for name in names:
        for model in trial.models:
            try:
                costs[model.arm][name] = _try(bench, name, model)
            except (MeasureError, ModelError) as error:
                left_out[model.arm][name] = _without_paths(str(error), trial.models)
    return costs


def _without_paths(sentence: str, models: tuple[Subject, ...]) -> str:
    """Return a reason without the maker's paths, for the evidence."""
    for model in models:
        for path in (str(model.path.resolve()), str(model.path)):
            sentence = sentence.replace(path, f"the {model.arm}")
    return sentence


def _try(bench: Bench, name: str, model: Subject) -> Costs:
    """Run trial windows of a model at each number of threads."""
    plan, count = bench.plan, bench.rules.settings_windows
    costs: Costs = {}
    on_accelerator = "accelerator" in runtimes.get(name).accelerator()
    # If the user sets a number, only that one is tried, because the measurement will use it.
    numbers = threads_to_try(None, on_accelerator) if plan.threads is None else (plan.threads,)
    with bench.progress.task(f"Trying {name} on the {model.arm}", len(numbers) * count) as task:
        for threads in numbers:
            costs[threads] = []
            with open_worker(model, name, threads, plan.batch) as worker:
                running = bench.warm(worker, threads)
                for position in range(count):
                    window = bench.recorder.record(running, (), RUN, 0, 0, position)
                    cost = bench.quantity(window)
                    # A runtime at 0 J would always be the cheapest.
                    if cost is None or cost <= 0:
                        raise MeasureError(
                            f"The meter read no energy in a trial window of {name}; choose another meter with --meter."
                        )
                    costs[threads].append(cost)
                    task.advance(note=f"{threads} threads")
    return costs


def _settled(
    trial: _Trial, costs: ByArm, chosen: dict[str, str], left_out: dict[str, dict[str, str]], unit: str
) -> Settled:
    for arm, own in costs.items():
        least = sorted((_least(found), name) for name, found in own.items())
        dropped = ", ".join(f"{name} {cost:.3g} {unit}" for cost, name in least)
        trial.progress.say(f"Runtime of the {arm}: {chosen[arm]} ({dropped} per inference).")
    written = {
        arm: {name: {str(threads): each for threads, each in found.items()} for name, found in own.items()}
        for arm, own in costs.items()
    }
    first = trial.models[0].arm
    better = len(costs) > 1 and DEFAULT_RUNTIME in costs[first] and chosen[first] != DEFAULT_RUNTIME
    observed = Observation.of(RuntimeChoice(unit, written, left_out))
    plan = replace(trial.plan, runtime=chosen[first])
    return Settled(plan, chosen, DEFAULT_RUNTIME if better else None, (observed,))
