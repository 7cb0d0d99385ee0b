"""The float parent of a file: the torch model whose gradients an attack uses, and a check that it is the parent."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch
from torch import nn

from certify.core.errors import UsageError
from certify.core.files import sha256_file
from certify.data.dataset import Dataset, Split
from certify.measure.answers import Answers
from compress import models
from compress.core.samples import as_tensor
from compress.exchange import checkpoint

COMPARED = 64
LEAST_AGREEMENT = 0.85
"""Minimum share of equal answers between a file and its float parent; int8 files reach 0.97 and more."""


def load_parent(path: Path | None, spec: str | None, weights: str | None, dataset: Dataset) -> tuple[nn.Module, str]:
    """Load a torch model, and return it with a digest.

    Args:
        path: checkpoint written by ``leanmark compress``, or its folder; None to use ``spec`` alone.
        spec: architecture by name, to load the checkpoint into, or to build with ``weights``.
        weights: weight file, or the name of torchvision weights.
        dataset: data set, which determines the number of classes.

    Returns:
        The model in evaluation mode, and a hex SHA-256 of the checkpoint's file, or of the tensors.

    Raises:
        UsageError: neither was given, or the model has no weights.
        ModelError: something cannot be read or does not fit.
    """
    if path is None and spec is None:
        raise UsageError("A gradient attack needs a torch model; give --checkpoint, or --model with --weights.")
    built = None
    if spec is not None:
        built = models.build(spec, len(dataset.classes), weights, dataset.class_map)
        if path is None and built.needs_training:
            raise UsageError(f"{spec} has no weights for the data's classes; give --weights or --checkpoint.")
    if path is None and built is not None:
        return built.model.eval().requires_grad_(False), _digest(built.model)
    file = (path or Path()) / checkpoint.CHECKPOINT if path is not None and path.is_dir() else path
    model = checkpoint.load(file or Path(), None if built is None else built.model)
    return model.eval().requires_grad_(False), sha256_file(file or Path())


def require_parent(model: nn.Module, answers: Answers, split: Split) -> float:
    """Reject a torch model whose answers differ from the file's.

    Returns:
        Share of samples on which both give the same answer.

    Raises:
        UsageError: they agree too seldom for one to be the other's parent.
    """
    some = split.subset(np.arange(min(COMPARED, len(split))))
    theirs = answers.scores(some).top1
    with torch.no_grad():
        outputs = model(as_tensor(answers.contract.batch(some, range(len(some)))))
    mine = answers.read(outputs.numpy(), some.labels).top1
    agreement = float((theirs == mine).mean())
    if agreement < LEAST_AGREEMENT:
        raise UsageError(
            f"The torch model and the file agree on only {100 * agreement:.0f} % of {len(some)} samples, so it is not "
            "the file's float parent, and its gradients would flatter the file; pass the parent, or use --transfer."
        )
    return agreement


def _digest(model: nn.Module) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode() + b"\0" + tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()
