"""The samples of one client: rows of one train part in a simulation, or data of its own under its own use policy."""

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
"""What federated training reads a client's samples for, as its use policy is asked."""


@dataclass(frozen=True)
class LocalData:
    """What a client learns from.

    Attributes:
        split: its samples, read through the loaders that ask its use policy and note the touch.
        kept: the same samples preprocessed, where they were read before; None reads them for each round.
        policy: digest of the use policy that governs them; None where none does.
    """

    split: Split
    kept: Batch | None = None
    policy: str | None = None

    @property
    def band(self) -> int:
        """Of the number of samples: 2**band to 2**(band + 1) - 1.

        Example:
            >>> (200).bit_length() - 1
            7
        """
        return len(self.split).bit_length() - 1

    def loader(self, preprocess: Preprocess, training: LocalTraining, seed: int) -> Loader:
        """Shuffled batches of one round.

        Raises:
            NotPermittedError: the use policy of the data does not permit it, or a record was withdrawn.
        """
        return loader(
            self.split, preprocess, training.batch, shuffle=True, seed=seed, augment=training.augment,
            flip=training.flip, kept=self.kept,
        )  # fmt: skip


class Cut:
    """One train part that is cut into simulated clients; its samples are read and preprocessed once.

    Args:
        split: the train part.
        rows: of each client.
        preprocess: the contract.
    """

    def __init__(self, split: Split, rows: Sequence[Rows], preprocess: Preprocess) -> None:
        self._split, self._rows = split, rows
        data = TorchSplit(split, preprocess)
        self._kept = data.batch(np.arange(len(data))) if data.bytes <= IN_MEMORY_BYTES else None

    def client(self, number: int) -> LocalData:
        """The data of a client; nothing is copied but its own samples."""
        rows = self._rows[number]
        kept = None
        if self._kept is not None:
            chosen = torch.from_numpy(rows)
            kept = self._kept[0][chosen], self._kept[1][chosen]
        guard = self._split.guard
        return LocalData(self._split.subset(rows), kept, None if guard is None else guard.policy.digest)


def own_data(spec: str, use: Use | None, progress: Progress | None = None) -> tuple[Dataset, LocalData]:
    """A client's own data, under the use policy that lies beside them.

    Args:
        spec: data specification; its train part is learnt from.
        use: what it is for, and the data key; None where no policy governs the data.
        progress: where to say how far loading is.

    Raises:
        UsageError: there is no train part.
        NotPermittedError: a policy governs the data, and forbids the use or nobody has said what it is for.
    """
    if use is None:
        dataset = load(spec, progress=progress)
    else:
        with using(use), acting(ACTION):
            dataset = load(spec, progress=progress)
    if dataset.train is None:
        raise UsageError(f"The data '{spec}' have no train part, so this client has nothing to learn from.")
    guard = dataset.train.guard
    return dataset, LocalData(dataset.train, policy=None if guard is None else guard.policy.digest)
