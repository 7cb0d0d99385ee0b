"""Finished steps that recipes share: a common prefix of several recipes is only run once.

A step is stored under the digest of everything that its result depends on: the job around it, the recipe's passes up to
it, whether training follows, since a pass may then skip its own corrections, and, after a pass that measures costs, the
form in which the later passes ship the model. A folder appears under its digest only
once it is complete, so that a process may be killed at any moment.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import rfc8785

from certify.model_file.suffixes import ONNX
from compress.core import onnx_file
from compress.core.pass_protocol import TorchPass
from compress.core.targets import Target
from compress.costs.shipped_form import Shipping
from compress.exchange.checkpoint import structure_path
from compress.job.lineage import Row
from compress.job.recipe import Recipe
from compress.job.workspace import Step
from compress.passes.cost_options import chooses_by_cost
from compress.search.turns import locked
from compress.training.recovery import RecoveryTraining

NOTES = "step.json"
OF_BASELINE = "export of the baseline"


class StepCache:
    """Finished steps of many recipes on one original.

    Args:
        folder: folder of the steps.
        job: everything besides the recipe that the results depend on, as JSON values.
        target: target of the job.
    """

    def __init__(self, folder: Path, job: Mapping[str, Any], target: Target) -> None:
        self.folder, self._target = folder, target
        self._job = hashlib.sha256(rfc8785.dumps(dict(job))).hexdigest()
        folder.mkdir(parents=True, exist_ok=True)

    def digest(self, recipe: Recipe, name: str) -> str:
        """Return the hex SHA-256 under which a step is stored; ``name`` is that of a :class:`compress.job.job.Job`."""
        number, dash, _ = name.partition("-")
        if dash and number.isdecimal():
            passes = recipe.passes[: int(number) + 1]
        else:
            # The export of a candidate depends on all torch passes, that of the baseline on none.
            passes = () if name == OF_BASELINE else tuple(p for p in recipe.passes if isinstance(p, TorchPass))
        later = recipe.passes[len(passes) :] if passes else ()
        measured = any(chooses_by_cost(each) for each in passes if isinstance(each, TorchPass))
        shipping = Shipping.after(later, self._target)
        values: dict[str, Any] = {
            "ships": {**shipping.to_json(), "mixed": shipping.mixed} if measured else None,
            "trained_later": any(isinstance(each, RecoveryTraining) for each in later),
            "job": self._job, "step": name if not dash else "pass",
            "passes": [[each.name, each.version, each.config()] for each in passes],
        }  # fmt: skip
        return hashlib.sha256(rfc8785.dumps(values)).hexdigest()


class RecipeSteps:
    """The steps of one recipe in a folder of its own, used as a context manager.

    The first process to ask for an unfinished step holds its lock until it is finished; another one that needs the same
    step waits. The system releases the locks of a process that dies.

    Args:
        cache: cache shared with other recipes.
        recipe: recipe of the steps.
        folder: empty folder for this run of the recipe alone.
    """

    def __init__(self, cache: StepCache, recipe: Recipe, folder: Path) -> None:
        self.folder = folder
        self._cache = cache
        self._recipe = recipe
        self._locks: dict[str, contextlib.ExitStack] = {}
        self._missed = False
        folder.mkdir(parents=True, exist_ok=True)

    def finished(self, name: str) -> Step | None:
        """Return the step of that name if any recipe has finished it; its files are then in the folder."""
        digest = self._cache.digest(self._recipe, name)
        stored = self._cache.folder / digest
        if self._missed and name != OF_BASELINE:
            return None  # steps after a missing one depend on the new result
        if not (stored / NOTES).is_file():
            self._hold(digest)
        if not (stored / NOTES).is_file():
            self._missed = self._missed or name != OF_BASELINE
            return None
        self._release(digest)
        step = Step.from_json({**json.loads((stored / NOTES).read_text()), "name": name})
        for file in stored.iterdir():
            if file.name != NOTES:
                _link(file, self.folder / file.name)
        return step

    def path(self, file: str) -> Path:
        """Return the path of a file of this recipe."""
        return self.folder / file

    def finish(self, name: str, file: Path, row: Row | None = None, notes: Mapping[str, Any] | None = None) -> Step:
        """Store a step for all recipes that begin like this one."""
        step = Step(name, file.name, row, notes or {})
        digest = self._cache.digest(self._recipe, name)
        beside = Path(tempfile.mkdtemp(prefix=".", dir=self._cache.folder))
        try:
            for part in _parts(file):
                _link(part, beside / part.name)
            (beside / NOTES).write_text(json.dumps(step.to_json()))
            # Renamed when complete; two processes that finish the same step have equal results.
            try:
                beside.rename(self._cache.folder / digest)
            except OSError:
                if not (self._cache.folder / digest).exists():
                    raise
        finally:
            shutil.rmtree(beside, ignore_errors=True)
            self._release(digest)
        return step

    def _hold(self, digest: str) -> None:
        if digest not in self._locks:
            self._locks[digest] = contextlib.ExitStack()
            self._locks[digest].enter_context(locked(self._cache.folder / f"{digest}.lock"))

    def _release(self, digest: str) -> None:
        if digest in self._locks:
            self._locks.pop(digest).close()

    def __enter__(self) -> RecipeSteps:
        return self

    def __exit__(self, *_: object) -> None:
        for digest in list(self._locks):
            self._release(digest)


def _parts(file: Path) -> list[Path]:
    """Return a step's file and the files that belong to it."""
    if file.suffix == ONNX:
        return onnx_file.parts(file)
    beside = structure_path(file)
    return [file, beside] if beside.is_file() else [file]


def _link(source: Path, target: Path) -> None:
    """Give a file a second name; passes never write into their input files."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
