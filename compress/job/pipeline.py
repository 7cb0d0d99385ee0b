"""The whole job: original, passes, export, certificate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from certify.api import certify
from certify.assessments.efficiency.accuracy import accuracy_estimates
from certify.assessments.efficiency.edition import load_edition
from certify.assessments.efficiency.figures import Figures
from certify.assessments.efficiency.withholding import require_private
from certify.attest.certificate import EVIDENCE_NAME
from certify.attest.keys import SigningKey, signing_key
from certify.attest.statements import discard_outdated
from certify.core.estimate import Estimate
from certify.core.evidence_file import read_evidence
from certify.core.files import sha256_file, write_bytes
from certify.core.private_data import FOLDER, DataKey
from certify.core.progress import Progress, job, shown
from certify.data import Dataset, Preprocess, load, require_separate
from certify.data.regression import scale_of
from certify.data.saved_data import keep_test_part
from certify.measure.plan import Plan
from certify.measure.plan_check import require_usable
from certify.model_file.subject import subject_digests
from compress.core.callbacks import TrainingCallback
from compress.exchange.checkpoint import CHECKPOINT, STRUCTURE
from compress.job import recipe as recipes
from compress.job.announcement import first_line, seen_in_training
from compress.job.compression_result import CompressionResult
from compress.job.context import fingerprint, make_context
from compress.job.data_use import Places, enter_use, state_use
from compress.job.federation import write_federation
from compress.job.further_data import require_further_data
from compress.job.job import BASELINE, LINEAGE, MODEL, Job
from compress.job.job_outputs import JobOutputs
from compress.job.lineage import Lineage, describe_data
from compress.job.original import OriginalModel, Request, find_original
from compress.job.output import bring, bring_unmeasured, folder_of, require_inputs_kept
from compress.job.privacy import (
    PRIVATE_PARTS,
    require_data_key,
    require_private_layers,
    require_private_parts,
    source_of,
    write_records,
)
from compress.job.public_form import without_seed
from compress.job.recipe import Recipe, RecipeLike
from compress.job.workspace import Workspace


@job("Compressing", when_stopped="The same command resumes after the last finished pass.")
def run(
    model: str | Path | nn.Module,
    recipe: RecipeLike = "balanced",
    data: Any = None,
    weights: str | Path | None = None,
    out: str | Path | None = None,
    runtime: str | None = None,
    seed: int = 0,
    max_train_time: float | None = None,
    time_limit: float | None = None,
    metric: str | None = None,
    preprocess: Preprocess | Path | Mapping[str, Any] | object | None = None,
    threads: int | None = None,
    target: str | None = None,
    cache: Path | None = None,
    plan: Plan | None = None,
    measure: bool = True,
    key: str | Path | None = None,
    keep_data: bool = False,
    data_key: DataKey | None = None,
    private_parts: Sequence[str] = PRIVATE_PARTS,
    public_original: bool = False,
    progress: Progress | bool | None = None,
    callbacks: Sequence[TrainingCallback] = (),
    model_args: Mapping[str, Any] | None = None,
    searched: Mapping[str, Any] | None = None,
) -> CompressionResult:
    """Compress a model by a recipe, then measure, grade, sign and seal it.

    Args:
        model: name of a torchvision model, ``package.module:factory``, path of an ONNX file, or an ``nn.Module``
            (used with its own weights, never trained as a baseline, and not modified).
        recipe: name of a shipped recipe, path of a YAML file, a Recipe, or the same as a dict or a list of passes.
        data: data specification or data set; torch datasets and loaders, (train, test), arrays, or a dict of parts; see
            :func:`certify.data.load`. ``mnist5k`` by default for an architecture that is trained here.
        weights: safetensors or state-dict file, or torchvision's name of weights; None trains the baseline here.
        out: output folder; ``build/MODEL`` by default.
        runtime: runtime of the measurement; the recipe's by default.
        seed: seed of every random choice.
        max_train_time: time limit of each training, in seconds.
        time_limit: time limit of the main measurement run, in seconds.
        metric: metric to grade, top-1 by default; ``regression:SCALE`` for numbers.
        preprocess: preprocessing contract, or some of its fields as a dict or YAML file, torchvision's transforms,
            timm's data config or an image processor; your own weights need mean and std, the rest has defaults.
        threads: threads of the measured sessions; by default the cheapest number for each model.
        target: kind of processor to optimise for; this machine's by default.
        cache: folder for downloads and trained baselines; the user's cache folder by default.
        plan: complete measurement plan; ``time_limit``, ``metric``, ``threads`` and ``runtime`` are then ignored.
        measure: whether to measure; otherwise ``out`` holds model, baseline and lineage, which ``certify.certify``
            (``leanmark certify --lineage``) can grade later, also on another machine.
        key: private key file to sign with; that of LEANMARK_SIGNING_KEY by default, else the user's own.
        keep_data: whether to write the test part to ``test-data.npz`` in ``out``, for auditors of data that was given
            in Python.
        data_key: key of the holder of private data; no public file then names a sample or a seed, and ``out/auditor``
            holds what an auditor needs.
        private_parts: parts of the data that a private recipe makes a claim about.
        public_original: whether the original's weights are declared to come from public data alone; otherwise a private
            recipe leads to no privacy claim. Random weights need no declaration.
        progress: where to report progress; bars in a notebook or terminal by default, False for none.
        callbacks: called in every epoch of every training (see ``compress.TrainingCallback``).
        model_args: arguments of the factory besides the number of classes.
        searched: how the recipe was found, for the lineage; set by :func:`compress.search_recipe`.

    Returns:
        The result, also if the referee refuses a grade. A job that was interrupted resumes after its last finished pass
        when it is started again with the same arguments.

    Raises:
        UsageError: a name is unknown, or arguments do not fit together.
        DataError: the data cannot be read, or its parts overlap.
        ModelError: the model cannot be built, trained, exported or run.
        MeasureError: the measurement failed.

    Example:
        >>> import compress
        >>> result = compress.run("resnet18", recipe="balanced", data="mnist5k")  # doctest: +SKIP
        >>> result.grade, result.within_budget  # doctest: +SKIP
    """
    progress = shown(progress)
    chosen = recipes.load(recipe)
    require_data_key(chosen, data_key)
    plan = plan or _plan(chosen, runtime, seed=seed, time_limit_s=time_limit, threads=threads, metric=metric)
    if measure:
        require_usable(plan)
    # Find a missing or unreadable key now instead of after the measurement.
    signer = signing_key(None if key is None else Path(key)) if measure else None
    request = Request(model, None if weights is None else str(weights), preprocess, seed, model_args)
    dataset = load(request.data(data), seed=seed, cache=cache, progress=progress)
    if data_key is not None:
        require_private(plan.metric, dataset.test.targets is not None, keep_data)
        dataset = dataset.keyed(data_key)
    require_separate(dataset)
    require_private_parts(chosen, private_parts, dataset)
    chosen.require_data(dataset)
    further = require_further_data(chosen, dataset, private_parts, seed=seed, key=data_key, progress=progress)
    dataset = dataset.scaled(scale_of(plan.metric))
    original = find_original(request, dataset, progress)
    require_private_layers(chosen, original)
    folder = folder_of(out, original.spec)
    require_inputs_kept(folder, original.file, weights)
    progress.say(first_line(original, dataset, chosen.name, folder))
    if (warning := seen_in_training(original, dataset)) is not None:
        progress.say(warning)
    if keep_data:
        folder.mkdir(parents=True, exist_ok=True)
        progress.say(keep_test_part(dataset, folder))
    context = make_context(
        original,
        dataset,
        target=target,
        seed=seed,
        max_train_time=max_train_time,
        max_loss_percent=chosen.budget.max_loss_percent,
        progress=progress,
        callbacks=callbacks,
        runtime=plan.runtime if measure else None,
    )
    described = describe_data(dataset)
    # The metric states the scale of a regression's numbers, which training uses.
    trained_on = {**described, "metric": plan.metric}
    workspace = Workspace(folder, fingerprint(original, chosen, trained_on, context, further), progress)
    outputs = Job(original, chosen, dataset, context, workspace, cache, plan.batch, data_key=data_key).make()
    lineage, whole = replace(_lineage(original, described, chosen, seed, outputs), search=searched), None
    whole_lineage = lineage
    if data_key is not None:
        outputs = replace(outputs, origin=without_seed(outputs.origin))
        lineage, whole = lineage.withheld(data_key)
    lineage.write(workspace.path(LINEAGE))
    entered = None
    if any(each.test.guard is not None for each in (dataset, *further)):
        # All that `leanmark forget --retrain` needs to run this job again.
        job = {
            "model": model, "recipe": chosen.to_json(), "data": dataset.spec, "weights": weights, "seed": seed,
            "runtime": runtime, "max_train_time": max_train_time, "metric": plan.metric, "threads": threads,
            "preprocess": preprocess, "target": context.target.name, "model_args": model_args, "start": original.digest,
            "private_parts": None if data_key is None else list(private_parts), "public_original": public_original,
        }  # fmt: skip
        places = {
            "original": Places(outputs.baseline, folder / BASELINE), "model": Places(outputs.model, folder / MODEL)
        }  # fmt: skip
        entered = enter_use(dataset, places, whole_lineage, job, further)
    if signer is None:
        files = bring_unmeasured(outputs, workspace.path(LINEAGE), folder)
        discard_outdated(folder, subject_digests(files[MODEL]), progress)
        result = CompressionResult(folder, None, lineage, chosen, None, files)
        workspace.remove()
    else:
        result = _certify(
            folder, original, dataset, chosen, outputs, lineage, plan, signer, workspace, progress, data_key
        )
    guard = dataset.test.guard
    records = [write_federation(folder, outputs.logs, () if guard is None else (guard.policy,))]
    if whole is not None and data_key is not None:
        write_bytes(folder / FOLDER / LINEAGE, whole)
        if chosen.is_private:
            stated = source_of(original, whole_lineage.baseline.facts.digest, public_original)
            records.append(write_records(folder, whole_lineage, dataset, stated, private_parts, data_key))
    stated_later = {path.name: path for path in records if path is not None}
    result = replace(
        result, files={**result.files, **stated_later}, use=None if guard is None else guard.use, data=dataset.spec
    )
    if guard is not None and entered is not None:
        # The use of governed data is signed even if nothing was measured.
        state_use(guard, entered, signer or signing_key(None if key is None else Path(key)))
    return result


def _plan(recipe: Recipe, runtime: str | None, **settings: Any) -> Plan:
    workload = recipe.workload
    fields = {name: value for name, value in settings.items() if value is not None}
    return Plan(batch=workload.batch, runtime=runtime or workload.runtime, **fields)


def _lineage(
    original: OriginalModel, data: Mapping[str, Any], recipe: Recipe, seed: int, outputs: JobOutputs
) -> Lineage:
    return Lineage(
        model={"spec": original.described, "origin": outputs.origin, "weights": original.weights},
        data=data,
        recipe=recipe,
        seed=seed,
        baseline=outputs.baseline_row,
        rows=outputs.rows,
        export=outputs.export,
        artifacts={
            path.name: sha256_file(path) for path in (outputs.model, outputs.baseline, *outputs.checkpoint.values())
        },
    )


def _certify(
    folder: Path,
    original: OriginalModel,
    dataset: Dataset,
    recipe: Recipe,
    outputs: JobOutputs,
    lineage: Lineage,
    plan: Plan,
    signer: SigningKey,
    workspace: Workspace,
    progress: Progress,
    data_key: DataKey | None,
) -> CompressionResult:
    """Have the files graded, copy the other files into OUT, and remove the workspace.

    OUT is only changed once the measurement is done, so until then it holds the whole result of an earlier job.
    """
    certified = certify(
        outputs.model,
        baseline=outputs.baseline,
        data=dataset,
        preprocess=original.preprocess,
        baseline_preprocess=original.preprocess,
        out=folder,
        plan=plan,
        origin=outputs.origin,
        lineage=workspace.path(LINEAGE),
        companions=outputs.checkpoint,
        model_name=original.described,
        data_key=data_key,
        signer=signer,
        progress=progress,
    )
    files = {**certified.files, **bring(outputs.checkpoint, folder, of_earlier=(CHECKPOINT, STRUCTURE))}
    workspace.remove()
    loss = _loss(certified.files[EVIDENCE_NAME], recipe.budget.confidence)
    return CompressionResult(folder, replace(certified, files=files), lineage, recipe, loss, files)


def _loss(evidence: Path, confidence: float) -> Estimate | None:
    edition = load_edition()
    edition = replace(edition, plan=replace(edition.plan, confidence=confidence))
    return accuracy_estimates(read_evidence(evidence), edition).get(Figures.relative_loss_percent)
