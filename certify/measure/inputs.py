"""Arrays that workers read: the batches of the windows, and the whole test set in parts."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from certify.core.errors import DataError
from certify.core.input_mapping import by_input
from certify.core.observations import Inputs
from certify.data.dataset import Split
from certify.data.preprocess import Preprocess

ARRAY_BYTES = 64 * 1024 * 1024
"""Largest size of the samples that are preprocessed, or held by a worker, at a time."""
INPUT_BYTES = 512 * 1024 * 1024
"""Largest size of all samples for a model's windows; beyond it, only the first samples are used."""
INSPECTED = 32
"""Number of samples whose values are inspected."""


class InputStatistics(Inputs):
    """Statistics of the inputs of the windows, from the inspected samples."""

    @classmethod
    def of(cls, samples: npt.NDArray[Any], preprocess: Preprocess) -> InputStatistics:
        """Compute the statistics of preprocessed samples, (n, ...)."""
        fed = by_input(preprocess.input_names, samples).values()
        flat = np.concatenate([values.reshape(len(samples), -1) for values in fed], axis=1)
        constant = np.all(flat == flat[:, :1], axis=1)
        return cls(
            samples=len(flat),
            std=float(np.std(flat, dtype=np.float64)),
            distinct=len({row.tobytes() for row in flat}),
            constant_share=float(np.mean(constant)),
            **preprocess.regularity(samples),
        )

    def worse(self, other: InputStatistics) -> InputStatistics:
        """Return the less realistic value of two in each field."""
        return InputStatistics(
            _least(self.samples, other.samples),
            min(self.std, other.std),
            min(self.distinct, other.distinct),
            max(self.constant_share, other.constant_share),
            _least(self.neighbour_correlation, other.neighbour_correlation),
            _least(self.repetition, other.repetition),
        )


def _least(first: float | None, second: float | None) -> float | None:
    known = [value for value in (first, second) if value is not None]
    return min(known, default=None)


def window_samples(order: Sequence[int], sample_bytes: int, batch: int) -> list[int]:
    """Choose the samples for the windows: as many as fit, in whole batches.

    Args:
        order: order of the test samples; the first ones are repeated to fill the last batch.
        sample_bytes: size of one preprocessed sample in bytes.
        batch: number of samples per inference.
    """
    # At least one batch, however large its samples are.
    fitting = max(1, INPUT_BYTES // max(1, sample_bytes * batch))
    batches = min(fitting, -(-len(order) // batch))
    # A shorter last batch would be another workload, so the first samples fill it up.
    return [int(i) for i in np.resize(np.asarray(order, dtype=np.int64), batches * batch)]


def input_part(path: Path, batch: int, turn: int) -> tuple[int, int]:
    """Return the first batch and the number of batches for a worker; workers take the parts of a large file in turn.

    Args:
        path: array file.
        batch: number of samples per inference.
        turn: index of the worker.
    """
    array = np.load(path, mmap_mode="r")
    batches, size = len(array) // batch, max(1, array.nbytes // max(1, len(array) // batch))
    most = min(batches, max(1, ARRAY_BYTES // size))
    return turn % -(-batches // most) * most, most


def save_samples(path: Path, split: Split, indices: list[int], preprocess: Preprocess) -> InputStatistics:
    """Preprocess samples and write them as one array file, (n, ...)."""
    shape = (len(indices), *preprocess.input_shape(1)[1:])
    # Written through a memory map, because all samples together may not fit into memory.
    array = np.lib.format.open_memmap(path, "w+", preprocess.memory, shape)
    digests: set[bytes] = set()
    first: InputStatistics | None = None
    for part in parts(len(indices), preprocess.sample_bytes(), 1):
        ready = preprocess.batch(split, [indices[i] for i in part])
        array[part[0] : part[-1] + 1] = ready
        # Only repeats need all samples; the other statistics are of the first few.
        digests |= {hashlib.sha256(sample.tobytes()).digest() for sample in ready}
        first = first or InputStatistics.of(ready[:INSPECTED], preprocess)
    array.flush()
    if first is None:
        raise DataError("There are no samples to preprocess; give at least one.")
    return replace(first, samples=len(indices), distinct=len(digests))


def parts(count: int, sample_bytes: int, batch: int) -> Iterator[list[int]]:
    """Yield the indices of all samples in parts of at most 64 MiB; all but the last are multiples of the batch."""
    size = max(1, ARRAY_BYTES // max(1, sample_bytes * batch)) * batch
    for start in range(0, count, size):
        yield list(range(start, min(start + size, count)))
