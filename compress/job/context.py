"""What the passes of a job may use, from what the user asked for."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from certify.core.progress import Progress
from certify.data import Dataset
from compress.core.callbacks import TrainingCallback, checked
from compress.core.context import PassContext, PassData
from compress.core.targets import choose
from compress.job.original import OriginalModel


def make_context(
    original: OriginalModel,
    dataset: Dataset,
    *,
    target: str | None,
    progress: Progress,
    callbacks: Iterable[TrainingCallback] = (),
    **options: Any,
) -> PassContext:
    """The context of a job's passes.

    Args:
        original: whose contract the passes keep to.
        dataset: whose test part the passes do not see.
        target: kind of processor; this machine's if None.
        progress: where to show how far it is.
        callbacks: told of every training.
        options: further fields of the context.
    """
    return PassContext(
        data=PassData.without_test(dataset),
        preprocess=original.preprocess,
        target=choose(target),
        device="cuda" if torch.cuda.is_available() else "cpu",
        progress=progress,
        callbacks=checked(callbacks),
        test_digests=frozenset(dataset.test.digests()),
        **options,
    )
