"""Running a recipe: each finished step leaves a file in the workspace and a row in the lineage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from certify.core.data_use.guard import acting
from certify.core.private_data import DataKey
from certify.data import Dataset
from certify.data.contract_slot import normalise
from certify.data.touches import RAW, Ledger, joined
from compress.core import model_stats
from compress.core.context import PassContext, PassData
from compress.core.model_stats import ModelStats
from compress.core.pass_protocol import Pass, PassRecord, TorchPass
from compress.core.step_cost import StepCost, metered
from compress.exchange import checkpoint
from compress.exchange.admission import admit
from compress.exchange.checkpoint import CHECKPOINT, STRUCTURE
from compress.exchange.onnx_export import export
from compress.exchange.parity import Samples
from compress.job.data_use import ACTION_OF_PASS
from compress.job.job_outputs import Baseline, JobOutputs, logs_of
from compress.job.lineage import BaselineRow, Row, export_json
from compress.job.original import OriginalModel
from compress.job.recipe import Recipe
from compress.job.workspace import Steps
from compress.training.baseline import trained_baseline
from compress.training.training import evaluate

MODEL = "model.onnx"
BASELINE = "baseline.onnx"
LINEAGE = "lineage.json"

REAL_SAMPLES = 32
"""Number of real samples, besides noise, on which an exported file is compared with the model."""
TRAINED = {"train": (RAW,), "validation": (RAW,)}
"""Data reads of a baseline that was trained on the data, in this run or in the earlier one that cached it."""
NOT_TORCH = "the model is an ONNX file, and this pass works on the torch module"


class Job:
    """One recipe on one original.

    Args:
        original: see :func:`compress.job.original.find_original`.
        recipe: the recipe to run.
        dataset: data set that the baseline is trained on.
        context: data, contract, target and so on; the job adds teacher and workspace.
        workspace: store of finished steps.
        cache: folder of trained baselines; None for the user's.
        batch: samples in one measured inference; None if nothing will be measured.
        baseline: baseline from an earlier job on the same original; None computes it here.
        data_key: key of private data, with which identifiers are hashed.
    """

    def __init__(
        self,
        original: OriginalModel,
        recipe: Recipe,
        dataset: Dataset,
        context: PassContext,
        workspace: Steps,
        cache: Path | None,
        batch: int | None = None,
        baseline: Baseline | None = None,
        data_key: DataKey | None = None,
    ) -> None:
        self._original = original
        self._ledger = Ledger(data_key)
        self._dataset = dataset.watched(self._ledger)
        self._recipe = recipe
        self._context = replace(context, workspace=workspace.folder, data=PassData.without_test(self._dataset))
        self._workspace = workspace
        self._cache = cache
        self._batch = batch
        self._known = baseline
        self._rows: list[Row] = []
        self._source = original.source

    def make(self) -> JobOutputs:
        """Run every step that no earlier run has finished."""
        with self._ledger.opened():
            found = self.baseline()
            return self._from_file(found) if found.module is None else self._from_module(found, found.module)

    def baseline(self) -> Baseline:
        """Train the original if it has no weights, and score it; only once."""
        if self._known is None:
            self._known = self._baseline_of_file() if self._original.module is None else self._baseline_of_module()
        return self._known

    def _from_file(self, baseline: Baseline) -> JobOutputs:
        file = self._normalised(self._source_file(), BASELINE)
        model, _ = self._onnx_passes(file, baseline.row.facts)
        rows = tuple(self._rows)
        return JobOutputs(self._normalised(model, MODEL), file, {}, baseline.origin, baseline.row, rows, None)

    def _from_module(self, baseline: Baseline, module: nn.Module) -> JobOutputs:
        self._context = replace(self._context, teacher=module)
        # Export before any pass, so that a model that cannot be exported faithfully is refused in seconds, not hours.
        file, export = self._export(module, "baseline")
        compressed, changed = self._torch_passes(module, baseline.row.facts)
        # An unchanged module would give the same file again.
        exported, export = self._export(compressed, "candidate") if changed else (file, export)
        model, _ = self._onnx_passes(exported, model_stats.of_file(exported))
        return JobOutputs(
            model=self._normalised(model, MODEL),
            baseline=self._normalised(file, BASELINE),
            checkpoint=self._checkpoint(compressed),
            origin=baseline.origin,
            baseline_row=baseline.row,
            rows=tuple(self._rows),
            export=export,
            logs=logs_of(self._recipe.passes, self._workspace.path),
        )

    def _source_file(self) -> Path:
        if self._original.file is None:
            raise ValueError("an original has a module or a file")
        return self._original.file

    def _baseline_of_file(self) -> Baseline:
        file = self._normalised(self._source_file(), BASELINE)
        admit(file, self._context.preprocess, self._context.data, self._batch)
        facts, accuracy = model_stats.of_file(file), self._accuracy(file)
        row = BaselineRow(facts, accuracy, trained_here=False, touched=self._ledger.since({}))
        return Baseline(None, self._original.origin, row)

    def _baseline_of_module(self) -> Baseline:
        """Return the original with its weights, trained here if it came without any."""
        context, original = self._context, self._original
        module, origin, trained, done = original.module, original.origin, False, {}
        before = self._ledger.mark()
        if module is None:
            raise ValueError("an original has a module or a file")
        with metered(context.device) as cost:
            # A baseline trained on private data without noise would itself be a release.
            if original.built is not None and original.needs_training and not self._recipe.is_private:
                module, origin, cached, result = trained_baseline(
                    original.built,
                    self._dataset,
                    context.preprocess,
                    seed=context.seed,
                    cache=self._cache,
                    max_train_time=context.max_train_time,
                    progress=context.progress,
                    callbacks=context.callbacks,
                )
                trained, done = True, {"cached": cached}
        facts, accuracy = model_stats.of_module(module, context.sample(1)), self._accuracy(module)
        row = BaselineRow(
            facts,
            accuracy,
            trained_here=trained,
            seconds=cost.seconds if trained else 0.0,
            energy_j=cost.energy_json() if trained else None,
            done=done,
            touched=joined(self._ledger.since(before), TRAINED if trained else {}),
        )
        return Baseline(module, origin, row)

    def _torch_passes(self, module: nn.Module, size: ModelStats) -> tuple[nn.Module, bool]:
        """Apply the torch passes; the second value says whether any of them changed the model."""
        changed = False
        passes = [p for p in self._recipe.passes if isinstance(p, TorchPass)]
        names = [f"{number}-{p.name}" for number, p in enumerate(passes)]
        finished = [self._workspace.finished(name) for name in names]
        if any(step is not None for step in finished):
            last = [step for step in finished if step is not None][-1]
            self._rows += [step.row for step in finished if step is not None and step.row is not None]
            for applied, step in zip(passes, finished, strict=True):
                # A finished pass may have built another architecture, into which the checkpoint has to be loaded.
                module = self._architecture(applied, module) if step is not None else module
            module = checkpoint.load(self._workspace.path(last.file), into=module)
            size = self._rows[-1].facts
            changed = any(row.record["done"] for row in self._rows)
        for applied, name, step in zip(passes, names, finished, strict=True):
            if step is not None:
                continue
            mark = self._ledger.mark()
            # Loaders ask the use policy of the data for this action.
            with metered(self._context.device) as cost, acting(ACTION_OF_PASS.get(applied.name)):
                module, record = applied.apply(module, self._context_of(applied))
            self._source = applied.source(self._source, self._context)
            file = self._workspace.path(f"{name}.safetensors")
            self._save(file, module)
            before, size = size, model_stats.of_module(module, self._context.sample(1))
            accuracy = self._accuracy(module)
            row = Row.of(applied, before.digest, size, accuracy, cost, record, self._ledger.since(mark))
            self._sign_off(name, file, row, record)
            changed = changed or record.changed
        return module, changed

    def _context_of(self, applied: Pass) -> PassContext:
        """Return the context of one pass, including the records of earlier passes and the passes that follow."""
        place = next(number for number, each in enumerate(self._recipe.passes) if each is applied)
        following = tuple(self._recipe.passes[place + 1 :])
        trains = any(isinstance(later, TorchPass) and later.trains for later in following)
        around = replace(self._context, earlier=tuple(row.record["done"] for row in self._rows), following=following)
        return replace(around, training_follows=trains, place=place, source=self._source)

    def _architecture(self, applied: TorchPass, module: nn.Module) -> nn.Module:
        """Return the architecture after a pass that an earlier run finished: the given one, or another new one."""
        source = applied.source(self._source, self._context)
        if source is None or source == self._source:
            return module
        self._source = source
        return source.instantiate(self._context.seed)

    def _onnx_passes(self, path: Path, size: ModelStats) -> tuple[Path, ModelStats]:
        for number, applied in enumerate(self._recipe.passes):
            name = f"{number}-{applied.name}"
            if applied.stage == "torch":
                if self._original.file is not None:
                    refused = PassRecord.refused(NOT_TORCH)
                    self._context.progress.say(f"{applied.name}: skipped, {NOT_TORCH}.")
                    mark, accuracy = self._ledger.mark(), self._accuracy(path)
                    touched = self._ledger.since(mark)
                    self._rows.append(Row.of(applied, size.digest, size, accuracy, StepCost(), refused, touched))
                continue
            step = self._workspace.finished(name)
            if step is None:
                mark = self._ledger.mark()
                with metered() as cost:
                    path, record = applied.apply(path, self._context_of(applied))
                before, size = size, model_stats.of_file(path)
                accuracy = self._accuracy(path)
                row = Row.of(applied, before.digest, size, accuracy, cost, record, self._ledger.since(mark))
                self._sign_off(name, path, row, record)
            elif step.row is not None:
                path, size = self._workspace.path(step.file), step.row.facts
                self._rows.append(step.row)
        return path, size

    def _sign_off(self, name: str, file: Path, row: Row, record: PassRecord) -> None:
        """Record a finished pass, and report what it declined."""
        self._rows.append(row)
        self._workspace.finish(name, file, row)
        for declined in record.declined:
            if not record.changed:
                self._context.progress.say(f"{row.name} left the model unchanged: {declined.why}.")

    def _export(self, module: nn.Module, name: str) -> tuple[Path, Mapping[str, Any]]:
        """Export the module to an ONNX file that agrees with it; also return the lineage's ``export`` object."""
        context, step = self._context, self._workspace.finished(f"export of the {name}")
        if step is not None:
            return self._workspace.path(step.file), step.notes
        path = self._workspace.path(f"exported_{name}.onnx")
        outputs = self._outputs(module)
        mark, samples = self._ledger.mark(), self._real_samples()
        record = export(module, context.preprocess, path, classes=outputs, samples=samples, progress=context.progress)
        notes = export_json(record, self._ledger.since(mark))
        self._workspace.finish(f"export of the {name}", path, notes=notes)
        return path, notes

    def _real_samples(self) -> Samples | None:
        """Return samples spread over the validation part, or another part; None with fewer than two samples."""
        data = self._context.data
        split = data.validation or data.calibration or data.train
        if split is None or len(split) < 2:
            return None
        # Spread them out, because files are often sorted by class.
        spread = np.linspace(0, len(split) - 1, min(REAL_SAMPLES, len(split))).astype(int)
        return self._context.preprocess.batch(split, spread.tolist())

    def _outputs(self, module: nn.Module) -> int:
        """Return the number of outputs that the file must have: that of the module, which fits the data."""
        with torch.no_grad():
            return int(module(self._context.sample(1)).shape[-1])

    def _checkpoint(self, module: nn.Module) -> Mapping[str, Path]:
        path = self._workspace.path(CHECKPOINT)
        self._save(path, module)
        return {CHECKPOINT: path, STRUCTURE: self._workspace.path(STRUCTURE)}

    def _save(self, path: Path, module: nn.Module) -> None:
        checkpoint.save(path, module, self._source, original=self._original.module)

    def _normalised(self, path: Path, name: str) -> Path:
        target = self._workspace.path(name)
        normalise(path, target, self._context.preprocess)
        return target

    def _accuracy(self, model: nn.Module | Path) -> float | None:
        """Return the accuracy on the validation part; None without one."""
        context, data, as_here = self._context, self._context.data, self._context.target.saturates
        if (split := data.validation) is None:
            return None
        with context.progress.task(f"Scoring on {len(split)} validation samples"):
            if isinstance(model, Path):
                return model_stats.file_accuracy(model, split, context.preprocess, len(data.classes), as_here=as_here)
            return evaluate(model, split, context.preprocess, context.preprocess.class_map).accuracy
