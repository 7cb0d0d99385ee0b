"""Applying a single pass to a model, without export, measurement or certificate."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from certify.core.errors import UsageError
from certify.core.progress import Progress, job, shown
from certify.data import Dataset, Preprocess, load, require_separate
from certify.data.contract_slot import normalise
from compress.core.callbacks import TrainingCallback
from compress.core.context import PassContext
from compress.core.pass_protocol import Pass, PassRecord
from compress.exchange.admission import admit
from compress.job.context import make_context
from compress.job.original import Request, find_original


@job("Applying the pass")
def apply(
    pass_: Pass,
    model: str | Path | nn.Module,
    data: str | Dataset | None = None,
    *,
    weights: str | Path | None = None,
    preprocess: Preprocess | Path | Mapping[str, Any] | object | None = None,
    seed: int = 0,
    max_train_time: float | None = None,
    target: str | None = None,
    progress: Progress | bool | None = None,
    callbacks: Sequence[TrainingCallback] = (),
    model_args: Mapping[str, Any] | None = None,
) -> tuple[nn.Module | Path, PassRecord]:
    """Apply one pass to a model; nothing is measured or signed.

    Args:
        pass_: the configured pass.
        model: name of a torchvision model, ``package.module:factory``, or an ``nn.Module`` for a pass on torch
            modules; path of an ONNX file for a pass on files. It is not modified, and serves as the pass's teacher.
        data: data specification or data set, as for :func:`compress.run`. The pass does not see its test part.
        weights: safetensors or state-dict file, or torchvision's name of weights.
        preprocess: preprocessing contract or some of its fields, as for :func:`compress.run`.
        seed: seed of every random choice.
        max_train_time: time limit of each training, in seconds.
        target: kind of processor to optimise for; this machine's by default.
        progress: where to report progress; bars in a notebook or terminal by default, False for none.
        callbacks: called in every epoch of every training (see ``compress.TrainingCallback``).
        model_args: arguments of the factory besides the number of classes.

    Returns:
        The new module, or the path of a new file next to the given one, and the record of what was done and declined.

    Raises:
        UsageError: a name is unknown, or the pass does not work on this kind of model.
        DataError: the data cannot be read, or its parts overlap.
        ModelError: the model cannot be built, trained or run.

    Example:
        >>> import compress
        >>> from compress.testing.networks import blobs, network
        >>> half = compress.StructuredPrune(macs=0.5, round_to=1)
        >>> pixels = {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}
        >>> pruned, record = compress.apply(half, network("residual"), blobs(), preprocess=pixels)
        >>> 0.4 < record.done["macs_share"] <= 0.5
        True
    """
    progress = shown(progress)
    request = Request(model, None if weights is None else str(weights), preprocess, seed, model_args)
    dataset = load(request.data(data), seed=seed, progress=progress)
    require_separate(dataset)
    original = find_original(request, dataset, progress)
    source = original.module if pass_.stage == "torch" else original.file
    if source is None:
        kind = "a torch module, or a model by name" if pass_.stage == "torch" else "the path of an ONNX file"
        raise UsageError(f"The 'model' of {pass_.name} must be {kind}, got {original.spec}.")
    context = make_context(
        original,
        dataset,
        target=target,
        progress=progress,
        callbacks=callbacks,
        seed=seed,
        max_train_time=max_train_time,
    )
    if isinstance(source, Path):
        return _on_file(pass_, source, context)
    changed, record = pass_.apply(source, replace(context, teacher=original.module))
    return changed, record


def _on_file(pass_: Pass, source: Path, context: PassContext) -> tuple[Path, PassRecord]:
    """Apply a pass to a file's normal form, which passes expect; the new file is written next to the given one."""
    with tempfile.TemporaryDirectory() as scratch:
        normal = Path(scratch) / source.name
        normalise(source, normal, context.preprocess)
        admit(normal, context.preprocess, context.data)
        changed, record = pass_.apply(normal, replace(context, workspace=source.parent))
    return source if changed == normal else changed, record
