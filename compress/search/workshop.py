"""The workshop: models of trials are made and compared with the original; one per process, without test data."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from certify.assessments.efficiency.accuracy import relative_loss
from certify.assessments.efficiency.edition import load_edition
from certify.core.errors import ModelError, UsageError
from certify.core.estimate import Estimate
from certify.core.progress import Progress, Silent
from certify.core.statistics.proportions import PairedTable
from certify.data import Dataset, load
from certify.data.regression import scale_of
from certify.measure import short_comparison
from certify.model_file.onnx_graph.load import load_model
from compress.core import model_stats, onnx_file
from compress.core.callbacks import TrainingCallback
from compress.job.context import fingerprint, make_context
from compress.job.job import Job
from compress.job.lineage import describe_data
from compress.job.original import OriginalModel, Request, find_original
from compress.job.recipe import Budget, Recipe, Workload
from compress.job.workspace import library_versions
from compress.search.question import Question
from compress.search.space import Network, Space, make_space
from compress.search.steps import RecipeSteps, StepCache
from compress.search.trial_output import TrialOutput

CONFIDENCE = 0.95
ENOUGH = 10_000_000
"""Number of samples above which the error does not ask for more."""


def without_test_part(dataset: Dataset) -> Dataset:
    """Return the data set with the validation part in place of the test part, so that nothing can read the latter.

    Raises:
        UsageError: there is no validation part.
    """
    if dataset.validation is None:
        raise UsageError(f"A search needs validation samples, but '{dataset.spec}' has none; add a validation part.")
    return replace(dataset, test=dataset.validation)


class Workshop:
    """Makes and measures models for trials.

    Args:
        question: question of the search.
        dataset: the data, if already loaded; its test part is never read.
        progress: where to report progress.

    Attributes:
        original: model to compress.
        space: space of recipes.

    Raises:
        LeanmarkError: for the reasons for which :func:`compress.run` raises before its work begins.
    """

    def __init__(self, question: Question, dataset: Dataset | None = None, progress: Progress | None = None) -> None:
        self._question, self._progress = question, progress or Silent()
        request = Request(
            question.model, question.weights, question.preprocess, question.plan.seed, question.model_args
        )
        if dataset is None:
            requested = request.data(question.data)
            dataset = load(requested, seed=question.plan.seed, cache=question.cache, progress=self._progress)
        self.dataset = without_test_part(dataset).scaled(scale_of(question.plan.metric))
        self.original = find_original(request, self.dataset, self._progress)
        self._context = make_context(
            self.original,
            self.dataset,
            target=question.target,
            progress=Silent(),
            seed=question.plan.seed,
            max_train_time=question.max_train_time,
            max_loss_percent=question.max_loss_percent,
        )
        self.space = self._space()
        self.job = self._job()
        self._cache = StepCache(question.folder / "steps", self.job, self._context.target)
        self._job_on_original: Job | None = None
        self._right: npt.NDArray[np.bool_] | None = None

    @contextlib.contextmanager
    def output_of(self, recipe: Recipe, callbacks: Sequence[TrainingCallback] = ()) -> Iterator[TrialOutput]:
        """Run a recipe; its files exist until the ``with`` block ends.

        Args:
            recipe: a point of :attr:`space`, or any other recipe.
            callbacks: called during every training.

        Raises:
            LeanmarkError: a pass, the export or the scoring failed.
        """
        own = self._question.folder / "trials"
        own.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=own) as name, RecipeSteps(self._cache, recipe, Path(name)) as steps:
            job = self._new_job(recipe, steps, callbacks)
            outputs = job.make()
            # The original is trained and scored once, and shared by all trials.
            self._job_on_original = self._job_on_original or job
            facts = model_stats.of_file(outputs.model)
            before = sum(part.stat().st_size for part in onnx_file.parts(outputs.baseline))
            method = "bytes of the file over those of the original's"
            yield TrialOutput(
                model=outputs.model,
                baseline=outputs.baseline,
                digest=facts.digest,
                size_bytes=facts.bytes,
                macs=facts.macs,
                loss=self._loss(outputs.baseline, outputs.model),
                size_ratio=Estimate.exact(facts.bytes / before, "1", method),
                declined={row.name: _reason(row.record) for row in outputs.rows if not row.record["done"]},
            )

    def cost(self, output: TrialOutput) -> Estimate:
        """Return the model's cost of the objective as a ratio of the original's.

        Raises:
            MeasureError: a worker or the meter failed.
        """
        if self._question.objective == "bytes":
            return output.size_ratio
        return self.cost_of(output.baseline, output.model)

    def cost_of(self, baseline: Path, model: Path) -> Estimate:
        """Return the cost ratio of two files: joules or seconds per inference, in turn on validation samples."""
        objective = self._question.objective
        if objective == "bytes":
            raise UsageError("The bytes of a file are counted, not measured.")
        models = [(path, self.original.preprocess) for path in (baseline, model)]
        return short_comparison.compare(models, self.dataset, self._question.plan, load_edition().plan, objective)

    def check(self) -> None:
        """Reject a question that no trial could answer.

        Raises:
            UsageError: there is no meter, the runtime cannot be used, or the bound is so narrow that not even the
                original itself could be shown to keep it; the error says which bound these data can show.
        """
        if self._question.objective == "energy":
            short_comparison.require_meter(self._question.plan)
        # No recipe can be shown to lose less than a model that gives the original's answers.
        right = self._answers_of_original()
        least, bound = _least_loss(right), self._question.max_loss_percent
        if least is None:
            raise UsageError(
                "The original classifies no validation sample correctly, so no loss can be computed; check the data."
            )
        if least > bound:
            raise UsageError(
                f"With {len(right)} validation samples a loss below {least:.2g} % cannot be shown, even with "
                f"exactly the original's answers, but the bound is {bound:g} %; give about "
                f"{_samples_for(bound, float(right.mean())):,} validation samples, or a larger bound."
            )

    def baseline_accuracy(self) -> float:
        """Return the share of validation samples that the original classifies correctly."""
        return float(self._answers_of_original().mean())

    def _new_job(self, recipe: Recipe, steps: RecipeSteps, callbacks: Sequence[TrainingCallback]) -> Job:
        known = None if self._job_on_original is None else self._job_on_original.baseline()
        context = replace(self._context, callbacks=tuple(callbacks))
        batch = self._question.plan.batch
        return Job(self.original, recipe, self.dataset, context, steps, self._question.cache, batch, known)

    def _loss(self, baseline: Path, model: Path) -> Estimate:
        right = self._answers_of_original(baseline)
        found = relative_loss(PairedTable.from_correct(right, self._answers(model)), CONFIDENCE)
        if found is None:
            raise ModelError("The original classifies no validation sample correctly, so no loss can be computed.")
        return found

    def _answers_of_original(self, file: Path | None = None) -> npt.NDArray[np.bool_]:
        """Return which validation samples the original classifies correctly, (n,); make its file if none is given."""
        if self._right is None:
            if file is None:
                with self.output_of(Recipe("original", "", self.space.budget, self.space.workload, ())) as output:
                    return self._answers_of_original(output.baseline)
            self._right = self._answers(file)
        return self._right

    def _answers(self, file: Path) -> npt.NDArray[np.bool_]:
        """Return which validation samples a file classifies correctly, (n,)."""
        classes, as_here = len(self.dataset.classes), self._context.target.saturates
        return model_stats.file_scores(
            file, self.dataset.test, self.original.preprocess, classes, as_here=as_here
        ).correct

    def _space(self) -> Space:
        question, plan = self._question, self._question.plan
        torch_too = self.original.file is None
        trains = torch_too and self.dataset.train is not None
        if question.students and not trains:
            raise UsageError("Students need a torch model and train samples; leave out --student.")
        return make_space(
            network_of(self.original),
            budget=Budget(max_loss_percent=question.max_loss_percent, confidence=CONFIDENCE),
            stages=("torch", "onnx") if torch_too else ("onnx",),
            workload=Workload(batch=plan.batch, runtime=plan.runtime),
            max_epochs=question.max_epochs if trains else 0,
            students=question.students,
            target=self._context.target.name,
            quantity=question.objective if question.by_cost else None,
        )

    def _job(self) -> dict[str, Any]:
        """Return everything besides the recipe that a model depends on, as JSON values."""
        nothing = Recipe("", "", self.space.budget, self.space.workload, ())
        described = {**describe_data(self.dataset), "metric": self._question.plan.metric}
        return {**fingerprint(self.original, nothing, described, self._context), "libraries": library_versions()}


def network_of(original: OriginalModel) -> Network:
    """Return the kind of a network, as far as a search needs it."""
    if original.file is not None:
        # Exporters may split GELU and LayerNormalization into smaller operators; Erf belongs to GELU.
        kinds = {node.op_type for node in load_model(original.file).graph.node}
        return (
            "transformer" if {"LayerNormalization", "Erf", "Gelu"} & kinds and "Softmax" in kinds else "convolutional"
        )
    if original.module is None:
        raise ValueError("an original has a module or a file")
    layers = (nn.LayerNorm, nn.MultiheadAttention)
    return "transformer" if any(isinstance(each, layers) for each in original.module.modules()) else "convolutional"


def _reason(record: Mapping[str, Any]) -> str:
    return str(record["declined"][0]["why"]) if record["declined"] else "nothing to do"


def _least_loss(right: npt.NDArray[np.bool_]) -> float | None:
    """Return the upper end of the loss of a model that gives identical answers, in percent."""
    found = relative_loss(PairedTable.from_correct(right, right), CONFIDENCE)
    return None if found is None else found.high


def _samples_for(bound: float, accuracy: float) -> int:
    """Return about how many samples can show a bound, in percent, for a model without any loss."""
    count = 100
    while count < ENOUGH:
        found = relative_loss(PairedTable(round(accuracy * count), 0, 0, count - round(accuracy * count)), CONFIDENCE)
        if found is not None and found.high <= bound:
            return count
        count += max(100, count // 1000 * 100)
    return count
