"""Unlabelled samples for recording activations."""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
import torch

from compress.core.context import PassContext
from compress.core.samples import as_tensor

LARGEST_BATCH, BATCH_BYTES = 64, 8 * 1024**2


class Batches(Protocol):
    """Samples in batches of equal size; see :class:`Samples` for the members."""

    @property
    def count(self) -> int:
        """Number of samples."""

    @property
    def size(self) -> int:
        """Batch size."""

    @property
    def batches(self) -> int:
        """Number of batches."""

    def batch(self, number: int) -> torch.Tensor:
        """Return a batch, (size, ...)."""


class Samples:
    """Samples in batches of equal size, from the train part if there is one, chosen by the seed.

    Args:
        context: context with data and seed.
        most: maximum number of samples.

    Attributes:
        count: number of samples.
        size: batch size.
        batches: number of batches.

    Raises:
        UsageError: the data has only test samples.
    """

    def __init__(self, context: PassContext, most: int) -> None:
        self._context = context
        first = context.samples(1)
        split = next(part for part in (context.data.train, context.data.calibration, context.data.validation) if part)
        order = np.random.default_rng(context.seed).permutation(len(split))[:most]
        size = max(1, min(LARGEST_BATCH, len(order), BATCH_BYTES // first.nbytes))
        self.count = len(order)
        self.batches = math.ceil(len(order) / size)
        # Programs are traced for one batch size, so batches are made equal; the last repeats the first samples.
        self.size = math.ceil(len(order) / self.batches)
        self._split, self._order = split, np.resize(order, self.batches * self.size)

    def batch(self, number: int) -> torch.Tensor:
        """Return a preprocessed batch (size, ...); the last one is padded with the first samples."""
        chosen = self._order[number * self.size : (number + 1) * self.size]
        return as_tensor(self._context.preprocess.batch(self._split, chosen.tolist()))
