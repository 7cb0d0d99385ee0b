"""The measurement of a pair of models, or of a single one, from the first window to the evidence.

The steps: number of threads (on separate windows), null run, main run, yardstick, latencies, predictions, time by node.
No result decides when to stop: the number of blocks is fixed once, from the pilot's spread, and limited by time.

A single model has no null run: the smallest difference that this machine could detect is estimated from pairs of its
own consecutive blocks.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from certify.core.errors import MeasureError
from certify.core.evidence import ARMS, Evidence, Latencies, Observation
from certify.core.folders import published
from certify.core.measuring_rules import MeasuringRules
from certify.core.observations import FiniteOutputs
from certify.core.progress import Progress, Silent
from certify.core.run_observations import NodeCosts, PeakMemory, WorkerProcesses
from certify.core.surroundings import stated_libraries
from certify.data.dataset import Dataset
from certify.data.metrics import get_metric
from certify.data.preprocess import Preprocess
from certify.data.regression import scale_of
from certify.measure import meters, observations, recognition, runs
from certify.measure.arms import Arm, Workers
from certify.measure.attempts import count_attempt
from certify.measure.header import Measured, header, now
from certify.measure.host import Host
from certify.measure.inputs import InputStatistics, save_samples
from certify.measure.meters.base import Meter
from certify.measure.model_under_test import Subject, subject
from certify.measure.nodes import node_costs
from certify.measure.orders import energy_samples, order_seed_of
from certify.measure.plan import Plan
from certify.measure.predictions import Predicted, pair
from certify.measure.recognition import Recognition, Scorer, look, score_shuffled
from certify.measure.runs import Bench
from certify.measure.runtime_choice import Settled, make_workload, settle
from certify.measure.runtimes.base import Runtime
from certify.measure.windows import MeasurementInterrupted, MeasurementStopped, Recorder
from certify.measure.yardstick import yardstick_file
from certify.model_file.onnx_file.onnx_file import OnnxFile

Further = Callable[[str, Scorer, Dataset, Predicted], None]
"""Callback for each model: (arm, scorer, data, predictions for the test samples)."""

ALONE = "measured alone, compared with nothing"
"""Origin recorded for a baseline that does not exist."""


@dataclass(frozen=True)
class Finish:
    """Measurements of one model after the windows.

    Attributes:
        latencies: wall seconds of single inferences.
        peak_memory: peak resident memory of the worker until then, in bytes.
        predicted: predictions for the test samples; None if they were not scored.
        node_costs: time by node; None if the runtime has no profile.
        recognition: results beyond the test samples; None for a single model.
    """

    latencies: Latencies
    peak_memory: int
    predicted: Predicted | None
    node_costs: NodeCosts | None
    recognition: Recognition | None = None


def measure(
    models: Sequence[tuple[Path, Preprocess]],
    dataset: Dataset,
    plan: Plan,
    rules: MeasuringRules,
    *,
    baseline_origin: str = ALONE,
    contracts_differ: str | None = None,
    score: bool = True,
    fresh: Dataset | None = None,
    simplified: Observation | None = None,
    trials: int | None = None,
    further: Further | None = None,
    progress: Progress | None = None,
    available_meters: Sequence[Meter] | None = None,
) -> Evidence:
    """Measure the energy, time, memory and accuracy of a model, alone or against a baseline.

    Args:
        models: (file, preprocessing contract) of the baseline, if there is one, and then of the candidate.
        dataset: data whose test part is fed and scored.
        plan: settings of the user; for a single model, the half-width is that of its joules, relative.
        rules: constants of the measurement.
        baseline_origin: origin of the baseline, in one sentence.
        contracts_differ: why the two preprocessing contracts differ, in one sentence; None if they do not.
        score: whether to score a single model on the test samples; in a comparison both are always scored.
        fresh: further data, unseen by the maker, whose test part is scored, too.
        simplified: record of the baseline's simplification (:func:`certify.measure.simplify.simplify`).
        trials: number of candidates from which the maker chose this one on validation data; None if there was no
            search.
        further: callback for each scored model, while its worker is warm.
        progress: display of the progress.
        available_meters: meters to choose from; None for all.

    Returns:
        The evidence; a single model is the arm ``candidate``, and its evidence cannot be graded.

    Raises:
        ModelError: a file cannot be read, fed, loaded or scored.
        DataError: a test sample cannot be read.
        UsageError: the plan's runtime does not exist.
        MeasureError: the plan's meter cannot be used here.
        MeasurementStopped: a worker or the meter failed; ``windows`` holds the finished windows.
    """
    get_metric(plan.metric).try_on(dataset)  # fail on an unusable metric before anything is measured
    scale = scale_of(plan.metric)
    # Done here so that labels that do not fit the metric are refused before anything is measured.
    dataset = replace(dataset, test=dataset.test.scaled(scale))
    fresh = fresh if fresh is None else replace(fresh, test=fresh.test.scaled(scale))
    by_arm = dict(zip(ARMS[-len(models) :], models, strict=True))
    settled = settle(plan, rules, by_arm, dataset, progress, available_meters)
    plan = settled.plan
    choice = choose_meter(plan, settled.runtime, available_meters)
    # Before the first window: the time in the certificate is that at which measuring began.
    created = now()
    with open_bench(plan, rules, choice, progress) as bench:
        subjects = [subject(arm, *model, plan.batch, bench.folder) for arm, model in by_arm.items()]
        statistics = save_inputs(subjects, dataset, plan)
        found = _run(bench, settled, subjects, dataset, created, score, fresh, further)
        windows = tuple(bench.recorder.windows())
    facts = {model.arm: model.facts for model in subjects}
    head = header(plan, rules, choice, dataset, facts, found, created, baseline_origin)
    searched = {} if trials is None else {"trials": trials}
    head = replace(head, data={**head.data, "fresh": "no" if fresh is None else published(fresh.spec), **searched})
    contracts = [observations.contracts(subjects, contracts_differ)] if len(subjects) > 1 else []
    observed = [*contracts, *([] if simplified is None else [simplified])]
    recorded = (*settled.observations, *found.observations, *observed, Observation.of(statistics))
    return Evidence(head, windows, found.latencies, found.predictions, recorded)


@contextlib.contextmanager
def open_bench(plan: Plan, rules: MeasuringRules, choice: meters.Choice, progress: Progress | None) -> Iterator[Bench]:
    """Open a bench with a temporary folder, which is removed at the end.

    Raises:
        MeasurementStopped: for any MeasureError inside the ``with`` block, with the finished windows.
        MeasurementInterrupted: for a KeyboardInterrupt, likewise.
    """
    with tempfile.TemporaryDirectory(prefix="leanmark-") as name:
        folder = Path(name)
        recorder = Recorder(choice.meter, Host(), folder / "windows.jsonl")
        try:
            yield Bench(plan, rules, recorder, progress or Silent(), folder, choice.meter)
        except MeasureError as error:
            raise MeasurementStopped(str(error), recorder.windows()) from error
        except KeyboardInterrupt as error:
            raise MeasurementInterrupted("", recorder.windows()) from error


def choose_meter(plan: Plan, runtime: Runtime, available: Sequence[Meter] | None = None) -> meters.Choice:
    """Return the meter that the plan names, or the best one for the runtime's device."""
    if plan.meter is not None:
        return meters.require(plan.meter, runtime.device)
    return meters.choose(runtime.device, available)


