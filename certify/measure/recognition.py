"""Detection of models that recognise the test.

Samples are scored in an order that follows from the files, again next to other samples, and after label-preserving
changes.

All of this runs after the graded windows, in the worker that scores.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from certify.core.evidence import Observation
from certify.core.measuring_rules import MeasuringRules
from certify.core.observation import Observed
from certify.core.observations import ChangedAnswers, ChangedCost, FreshScores, RepeatedAnswers, SampleOrder
from certify.core.progress import Progress
from certify.core.sample_order import AGAIN, ENERGY, SCORING, ranked
from certify.data.changes import changed_split
from certify.data.dataset import Dataset, Split
from certify.data.metrics import Metric
from certify.measure.inputs import ARRAY_BYTES, save_samples
from certify.measure.model_under_test import Subject
from certify.measure.predictions import Predicted, predict
from certify.measure.windows import Running

# A B B A, so that linear drift cancels within a round.
IN_TURN = ("unchanged", "changed", "changed", "unchanged")


@dataclass(frozen=True)
class Scorer:
    """A model to be scored.

    Attributes:
        model: the model.
        running: its warm worker.
        batch: number of samples per inference.
        folder: folder for arrays that the worker reads and writes.
        progress: display of the progress.
    """

    model: Subject
    running: Running
    batch: int
    folder: Path
    progress: Progress

    def predict(self, dataset: Dataset, metric: Metric | None = None) -> Predicted:
        """Return the model's predictions for the test samples, in their order."""
        return predict(dataset, self.model, self.running, self.batch, self.folder, self.progress, metric)


@dataclass(frozen=True)
class Recognition:
    """Results of a model beyond the test samples.

    Attributes:
        repeated: predictions for samples that were scored again.
        changed: predictions for changed samples; None if the data cannot be changed.
        cost: times on changed samples; None if the data cannot be changed.
        fresh: predictions for data that the maker has not seen; None if none were given.
    """

    repeated: RepeatedAnswers
    changed: ChangedAnswers | None
    cost: ChangedCost | None
    fresh: Predicted | None = None


def score_shuffled(scorer: Scorer, dataset: Dataset, seed: str, metric: Metric) -> Predicted:
    """Score every test sample in an order that follows from the files; return predictions in the data's order."""
    order = ranked(dataset.test.digests(), seed, SCORING)
    found = scorer.predict(replace(dataset, test=dataset.test.subset(order)), metric)
    # The inverse permutation: predictions return to the order of the data.
    places = np.argsort(np.array(order))
    declared = None if found.declared is None else found.declared[places]
    beyond = None if found.beyond is None else found.beyond.at(places)
    return replace(found, top1=found.top1[places], margin=found.margin[places], declared=declared, beyond=beyond)


def look(scorer: Scorer, dataset: Dataset, seed: str, rules: MeasuringRules) -> Recognition:
    """Score some samples again in other batches, and score and time some changed samples."""
    test, digests = dataset.test, dataset.test.digests()
    # Other neighbours in the batch: an answer that depends on them is not an answer to the sample.
    again = ranked(digests, seed, AGAIN)[: rules.repeated_count(len(test))]
    found = scorer.predict(replace(dataset, test=test.subset(again)))
    repeated = RepeatedAnswers(again, found.top1.tolist(), found.margin.tolist())
    # Uses the samples of the energy windows, because a model could have learned to be cheap on just those.
    chosen = ranked(digests, seed, ENERGY)[: rules.changed_samples]
    split = changed_split(test, chosen, seed)
    if split is None:
        return Recognition(repeated, None, None)
    answers = scorer.predict(replace(dataset, test=split))
    changed = ChangedAnswers(chosen, answers.top1.tolist())
    return Recognition(repeated, changed, _cost(scorer, test.subset(chosen), split, rules))


def _cost(scorer: Scorer, unchanged: Split, changed: Split, rules: MeasuringRules) -> ChangedCost:
    """Time windows of the same samples, changed and unchanged, in turn."""
    files = _files(scorer, unchanged, changed)
    worker, inference_s = scorer.running.worker, scorer.running.inference_s
    batches = len(np.load(files["changed"], mmap_mode="r")) // scorer.batch
    inferences = max(1, math.ceil(rules.changed_window_s / inference_s))
    seconds: dict[str, list[float]] = {"unchanged": [], "changed": []}
    cpu: dict[str, list[float]] = {"unchanged": [], "changed": []}
    rounds = -(-rules.changed_windows // 2)
    with scorer.progress.task(f"Timing the {scorer.model.arm} on changed samples", rounds * len(IN_TURN)) as task:
        for number in range(rounds):
            # Each round times other samples, so that no single slow batch decides.
            first = number * inferences % batches
            for name in IN_TURN:
                worker.inputs(files[name], scorer.batch, first, inferences)
                worker.window(1, inference_s)  # the first inference on new inputs is not timed
                window = worker.window(inferences, inferences * inference_s)
                seconds[name].append(window.duration_s / inferences)
                cpu[name].append(window.cpu_s / inferences)
                task.advance()
    return ChangedCost(seconds["unchanged"], seconds["changed"], cpu["unchanged"], cpu["changed"])


def _files(scorer: Scorer, unchanged: Split, changed: Split) -> dict[str, Path]:
    """Write array files of the samples that fit, in whole batches."""
    contract = scorer.model.preprocess
    fitting = max(1, ARRAY_BYTES // max(1, contract.sample_bytes() * scorer.batch))
    batches = min(fitting, -(-len(changed) // scorer.batch))
    # Whole batches: a shorter last one would be a different workload.
    indices = [int(i) for i in np.resize(np.arange(len(changed)), batches * scorer.batch)]
    files = {}
    for name, split in (("unchanged", unchanged), ("changed", changed)):
        files[name] = scorer.folder / f"{scorer.model.arm}-{name}.npy"
        save_samples(files[name], split, indices, contract)
    return files


def fresh_scores(dataset: Dataset, fresh: Dataset, predicted: Mapping[str, Predicted]) -> Observation:
    """Record how both models did on data that the maker has not seen."""
    right = {arm: answers.top1 == fresh.test.labels for arm, answers in predicted.items()}
    known = set(dataset.test.digests())
    digests = fresh.test.digests()
    baseline, candidate = right["baseline"], right["candidate"]
    return Observation.of(
        FreshScores(
            name=fresh.name,
            test_digest=fresh.test_digest(),
            samples=len(digests),
            shared=sum(digest in known for digest in digests),
            both=int(np.sum(baseline & candidate)),
            only_baseline=int(np.sum(baseline & ~candidate)),
            only_candidate=int(np.sum(candidate & ~baseline)),
        )
    )


def observations(found: Mapping[str, Recognition | None], salt: str) -> Iterator[Observation]:
    """Yield the observations about both models; none for a single model."""
    known = {arm: result for arm, result in found.items() if result is not None}
    if not known:
        return
    yield Observation.of(SampleOrder(salt))
    by_kind: dict[str, dict[str, Observed | None]] = {
        RepeatedAnswers.NAME: {arm: result.repeated for arm, result in known.items()},
        ChangedAnswers.NAME: {arm: result.changed for arm, result in known.items()},
        ChangedCost.NAME: {arm: result.cost for arm, result in known.items()},
    }
    for name, by_arm in by_kind.items():
        values = {arm: observed.values() for arm, observed in by_arm.items() if observed is not None}
        if values:
            yield Observation(name, values)
