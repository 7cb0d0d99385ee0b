"""Samples of one client: rows of a common train split in a simulation, or its own data under its own use policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from certify.core.data_use.guard import Use, acting, using
from certify.core.data_use.vocabulary import Action
from certify.core.errors import UsageError
from certify.core.progress import Progress
from certify.data import Dataset, Preprocess, Split, load
from compress.federated.partition import Rows
from compress.training.data import IN_MEMORY_BYTES, Batch, Loader, TorchSplit, loader

if TYPE_CHECKING:
    from compress.federated.learner import LocalTraining

ACTION: Action = "finetune"
"""Action for which federated training reads a client's samples, checked against its use policy."""


@dataclass(frozen=True)
class LocalData:
    """Training data of a client.

    Attributes:
        split: its samples, read through loaders that check its use policy and record the access.
        cached: the preprocessed samples, if they were read before; None to read them in each round.
        policy: digest of their use policy; None if there is none.
    """

    split: Split
    cached: Batch | None = None
    policy: str | None = None

    @property
    def band(self) -> int:
        """Band of the number of samples: 2**band to 2**(band + 1) - 1.

        Example:
            >>> (200).bit_length() - 1
            7
        """
        return len(self.split).bit_length() - 1

    def loader(self, preprocess: Preprocess, training: LocalTraining, seed: int) -> Loader:
        """Return the shuffled batches of one round.

        Raises:
            NotPermittedError: the use policy of the data does not permit it, or a record was withdrawn.
        """
        return loader(
            self.split, preprocess, training.batch, shuffle=True, seed=seed, augment=training.augment,
            flip=training.flip, cached=self.cached,
        )  # fmt: skip


class Cut:
    """A train split divided among simulated clients; its samples are read and preprocessed once.

    Args:
        split: train split.
        rows: rows of each client.
        preprocess: preprocessing contract.
    """

    def __init__(self, split: Split, rows: Sequence[Rows], preprocess: Preprocess) -> None:
        self._split, self._rows = split, rows
        data = TorchSplit(split, preprocess)
        self._cached = data.batch(np.arange(len(data))) if data.bytes <= IN_MEMORY_BYTES else None

    def client(self, number: int) -> LocalData:
        """Return the data of a client; only its own samples are copied."""
        rows = self._rows[number]
        cached = None
        if self._cached is not None:
            chosen = torch.from_numpy(rows)
            cached = self._cached[0][chosen], self._cached[1][chosen]
        guard = self._split.guard
        return LocalData(self._split.subset(rows), cached, None if guard is None else guard.policy.digest)


def own_data(spec: str, use: Use | None, progress: Progress | None = None) -> tuple[Dataset, LocalData]:
    """Load a client's own data, under the use policy next to them.

    Args:
        spec: data specification with a train split.
        use: purpose of use and data key; None if no policy governs the data.
        progress: display of progress.

    Raises:
        UsageError: there is no train split.
        NotPermittedError: a policy governs the data, and no use is given or it is not permitted.
    """
    if use is None:
        dataset = load(spec, progress=progress)
    else:
        with using(use), acting(ACTION):
            dataset = load(spec, progress=progress)
    if dataset.train is None:
        raise UsageError(f"The data '{spec}' have no train split; name data with one, such as npz:train=...,test=....")
    guard = dataset.train.guard
    return dataset, LocalData(dataset.train, policy=None if guard is None else guard.policy.digest)
