"""The plan of a job: the sizes of the original, and the target of each pass. Nothing is changed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from certify.core.progress import Progress, Silent
from certify.data import Preprocess, load, require_separate
from certify.measure import runtimes
from certify.measure.plan import Plan
from compress.core import model_stats
from compress.core.model_stats import ModelStats
from compress.core.pass_protocol import Pass
from compress.core.targets import choose
from compress.job import recipe as recipes
from compress.job.further_data import require_further_data
from compress.job.job import NOT_TORCH
from compress.job.lineage import describe_data
from compress.job.original import OriginalModel, Request, find_original
from compress.job.output import folder_of, require_inputs_kept
from compress.job.preprocessing import describe
from compress.job.privacy import PRIVATE_PARTS, require_private_layers, require_private_parts
from compress.job.recipe import Recipe, RecipeLike


@dataclass(frozen=True)
class PlannedPass:
    """One pass of a planned job.

    Attributes:
        name: name of the pass.
        stage: ``torch`` or ``onnx``.
        config: parameters that differ from their defaults.
        asked: target of the pass: ``macs``, ``parameters`` and ``bytes`` as numbers, ``energy`` or ``latency`` as a
            share.
        left_out: reason why it would be skipped; None if it would be applied.
    """

    name: str
    stage: str
    config: Mapping[str, Any]
    asked: Mapping[str, float]
    left_out: str | None


@dataclass(frozen=True)
class JobPlan:
    """The plan of a job.

    Attributes:
        model: model as the user named it.
        origin: origin of its weights, in one sentence.
        trained_here: whether a baseline would be trained first, or taken from an earlier training.
        size: size of the original.
        preprocess: how images become its input, and the source of each field.
        data: name, spec and number of samples of each part.
        recipe: the recipe of the job.
        target: kind of processor that the model is optimised for.
        passes: passes in order.
        measured: batch, runtime and time limit of the measurement; None if nothing would be measured.
        out: output folder.

    Example:
        >>> from compress.testing.networks import blobs, network
        >>> pixels = {"mean": [0.5] * 3, "std": [0.5] * 3}
        >>> dry_run(network("residual"), ["half"], blobs(), preprocess=pixels).passes[0].stage
        'onnx'
    """

    model: str
    origin: str
    trained_here: bool
    size: ModelStats
    preprocess: str
    data: Mapping[str, Any]
    recipe: Recipe
    target: str
    passes: tuple[PlannedPass, ...]
    measured: Mapping[str, Any] | None
    out: Path

    def to_json(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        size = {name: value for name, value in asdict(self.size).items() if name != "digest"}
        values = {**vars(self), "size": size, "recipe": self.recipe.to_json(), "out": str(self.out)}
        return {**values, "passes": [asdict(each) for each in self.passes]}


def dry_run(
    model: str | Path | nn.Module,
    recipe: RecipeLike = "balanced",
    data: Any = None,
    weights: str | Path | None = None,
    out: str | Path | None = None,
    plan: Plan | None = None,
    seed: int = 0,
    max_train_time: float | None = None,
    preprocess: Preprocess | Path | Mapping[str, Any] | object | None = None,
    target: str | None = None,
    cache: Path | None = None,
    measure: bool = True,
    progress: Progress | None = None,
    model_args: Mapping[str, Any] | None = None,
    private_parts: Sequence[str] = PRIVATE_PARTS,
) -> JobPlan:
    """Plan what :func:`compress.run` would do with the same arguments, without training, measuring or writing.

    Raises:
        LeanmarkError: for the reasons for which :func:`compress.run` raises before its work begins, keys aside.

    Example:
        >>> from compress.testing.networks import blobs, network
        >>> pixels = {"mean": [0.5] * 3, "std": [0.5] * 3}
        >>> recipe = [{"structured_prune": {"macs": 0.5}}]
        >>> planned = dry_run(network("residual"), recipe, blobs(), preprocess=pixels)
        >>> planned.passes[0].asked["macs"] == planned.size.macs / 2
        True
    """
    chosen, progress = recipes.load(recipe), progress or Silent()
    workload = chosen.workload
    plan = plan or Plan(batch=workload.batch, runtime=workload.runtime)
    if measure:
        runtimes.check(plan.runtime)
    request = Request(model, None if weights is None else str(weights), preprocess, seed, model_args)
    dataset = load(request.data(data), seed=seed, cache=cache, progress=progress)
    require_separate(dataset)
    require_private_parts(chosen, private_parts, dataset)
    chosen.require_data(dataset)
    require_further_data(chosen, dataset, private_parts, seed=seed, progress=progress)
    original = find_original(request, dataset, progress)
    require_private_layers(chosen, original)
    folder = folder_of(out, original.spec)
    require_inputs_kept(folder, original.file, weights)
    size = _size(original)
    limits = {"batch": plan.batch, "runtime": plan.runtime, "time_limit_s": plan.time_limit_s}
    described = describe_data(dataset)
    return JobPlan(
        model=original.described,
        origin=original.origin,
        trained_here=original.built is not None and original.built.needs_training,
        size=size,
        preprocess=f"{describe(original.preprocess)} ({original.stated})",
        data={name: described[name] for name in ("name", "spec", "counts")},
        recipe=chosen,
        target=choose(target).name,
        passes=_passes(chosen, original, size),
        measured=limits if measure else None,
        out=folder,
    )


def _size(original: OriginalModel) -> ModelStats:
    if original.module is None:
        assert original.file is not None  # an original has one of the two
        return model_stats.of_file(original.file)
    return model_stats.of_module(original.module, torch.from_numpy(original.preprocess.noise(1)))


def _passes(recipe: Recipe, original: OriginalModel, size: ModelStats) -> tuple[PlannedPass, ...]:
    planned = []
    parameters = 1.0
    for each in recipe.passes:
        shares = dict(each.goals)
        parameters = shares.get("parameters", parameters)
        if "bytes" in shares:
            # Shares multiply: int8, a quarter, of half the parameters is an eighth of the bytes.
            shares["bytes"] *= parameters
        targets = {name: share * getattr(size, name, 1) for name, share in shares.items()}
        left_out = NOT_TORCH if original.file is not None and each.stage == "torch" else None
        planned.append(PlannedPass(each.name, each.stage, _stated(each), targets, left_out))
    return tuple(planned)


def _stated(configured: Pass) -> dict[str, Any]:
    return configured.model_dump(mode="json", exclude_defaults=True)
