"""Baselines of models without trained weights: trained here on the data, and cached for later runs."""

from __future__ import annotations

import copy
import hashlib
import json
import re
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import safetensors
import torch
from torch import nn

from certify.core.errors import DataError
from certify.core.folders import cache_folder
from certify.core.progress import Progress, Silent
from certify.data import Dataset, Preprocess, Split
from compress.core.callbacks import TrainingCallback
from compress.core.foreign_code import eval_copy
from compress.models import weights
from compress.models.built_model import BuiltModel
from compress.training.recovery import FLIPPED_FROM
from compress.training.training import TrainingConfig, TrainingResult, train

FROM_SCRATCH = TrainingConfig()
FINE_TUNING = TrainingConfig(epochs=8, lr=2e-4)
"""For a new classifier on pretrained weights: a lower learning rate and fewer epochs."""
# Increase when the training changes, so that baselines of an earlier version are not reused.
KEPT_FORMAT = 1
LONGEST = 100
"""Readable characters of a cached file's name; file systems allow 255 bytes for the whole."""


def trained_baseline(
    built: BuiltModel,
    dataset: Dataset,
    preprocess: Preprocess,
    *,
    seed: int = 0,
    cache: Path | None = None,
    max_train_time: float | None = None,
    progress: Progress | None = None,
    callbacks: Sequence[TrainingCallback] = (),
    config: TrainingConfig | None = None,
) -> tuple[nn.Module, str, bool, TrainingResult | None]:
    """Return the baseline model, trained if it has no weights yet.

    Args:
        built: the model; not modified.
        dataset: the data.
        preprocess: the preprocessing contract.
        seed: seed of the training.
        cache: folder of cached baselines; the user's cache folder if None.
        max_train_time: time limit of the training, in seconds; None for no limit.
        progress: where to report progress.
        callbacks: called in every epoch of the training.
        config: training config; the default suits small data sets, with lower rates for a new classifier.

    Returns:
        The model on the CPU in evaluation mode; its origin in words; whether it was cached by an earlier run; the
        result of the training (None if there was none in this run).

    Raises:
        DataError: the data has no train or validation part.
        ModelError: training does not converge.
    """
    if not built.needs_training:
        return eval_copy(built.model), built.origin, False, None
    if dataset.train is None or dataset.validation is None:
        raise DataError(
            f"{built.spec} has no trained classifier for data '{dataset.name}', which has no train and validation "
            "parts to train one on; give WEIGHTS that fit, or data with a train part."
        )
    reporter = progress or Silent()
    chosen = config or replace(
        FINE_TUNING if built.pretrained else FROM_SCRATCH, flip=min(dataset.input_size) > FLIPPED_FROM
    )
    key = _key(built, dataset, preprocess, seed, chosen, max_train_time)
    path = (cache or cache_folder()) / "baselines" / f"{key}.safetensors"
    model = copy.deepcopy(built.model)
    if path.is_file():
        origin = _take(path, model)
        if origin is not None:
            reporter.say(f"The baseline {built.spec} was trained in an earlier run and is loaded from {path}.")
            model.eval()
            return model, origin, True, None
        reporter.say(f"The cached baseline {path} is damaged; training it again.")

    deadline = None if max_train_time is None else time.monotonic() + max_train_time
    keeps = _is_writable(path.parent, reporter)
    result = train(
        model,
        dataset,
        preprocess,
        chosen,
        seed=seed,
        deadline=deadline,
        progress=reporter,
        callbacks=callbacks,
        description=f"Training the baseline {built.spec} on {dataset.name}",
        resume=path.with_suffix(".training") if keeps else None,
    )
    origin = _origin(built, dataset, seed, result)
    try:
        if keeps:
            _keep(path, model, origin)
    except OSError as error:  # the training itself is not lost
        reporter.say(_not_kept(path.parent, error))
    return model, origin, False, result


def _is_writable(folder: Path, progress: Progress) -> bool:
    """Create the folder of cached baselines, and return whether files can be written there; otherwise report it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError as error:
        progress.say(_not_kept(folder, error))
        return False


def _not_kept(folder: Path, error: OSError) -> str:
    return f"The trained baseline is not kept for later jobs: {folder} cannot be written ({error.strerror})."


def _origin(built: BuiltModel, dataset: Dataset, seed: int, result: TrainingResult) -> str:
    epochs = f"{result.epochs_done} epoch{'' if result.epochs_done == 1 else 's'}"
    trained = f"trained here on {dataset.name}, seed {seed}, {epochs}"
    if result.stopped_early:
        trained += " (stopped early: the time was up)"
    return f"{built.origin}, {trained}" if built.pretrained or built.partly_given else trained


def _key(
    built: BuiltModel,
    dataset: Dataset,
    preprocess: Preprocess,
    seed: int,
    config: TrainingConfig,
    max_train_time: float | None,
) -> str:
    """Return the name of the cached file without its suffix, from everything that the trained weights depend on."""
    # The initial weights too: the same architecture may start from random or from pretrained ones.
    start = hashlib.sha256()
    for key, tensor in built.model.state_dict().items():
        start.update(key.encode())
        # As bytes, because NumPy has no bfloat16.
        start.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    facts = {
        "format": KEPT_FORMAT,
        "factory": built.source.factory,
        "kwargs": dict(built.source.kwargs),
        "start": start.hexdigest(),
        "train": _digest(dataset.train),
        "validation": _digest(dataset.validation),
        "preprocess": preprocess.digest(),
        "config": asdict(config),
        "seed": seed,
        "max_train_time": max_train_time,
        "torch": torch.__version__,
    }
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    readable = re.sub(r"[^A-Za-z0-9_.]+", "-", f"{built.spec}-{dataset.name}")[:LONGEST]
    return f"{readable}-{digest[:32]}"


def _digest(split: Split | None) -> str:
    digest = hashlib.sha256()
    if split is not None:
        digest.update("".join(split.digests()).encode())
        digest.update(split.labels.tobytes())
    return digest.hexdigest()


def _keep(path: Path, model: nn.Module, origin: str) -> None:
    tensors = {key: value.detach().clone().contiguous() for key, value in model.state_dict().items()}
    weights.write(tensors, path, metadata={"origin": origin})


def _take(path: Path, model: nn.Module) -> str | None:
    """Load cached weights into the model; return their origin, or None if the file is damaged."""
    wanted = model.state_dict()
    try:
        with safetensors.safe_open(str(path), framework="pt", device="cpu") as opened:  # type: ignore[no-untyped-call]
            state = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118  not a mapping
            origin = (opened.metadata() or {}).get("origin")
    except (safetensors.SafetensorError, OSError):
        return None
    if origin is None or {k: v.shape for k, v in state.items()} != {k: v.shape for k, v in wanted.items()}:
        return None
    model.load_state_dict(state)
    return str(origin)