def _run(
    bench: Bench,
    settled: Settled,
    subjects: Sequence[Subject],
    dataset: Dataset,
    created: str,
    score: bool,
    fresh: Dataset | None,
    further: Further | None,
) -> Measured:
    """Execute all runs in order."""
    plan, compares = bench.plan, len(subjects) > 1
    # The yardstick is an ONNX file, so runtimes for other files cannot run it.
    yardstick = yardstick_file() if plan.yardstick and settled.runtime.suffix == OnnxFile.suffix else None
    graphs = observations.graphs(subjects, settled.names, plan.threads or 1, bench.folder) if compares else []
    arms = [runs.choose_threads(bench, model, settled.names[model.arm]) for model in subjects]
    workload = make_workload(settled, arms[0].threads, arms[-1].threads)
    attempt, blocks = 1, bench.blocks_a_start(arms)
    # Counted before the null run, so that a measurement that is stopped to hide its result counts too.
    if compares:
        before, after = (model.identities for model in subjects)
        attempt = count_attempt(before, after, workload, dataset.test_digest(), created)
        runs.null_run(bench, arms[0], blocks)
    if settled.default is not None:
        # The default runtime gets its own best number of threads too, or the saving by the better one would be
        # exaggerated.
        default = runs.choose_threads(bench, subjects[0], settled.default, runs.DEFAULT)
        described = "The baseline at its best runtime, against the default one"
        runs.against(bench, runs.RUNTIME, (default, arms[0]), blocks, described)
    with Workers(arms, blocks) as workers:
        runs.main_run(bench, workers)
    if yardstick is not None:
        runs.yardstick_run(bench, yardstick, arms[0].threads)
    # The seed depends on the files' digests, so no file can contain answers by position.
    seed = order_seed_of(subjects, dataset, plan)
    finished = {arm.name: _finish(bench, arm, dataset, seed, score, compares, fresh, further) for arm in arms}
    costs = {name: found.node_costs for name, found in finished.items() if found.node_costs is not None}
    predicted = {name: found.predicted for name, found in finished.items() if found.predicted is not None}
    recorded = (
        *graphs,
        Observation.of(WorkerProcesses(workers.pids, blocks)),
        observations.sessions(workers.sessions, costs, settled.names),
        observations.surroundings(workers.surroundings),
        Observation.of(PeakMemory({name: found.peak_memory for name, found in finished.items()})),
        *([Observation.by_arm(NodeCosts, costs)] if costs else []),
        *(_compared(bench, subjects, dataset, predicted) if compares else observations.scored(dataset, predicted)),
        *recognition.observations({name: finish.recognition for name, finish in finished.items()}, plan.salt),
        *_fresh(dataset, fresh, finished),
    )
    latencies = tuple(found.latencies for found in finished.values())
    scored = pair(dataset, **predicted) if compares else ()
    loaded = {
        name: digest
        for surroundings in workers.surroundings.values()
        for name, digest in surroundings.libraries.items()
    }
    return Measured(attempt, workload, latencies, scored, recorded, stated_libraries(loaded))


