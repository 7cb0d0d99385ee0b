"""Features that a model's last layer reads, and public data to train them on."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from certify.assessments.privacy.records import Members, SourceOf
from certify.core.errors import ModelError, UsageError
from certify.data import Dataset, Preprocess, Split
from certify.data.specs import load_public
from compress import training
from compress.core.context import PassContext
from compress.core.further_data import FurtherData
from compress.core.samples import as_tensor
from compress.models.catalog import head_of
from compress.private.budget import PUBLIC_PARTS
from compress.private.norms import require_separate_samples
from compress.training.data import TorchSplit

BATCH = 128
LEAST_SCALE = 0.5
"""Smallest scale, as a share of the mean: nearly constant features would get weights too large for 8 bits."""
PLENTY = 4000
"""Number of public samples used to scale features."""


@dataclass(frozen=True)
class PublicData:
    """Data that are declared public.

    Attributes:
        split: the samples.
        source: record of the data.
        members: keyed identifiers of its samples.
        dataset: the whole data set; None if the samples are a part of the job's data.
    """

    split: Split
    source: SourceOf
    members: Members
    dataset: Dataset | None


def public_data(spec: str, context: PassContext, private: Split, wanted_by: str) -> PublicData:
    """Return public data by specification, or a part of the job's data that is not private.

    Raises:
        UsageError: there is no such part, or the data have no train part.
        DataError: they contain private samples or test samples.
    """
    source = FurtherData(spec, "public")
    if spec in PUBLIC_PARTS:
        split, dataset = context.data.part(cast(Any, spec), wanted_by), None
        digest: str | None = split.whole_digest()
    else:
        dataset, digest = load_public(spec, context.seed, context.progress)
        split = source.train_part(dataset)
    # A public sample that is also private would be used without noise.
    source.require_apart(split, {"train": private.digests(), "test": context.test_digests})
    ids = tuple(split.digests())
    return PublicData(split, SourceOf("data", spec, "public", digest), Members(f"public:{spec}", ids), dataset)


def linear_head(model: nn.Module, classes: int, preprocess: Preprocess) -> str:
    """Return the path of the linear layer that gives the model's outputs.

    Raises:
        ModelError: the model does not end in a linear layer with that number of outputs.
    """
    # The check below runs on noise: only the path of the values is tested, and no sample has to be read for it.
    path = head_of(model, classes)
    seen: list[torch.Tensor] = []
    layer = model.get_submodule(path)
    handle = layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output))
    try:
        with torch.no_grad():
            outputs = model(as_tensor(preprocess.noise(2)))
    finally:
        handle.remove()
    # The layer's outputs must be the model's, because the head's gradient would miss operators after the layer.
    if type(layer) is not nn.Linear or len(seen) != 1 or not torch.equal(seen[0], outputs):
        raise ModelError(f"The outputs are not those of one linear layer (found '{path}'); use dp_finetune.")
    return path


@contextmanager
def _captured(model: nn.Module, path: str) -> Iterator[list[torch.Tensor]]:
    seen: list[torch.Tensor] = []
    handle = model.get_submodule(path).register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    try:
        yield seen
    finally:
        handle.remove()


@torch.no_grad()
def read_features(model: nn.Module, path: str, split: Split, preprocess: Preprocess) -> npt.NDArray[np.float64]:
    """Return the inputs of the head for each sample, (n, features); the model must be in eval mode.

    Raises:
        UsageError: a layer mixes samples even in eval mode.
    """
    require_separate_samples(model)
    data, found = TorchSplit(split, preprocess), []
    with _captured(model, path) as seen:
        for start in range(0, len(split), BATCH):
            samples, _ = data.batch(np.arange(start, min(start + BATCH, len(split))))
            seen.clear()
            model(samples)
            found.append(seen[0].double().numpy())
    return np.concatenate(found)


def scale_of(values: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return deviation and mean of each feature over public samples; nearly constant features are not scaled."""
    # The tiny constants keep a feature that is constant everywhere from dividing by 0.
    deviation = values.std(0)
    return np.maximum(deviation, LEAST_SCALE * max(float(deviation.mean()), 1e-12) + 1e-12), values.mean(0)


def teach_features(model: nn.Module, path: str, public: PublicData, epochs: int, context: PassContext) -> None:
    """Train a model on public data with a head for their classes, in place; its own head is then restored.

    Raises:
        UsageError: the public data are a part of the job's data, whose labels must not be used here.
    """
    dataset = public.dataset
    train = None if dataset is None else dataset.train
    if dataset is None or train is None:
        raise UsageError("Features must be trained on separate public data; name a data set.")
    own = cast(nn.Linear, model.get_submodule(path))
    # Forked, so that a further head does not shift the random numbers of the passes that follow.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(context.seed)
        put_head(model, path, nn.Linear(own.in_features, len(dataset.classes)))
    # Only reported: the last epoch is kept, so nothing is chosen by these samples.
    validation = dataset.validation or train
    seen = cast(Dataset, _Parts(dataset.name, train, validation))
    training.train(
        model,
        seen,
        context.preprocess,
        training.TrainingConfig(epochs=epochs, keep="last"),
        seed=context.seed,
        deadline=context.deadline(),
        progress=context.progress,
        device=context.device,
        description=f"Teaching features on {dataset.name}",
    )
    # Restored for the classes of the job: a head for other classes has other outputs.
    put_head(model, path, copy.deepcopy(own))


@dataclass(frozen=True)
class _Parts:
    """View of a data set with everything that training reads."""

    name: str
    train: Split
    validation: Split


def train_on(model: nn.Module, split: Split, name: str, config: training.TrainingConfig, context: PassContext) -> None:
    """Train a model in place on samples that cost no privacy; they also serve as validation samples."""
    training.train(
        model,
        cast(Dataset, _Parts(name, split, split)),
        context.preprocess,
        config,
        seed=context.seed,
        deadline=context.deadline(),
        progress=context.progress,
        device=context.device,
        description=f"Training on {name}",
    )


def put_head(model: nn.Module, path: str, layer: nn.Module) -> None:
    """Replace a layer by another one."""
    owner, _, last = path.rpartition(".")
    setattr(model.get_submodule(owner) if owner else model, last, layer)
