"""Recipe search, from the question to the certificate of the result."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from torch import nn

from certify.core.errors import NotPermittedError, UsageError
from certify.core.progress import Progress, job, shown
from certify.data import load, require_separate
from certify.data.policy_filter import use_folder
from certify.measure.plan import Plan
from compress.core.targets import choose
from compress.job import pipeline
from compress.job.compression_result import CompressionResult
from compress.job.original import Request
from compress.job.output import folder_of
from compress.job.recipe import Recipe
from compress.search import outcome
from compress.search.optional import optuna
from compress.search.outcome import SearchResult
from compress.search.question import MAX_EPOCHS, TRIALS, Objective, Question, Sampler
from compress.search.ray_workers import is_address, work_on_ray
from compress.search.study import Study
from compress.search.turns import Turns, claimed, locked
from compress.search.worker_pool import work_apart
from compress.search.workers import objective_of, work
from compress.search.workshop import Workshop

HOUR_S = 3600.0
Then = Literal["certify", "make", "nothing"]
RESUMES = "The same command continues with the finished trials."


@job("Searching", when_stopped=RESUMES)
def search_recipe(
    model: str | Path | nn.Module,
    data: Any = None,
    *,
    max_loss: float,
    objective: Objective = "energy",
    trials: int = TRIALS,
    hours: float | None = None,
    max_epochs: int = MAX_EPOCHS,
    students: Sequence[str] = (),
    by_cost: bool = True,
    sampler: Sampler = "tpe",
    workers: int | str = 1,
    out: str | Path | None = None,
    weights: str | Path | None = None,
    preprocess: Any = None,
    plan: Plan | None = None,
    then: Then = "certify",
    key: str | Path | None = None,
    keep_data: bool = False,
    target: str | None = None,
    max_train_time: float | None = None,
    cache: Path | None = None,
    storage: str | None = None,
    model_args: Mapping[str, Any] | None = None,
    progress: Progress | bool | None = None,
) -> SearchResult:
    """Search for the recipe that makes a model cheapest within a bound on its loss of accuracy.

    Recipes are tried on validation data: each is run and scored, and measured in turn with the original if its loss can
    be within the bound. The test part is not read; only the digests of its samples are compared with those of the other
    parts. The best recipe is then run from the start, measured and certified once, as by :func:`compress.run`, and the
    certificate states how many recipes it was chosen from.

    Args:
        model: as for :func:`compress.run`.
        data: likewise; with a validation part.
        max_loss: maximum upper end of the 95 % interval of the relative loss on validation data, in percent.
        objective: quantity to minimise: ``energy`` or ``latency`` of one inference, or ``bytes`` of the file.
        trials: number of recipes to try.
        hours: time after which no further trial starts.
        max_epochs: maximum training epochs of a trial; 0 for recipes without training.
        students: architectures that may be trained instead of the original.
        by_cost: whether recipes may choose widths by measured costs, which takes minutes for each large model.
        sampler: ``tpe`` or ``random``.
        workers: number of local processes, or the address of a Ray cluster (``ray://HOST:PORT``).
        out: output folder; ``build/MODEL`` by default. An interrupted search resumes there.
        weights: as for :func:`compress.run`.
        preprocess: likewise.
        plan: how to measure.
        then: what happens to the best recipe: ``certify`` runs and certifies it, ``make`` only runs it, ``nothing``
            only writes it.
        key: private key file to sign with.
        keep_data: whether to write the test part into ``out``.
        target: kind of processor to optimise for.
        max_train_time: time limit of each training, in seconds.
        cache: folder for downloads and trained baselines.
        storage: URL of a database shared by several machines; a file in ``out`` by default.
        model_args: arguments of the model's factory.
        progress: where to report progress.

    Returns:
        Trials, the best recipe (None if none keeps the bound and costs less), and its certificate.

    Raises:
        UsageError: arguments do not fit together, or there are too few validation samples for the bound.
        LeanmarkError: for the reasons for which :func:`compress.run` raises.

    Example:
        >>> import compress
        >>> found = compress.search_recipe("resnet18", max_loss=1.0, trials=20)  # doctest: +SKIP
        >>> found.recipe.passes  # doctest: +SKIP
    """
    # Import Optuna first, so that a missing extra is reported before data are loaded.
    optuna()
    progress, plan = shown(progress), plan or Plan()
    named = str(model) if isinstance(model, str | Path) else type(model).__qualname__
    folder = folder_of(out, named)
    request = Request(model, None if weights is None else str(weights), preprocess, plan.seed, model_args)
    question = Question(
        model, request.data(data), max_loss, folder, objective, trials, hours, max_epochs, tuple(students), sampler,
        plan, request.weights, preprocess, model_args, choose(target).name, max_train_time, cache, storage,
        by_cost=by_cost,
    )  # fmt: skip
    if storage is not None or _on_ray(workers):
        # The original that one machine trains, for all of them.
        question = replace(question, cache=question.cache or question.folder / "cache")
    result = _search(question, workers, progress)
    if then == "nothing" or result.recipe is None:
        return result
    with claimed(question.folder / "result.lock") as ours:
        if not ours:
            progress.say("Another process of this search makes the result.")
            return result
        measure = then == "certify"
        with Turns().measuring() if measure else Turns().working():
            job_result = _carry_out(
                question, result, result.recipe, progress, measure=measure, key=key, keep_data=keep_data
            )
    finished = replace(result, job=job_result)
    return replace(finished, files={**outcome.write(finished, folder), **job_result.files})


def _search(question: Question, workers: int | str, progress: Progress) -> SearchResult:
    """Run the trials, and write the result."""
    if (governed := use_folder(question.data)) is not None:
        # Not with a purpose either: the study and its cache would keep models of a record that is forgotten later.
        raise NotPermittedError(
            f"A use policy governs the data {question.data} ({governed.policy_path}), and a search keeps files that "
            "forgetting does not reach; name a recipe with leanmark compress --recipe NAME --purpose PURPOSE."
        )
    dataset = load(question.data, seed=question.plan.seed, cache=question.cache, progress=progress)
    require_separate(dataset)
    workshop = Workshop(question, dataset, progress)
    # Of processes that start at once, one trains the original, and the others load it.
    with locked(question.folder / "original.lock"), Turns().working():
        workshop.check()
    study = Study(question, workshop.space, workshop.job)
    until_s = math.inf if question.hours is None else time.time() + HOUR_S * question.hours
    if _on_ray(workers):
        work_on_ray(question, until_s, str(workers), study, progress)
    elif (count := _count(workers)) > 1:
        # A process may name a model or data that were defined in a script differently, and so the study.
        work_apart(work, replace(question, study=study.name), until_s, count, study, progress)
    else:
        study.work(objective_of(question, workshop), until_s, progress)
    best = study.best()
    recipe = None if best is None else study.recipe(best, f"{question.out.name}-searched")
    bare = SearchResult(tuple(study.trials()), best, recipe, question.objective, question.max_loss_percent, {})
    return replace(bare, files=outcome.write(bare, question.out))


def _on_ray(workers: int | str) -> bool:
    return isinstance(workers, str) and is_address(workers)


def _count(workers: int | str) -> int:
    try:
        count = int(workers)
    except ValueError:
        count = 0
    if count < 1:
        raise UsageError(
            f"--workers must be a number of processes or a Ray address such as ray://HOST:PORT, got {workers!r}."
        )
    return count


def _carry_out(
    question: Question, found: SearchResult, recipe: Recipe, progress: Progress, **how: Any
) -> CompressionResult:
    """Run the best recipe like any other; its lineage and certificate state how it was found."""
    facts = {"trials": len(found.trials), "objective": found.objective, "max_loss_percent": found.max_loss_percent}
    return pipeline.run(
        question.model,
        recipe,
        question.data,
        weights=question.weights,
        out=question.out,
        seed=question.plan.seed,
        max_train_time=question.max_train_time,
        preprocess=question.preprocess,
        target=question.target,
        cache=question.cache,
        plan=question.plan,
        progress=progress,
        model_args=question.model_args,
        searched=facts,
        **how,
    )