def _compared(
    bench: Bench, subjects: Sequence[Subject], dataset: Dataset, predicted: Mapping[str, Predicted]
) -> Iterator[Observation]:
    """Record observations of two models, for the guards of a comparison."""
    widths = {arm: found.width for arm, found in predicted.items()}
    yield Observation.by_arm(FiniteOutputs, {arm: FiniteOutputs(True, width) for arm, width in widths.items()})
    yield observations.interfaces(subjects, widths, bench.plan.batch)
    yield from observations.power_check(bench.recorder.run("main").windows)
    yield from observations.data(dataset)
    yield from observations.constants(dataset, get_metric(bench.plan.metric), predicted)


def _fresh(dataset: Dataset, fresh: Dataset | None, finished: Mapping[str, Finish]) -> list[Observation]:
    """Record how both models did on fresh data; nothing if none were given."""
    observed = {arm: finish.recognition.fresh for arm, finish in finished.items() if finish.recognition is not None}
    predicted = {arm: scores for arm, scores in observed.items() if scores is not None}
    return [] if fresh is None or not predicted else [recognition.fresh_scores(dataset, fresh, predicted)]


def _finish(
    bench: Bench,
    arm: Arm,
    dataset: Dataset,
    seed: str,
    score: bool,
    compares: bool,
    fresh: Dataset | None,
    further: Further | None,
) -> Finish:
    """Time single inferences of a model, score it, and profile its nodes, in new workers."""
    rules = bench.rules
    predicted, recognised = None, None
    with contextlib.ExitStack() as live:
        running = arm.start(live)
        with bench.progress.task(f"Timing single inferences of the {arm.name}"):
            seconds = running.worker.latency(rules.latency_calls, rules.latency_time_s)
        # Read before scoring, whose samples and outputs would count as memory of the model.
        memory = running.worker.peak_memory()
        if score or compares:
            scorer = Scorer(arm.model, running, arm.batch, bench.folder, bench.progress)
            predicted = score_shuffled(scorer, dataset, seed, get_metric(bench.plan.metric))
            # If the plan has shorter windows, these are shortened too.
            short = replace(rules, changed_window_s=min(rules.changed_window_s, bench.window_s))
            recognised = look(scorer, dataset, seed, short) if compares else None
            if further is not None:
                further(arm.name, scorer, dataset, predicted)
            if recognised is not None and fresh is not None:
                recognised = replace(recognised, fresh=scorer.predict(fresh))
    return Finish(Latencies(arm.name, tuple(seconds)), memory, predicted, node_costs(bench, arm), recognised)


def save_inputs(models: Sequence[Subject], dataset: Dataset, plan: Plan) -> InputStatistics:
    """Write the same test samples for all models, each preprocessed by its contract."""
    samples = energy_samples(models, dataset, plan)
    first, *others = (save_samples(model.inputs, dataset.test, samples, model.preprocess) for model in models)
    for other in others:
        first = first.worse(other)
    return first
