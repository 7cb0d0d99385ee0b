"""Data for torch: batches of preprocessed samples, always read through certify.data."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import Dataset as TorchDataset

from certify.core.errors import UsageError
from certify.data import ImagePreprocess, Preprocess, Split
from compress.core.samples import as_tensor
from compress.training.remedies import Attribute, balancing_weights
from compress.training.task import UNLABELLED

IN_MEMORY_BYTES = 200_000_000
"""Splits up to this size, once preprocessed, are cached in memory."""
SHIFT_DIVISOR = 16
"""Augmentation shifts an image by up to 1/16 of its side in each direction: 2 pixels of 32."""
DECODERS = 2
"""Threads that decode ahead; Pillow releases the interpreter lock while decoding."""

Batch = tuple[torch.Tensor, torch.Tensor]
Shard = tuple[int, int]


class TorchSplit(TorchDataset[tuple[torch.Tensor, int]]):
    """One part of a data set as a torch dataset of (sample, label).

    Args:
        split: the part.
        preprocess: preprocessing contract; images become float32 (C, H, W), tokens integers (inputs, length).
    """

    def __init__(self, split: Split, preprocess: Preprocess) -> None:
        if isinstance(preprocess, ImagePreprocess) and (preprocess.layout, preprocess.dtype) != ("NCHW", "float32"):
            raise UsageError(
                f"torch models take float32 NCHW input, but the preprocessing contract states {preprocess.dtype} "
                f"{preprocess.layout}; correct the contract."
            )
        self.split = split
        self.preprocess = preprocess

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        return as_tensor(self.preprocess.batch(self.split, [index]))[0], int(self.split.labels[index])

    def batch(self, indices: np.ndarray) -> Batch:
        """Return samples (n, ...) and labels (n,) at ``indices``."""
        samples = as_tensor(self.preprocess.batch(self.split, indices))
        return samples, torch.from_numpy(self.split.labels[indices])

    @property
    def bytes(self) -> int:
        """Size of all samples once preprocessed."""
        return len(self) * self.preprocess.sample_bytes()


class Loader:
    """Batches of one split, for any number of epochs; see :func:`loader`.

    Attributes:
        random: generator of order and augmentation; the same on every rank.
    """

    def __init__(
        self,
        data: TorchSplit,
        batch: int,
        *,
        shuffle: bool,
        seed: int,
        augment: bool,
        flip: bool,
        shard: Shard,
        cached: Batch | None = None,
        attribute: Attribute | None = None,
        balance: bool = False,
    ) -> None:
        self._data, self._shuffle, self._augment, self._flip = data, shuffle, augment, flip
        self._attribute = attribute
        self._weights = balancing_weights(data.split.labels, attribute.groups) if attribute and balance else None
        self._batches = -(-len(data) // batch)
        self._own, self._world_size = slice(shard[0], None, shard[1]), shard[1]
        if len(data) // self._batches < self._world_size:
            raise UsageError(
                f"Batches of {len(data) // self._batches} samples are too small for {self._world_size} processes; "
                "start fewer processes, or use larger batches."
            )
        self.random = np.random.default_rng(seed)
        small = cached is None and data.bytes <= IN_MEMORY_BYTES
        self._cached = data.batch(np.arange(len(data))) if small else cached

    def __len__(self) -> int:
        return self._batches

    def __iter__(self) -> Iterator[Batch]:
        self._data.split.touch()  # cached samples were read when they were preprocessed
        order = self._order()
        parts = [self._even(part) for part in np.array_split(order, self._batches)]
        for part, (images, labels) in zip(parts, self._read([part[self._own] for part in parts]), strict=True):
            if self._attribute is not None:
                labels = self._attribute.join(labels, part[self._own])
            if self._augment:  # every rank draws for the whole batch, so that all generators stay in step
                rows, columns = _moves(len(part), images.shape, self.random, self._flip)
                images = _moved(images, rows[self._own], columns[self._own])
            yield images, labels

    def _order(self) -> np.ndarray:
        """Return the rows of one epoch; with weights they are drawn with replacement."""
        if self._weights is not None:
            return self.random.choice(len(self._data), len(self._data), p=self._weights)
        return self.random.permutation(len(self._data)) if self._shuffle else np.arange(len(self._data))

    def _even(self, part: np.ndarray) -> np.ndarray:
        """Extend a batch to equal shares for all ranks; some samples are repeated, as in DistributedSampler."""
        return np.resize(part, -(-len(part) // self._world_size) * self._world_size)

    def _read(self, parts: list[np.ndarray]) -> Iterator[Batch]:
        if self._cached is not None:
            images, labels = self._cached
            for part in parts:
                self._data.split.ask(part)  # consent may have been withdrawn since they were read
                rows = torch.from_numpy(part)
                yield images[rows], labels[rows]
            return
        with ThreadPoolExecutor(DECODERS) as pool:
            # Only a few batches ahead, so that memory does not grow with the split.
            ahead = [pool.submit(self._data.batch, part) for part in parts[:DECODERS]]
            for upcoming in range(len(parts)):
                ready = ahead.pop(0).result()
                if upcoming + DECODERS < len(parts):
                    ahead.append(pool.submit(self._data.batch, parts[upcoming + DECODERS]))
                yield ready


class Batches:
    """The batches of an epoch, each followed by as many unlabelled samples if there are any.

    Args:
        labelled: loader whose number of batches makes an epoch.
        unlabelled: loader that is read repeatedly, or None. Its labels are replaced by ``UNLABELLED``.
    """

    def __init__(self, labelled: Loader, unlabelled: Loader | None = None) -> None:
        self._labelled, self._unlabelled = labelled, unlabelled

    def __len__(self) -> int:
        return len(self._labelled)

    def __iter__(self) -> Iterator[Batch]:
        if self._unlabelled is None:
            yield from self._labelled
            return
        others = self._without_labels(self._unlabelled)
        for images, labels in self._labelled:
            more = next(others)
            none = torch.full((len(more),), UNLABELLED, dtype=labels.dtype)
            yield torch.cat([images, more]), torch.cat([labels, none])

    @staticmethod
    def _without_labels(loader: Loader) -> Iterator[torch.Tensor]:
        while True:
            for images, _ in loader:
                yield images

    def random_state(self) -> list[Any]:
        """Return the states of the generators between two epochs, as JSON values."""
        return [loader.random.bit_generator.state for loader in self._loaders()]

    def set_random_state(self, states: list[Any]) -> None:
        """Restore the states returned by :meth:`random_state`."""
        for loader, state in zip(self._loaders(), states, strict=True):
            loader.random.bit_generator.state = state

    def _loaders(self) -> list[Loader]:
        return [self._labelled] if self._unlabelled is None else [self._labelled, self._unlabelled]


def loader(
    split: Split,
    preprocess: Preprocess,
    batch: int,
    *,
    shuffle: bool,
    seed: int,
    augment: bool = False,
    flip: bool = False,
    shard: Shard = (0, 1),
    mechanism: str | None = None,
    cached: Batch | None = None,
    attribute: Attribute | None = None,
    balance: bool = False,
) -> Loader:
    """Return a loader of (preprocessed samples (n, ...), labels (n,) int64).

    No sample is left out and no batch is tiny: the split is divided into batches whose sizes differ by at most one.
    Small splits are preprocessed once and cached in memory, so that an epoch needs no decoding.

    Args:
        split: the part of the data.
        preprocess: the preprocessing contract.
        batch: maximum number of samples in a batch.
        shuffle: whether each epoch has a new order.
        seed: seed of order and augmentation; two loaders with the same seed give the same batches in every epoch.
        augment: images only: shift each by up to 1/16 of its side, repeating its edge pixels (after the ResNet paper,
            arXiv 1512.03385, section 4.2, which pads with zeros).
        flip: with ``augment``, also mirror half of the images; wrong for digits and letters.
        shard: rank and number of the processes that share each batch; all must use the same seed.
        mechanism: mechanism under which the ledger records the reads; None for raw reads. Only a loader whose batches
            reach the model through the noise of that mechanism may name one.
        cached: samples already read and preprocessed, (n, ...), and their labels; None reads them.
        attribute: groups to join with the labels (:meth:`Attribute.join`); None keeps the labels.
        balance: whether to draw all cells of group and label equally often, with replacement; needs ``attribute``.

    Raises:
        UsageError: a batch has fewer samples than there are processes.
    """
    data = TorchSplit(split if mechanism is None else split.under(mechanism), preprocess)
    return Loader(
        data, batch, shuffle=shuffle, seed=seed, augment=augment, flip=flip, shard=shard, cached=cached,
        attribute=attribute, balance=balance,
    )  # fmt: skip


def on_device(
    samples: torch.Tensor, place: torch.device, layout: torch.memory_format = torch.channels_last
) -> torch.Tensor:
    """Move samples to where a model is; images in the given memory layout, channels last by default."""
    return samples.to(place, memory_format=layout) if samples.ndim == 4 else samples.to(place)


@torch.no_grad()
def layout_for(model: nn.Module, samples: torch.Tensor, place: torch.device) -> torch.memory_format:
    """Return the memory layout in which a model can run: channels last, which is faster, or else contiguous.

    A model whose ``forward`` calls ``view`` on a feature map runs only with contiguous ones.

    Args:
        model: model on ``place``, in evaluation mode; its weights become contiguous if channels last fails.
        samples: a few preprocessed samples.
        place: device of the model.

    Raises:
        RuntimeError: the model fails in both layouts, so the layout is not the reason.
    """
    try:
        model(on_device(samples, place))
    except RuntimeError:
        with torch.inference_mode(False):  # weights converted in inference mode could no longer be trained
            model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
        model(on_device(samples, place, torch.contiguous_format))
        return torch.contiguous_format
    return torch.channels_last


def _moves(n: int, shape: torch.Size, random: np.random.Generator, flip: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rows (n, H) and columns (n, W) of n randomly shifted images (..., H, W)."""
    rows = _indices(n, shape[-2], random, mirrored=np.zeros(n, dtype=bool))
    columns = _indices(n, shape[-1], random, mirrored=random.random(n) < 0.5 if flip else np.zeros(n, dtype=bool))
    return rows, columns


def _moved(images: torch.Tensor, rows: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Return images (n, C, H, W) assembled from the given rows and columns of each."""
    picked = images[torch.arange(len(images))[:, None, None], :, rows[:, :, None], columns[:, None, :]]
    return picked.permute(0, 3, 1, 2)


def _indices(n: int, side: int, random: np.random.Generator, mirrored: np.ndarray) -> torch.Tensor:
    most = side // SHIFT_DIVISOR
    shift = random.integers(-most, most + 1, size=(n, 1))
    indices = np.clip(np.arange(side)[None] + shift, 0, side - 1)
    return torch.from_numpy(np.where(mirrored[:, None], indices[:, ::-1], indices))
