"""Arrays that workers read: the batches that windows go through, and the whole test set in parts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from certify.core.observations import Inputs
from certify.data.dataset import Split
from certify.data.preprocess import Preprocess

WINDOW_BATCHES = 32
"""Different batches that an inference after the other goes through."""
ARRAY_BYTES = 64 * 1024 * 1024


class InputStatistics(Inputs):
    """What the inputs of the windows look like, as far as their samples were looked at here."""

    @classmethod
    def of(cls, samples: npt.NDArray[Any], preprocess: Preprocess) -> InputStatistics:
        """Look at samples that a contract made ready, (n, ...)."""
        flat = samples.reshape(len(samples), -1)
        constant = np.all(flat == flat[:, :1], axis=1)
        return cls(
            samples=len(flat),
            std=float(np.std(flat, dtype=np.float64)),
            distinct=len({row.tobytes() for row in flat}),
            constant_share=float(np.mean(constant)),
            **preprocess.regularity(samples),
        )

    def worse(self, other: InputStatistics) -> InputStatistics:
        """The less real of two in each respect."""
        return InputStatistics(
            _least(self.samples, other.samples),
            min(self.std, other.std),
            min(self.distinct, other.distinct),
            max(self.constant_share, other.constant_share),
            _least(self.neighbour_correlation, other.neighbour_correlation),
            _least(self.repetition, other.repetition),
        )


def _least(one: float | None, other: float | None) -> float | None:
    known = [value for value in (one, other) if value is not None]
    return min(known, default=None)


def window_samples(split: Split, sample_bytes: int, batch: int, seed: int) -> list[int]:
    """Choose the samples that windows go through, a multiple of the batch; with few samples they come again.

    Args:
        split: the test set.
        sample_bytes: size of one sample as fed.
        batch: samples in one inference.
        seed: of the choice.
    """
    fitting = max(1, ARRAY_BYTES // max(1, sample_bytes * batch))
    batches = min(WINDOW_BATCHES, fitting, max(1, len(split) // batch))
    order = np.random.default_rng(seed).permutation(len(split))
    return [int(i) for i in np.resize(order, batches * batch)]


def save_samples(path: Path, split: Split, indices: list[int], preprocess: Preprocess) -> InputStatistics:
    """Make samples ready and write them as one array file, (n, ...)."""
    array = np.ascontiguousarray(preprocess.batch(split, indices))
    np.save(path, array)
    return InputStatistics.of(array, preprocess)


def parts(count: int, sample_bytes: int, batch: int) -> Iterator[list[int]]:
    """Indices of all samples in parts of at most 64 MiB, each but the last a multiple of the batch."""
    size = max(1, ARRAY_BYTES // max(1, sample_bytes * batch)) * batch
    for start in range(0, count, size):
        yield list(range(start, min(start + size, count)))
