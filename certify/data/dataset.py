"""Data sets: disjoint parts whose samples each have a digest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from certify.core.errors import DataError
from certify.core.group_columns import column_digest
from certify.core.private_data import DataKey
from certify.data.labels import Groups, Indices, Labels, Targets, samples_digest
from certify.data.split import Split
from certify.data.touches import Ledger

__all__ = [
    "Dataset",
    "Groups",
    "Indices",
    "Labels",
    "Split",
    "Targets",
    "input_size",
    "overlap",
    "require_separate",
    "samples_digest",
]

MIN_SIDE = 32
"""Pixels; common networks halve an image five times, so smaller images are enlarged."""
MAX_SMALL_SIDE = 96
"""Pixels; images up to this side keep their size, larger ones are resized to ``BIG_SIZE``."""
BIG_SIZE = (224, 224)
SIDE_STEP = 8
EXAMPLE_DIGITS = 12

PAIRS = (
    ("train", "calibration"),
    ("train", "validation"),
    ("calibration", "validation"),
    ("train", "test"),
    ("calibration", "test"),
    ("validation", "test"),
)
"""Parts that must not share a sample, in the order in which :func:`overlap` names them."""


@dataclass(frozen=True)
class Dataset:
    """A data set for classification or regression (``test.targets``), divided into parts.

    Attributes:
        name: short name for tables and the certificate.
        spec: specification that loads it.
        classes: names of the classes; a label is an index into them.
        train: training part, or None if there is only a test part.
        calibration: samples for the ranges of activations, carved out of train.
        validation: samples on which choices are made.
        test: samples that only certification uses.
        input_size: (H, W) of the input of models trained on it here; (tokens,) for text.
        class_map: for each class its output column in an ImageNet-1000 classifier, or None.
        set_aside: parts that were taken at random from given samples, which a trained model may have seen.

    Raises:
        DataError: fewer than two classes, an empty part, a label out of range, or a class map of the wrong length.

    Example:
        >>> import numpy as np
        >>> from certify.data import load
        >>> images, labels = np.zeros((4, 28, 28), np.uint8), [0, 1, 2, 0]
        >>> data = load({"test": (images, labels)})
        >>> data.classes, data.input_size
        (('0', '1', '2'), (32, 32))
    """

    name: str
    spec: str
    classes: tuple[str, ...]
    train: Split | None
    calibration: Split | None
    validation: Split | None
    test: Split
    input_size: tuple[int, ...]
    class_map: tuple[int, ...] | None = None
    set_aside: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        # A single class is always answered correctly.
        if len(self.classes) < 2:
            raise DataError(f"The classes of data '{self.name}' must be at least 2, got {len(self.classes)}.")
        for part, split in self.parts.items():
            if len(split) == 0:
                raise DataError(f"The {part} part of data '{self.name}' must have at least one sample, got none.")
            low, high = split.label_range()
            if low < 0 or high >= len(self.classes):
                raise DataError(
                    f"The labels of the {part} part of data '{self.name}' must be in [0, {len(self.classes) - 1}] for "
                    f"{len(self.classes)} classes, got {low} to {high}."
                )
        if self.class_map is not None and len(self.class_map) != len(self.classes):
            raise DataError(
                f"The class map of data '{self.name}' must have one output column for each of its {len(self.classes)} "
                f"classes, got {len(self.class_map)}."
            )

    @property
    def parts(self) -> dict[str, Split]:
        """The existing parts, by name."""
        named = {"train": self.train, "calibration": self.calibration, "validation": self.validation}
        return {name: split for name, split in {**named, "test": self.test}.items() if split is not None}

    def scaled(self, scale: float | None) -> Dataset:
        """Return the same data with a regression scale for every part; see :meth:`Split.scaled`."""
        parts: dict[str, Any] = {name: split.scaled(scale) for name, split in self.parts.items()}
        return replace(self, **parts)

    def watched(self, ledger: Ledger, whose: str = "") -> Dataset:
        """Return the same data, with every read of every part recorded in a ledger.

        Args:
            ledger: ledger that records the reads.
            whose: specification of the data if they are not the job's own; parts are then named ``train of SPEC``.
        """
        of = f" of {whose}" if whose else ""
        parts: dict[str, Any] = {name: split.watched(ledger, f"{name}{of}") for name, split in self.parts.items()}
        return replace(self, **parts)

    def keyed(self, key: DataKey) -> Dataset:
        """Return the same data, with keyed identifiers in place of digests; see :mod:`certify.core.private_data`."""
        parts: dict[str, Any] = {name: split.keyed(key) for name, split in self.parts.items()}
        return replace(self, **parts)

    def test_digest(self) -> str:
        """Return the digest of the test part; see :meth:`Split.whole_digest`."""
        return self.test.whole_digest()

    def column_digests(self) -> dict[str, str]:
        """Return the digest of each group column of the test part, bound to :meth:`test_digest`, by name."""
        if not self.test.groups:
            return {}
        whole, samples = self.test_digest(), self.test.digests()
        return {name: column_digest(whole, samples, values.tolist()) for name, values in self.test.groups.items()}


def overlap(dataset: Dataset) -> Mapping[str, int | None]:
    """Count the samples of the second part of each pair that also occur, bit for bit, in the first.

    Returns:
        Counts by ``first/second`` for all of :data:`PAIRS`; None if one of the two parts is missing.
    """
    digests = {name: split.digests() for name, split in dataset.parts.items()}
    return {
        f"{first}/{second}": len(_shared(digests[first], digests[second]))
        if first in digests and second in digests
        else None
        for first, second in PAIRS
    }


def require_separate(dataset: Dataset) -> None:
    """Refuse a data set whose parts share samples.

    Raises:
        DataError: two parts share at least one sample; the message says how many and names one.
    """
    digests = {name: split.digests() for name, split in dataset.parts.items()}
    for first, second in PAIRS:
        shared = _shared(digests.get(first, []), digests.get(second, []))
        if shared:
            example = shared[0]
            raise DataError(
                f"Data '{dataset.name}': {len(shared)} of {len(digests[second])} {second} samples also occur in "
                f"{first}, for example {second} sample {example}, digest {digests[second][example][:EXAMPLE_DIGITS]}; "
                "remove them from one of the two."
            )


def _shared(first: Iterable[str], second: Sequence[str]) -> list[int]:
    known = set(first)
    return [i for i, digest in enumerate(second) if digest in known]


def input_size(splits: Iterable[Split], inspected: int = 64) -> tuple[int, ...]:
    """Choose the input size of models trained on these samples: (H, W) for images, (tokens,) for text, else a shape.

    Images up to 96 pixels keep their size, rounded to at least 32 and a multiple of 8; small images of several sizes
    are resized to one square; larger ones to 224 x 224. For text, the longest sample counts.

    Args:
        splits: the parts.
        inspected: number of evenly spaced images of each part whose size is read.
    """
    parts = tuple(splits)
    if any(split.kind == "tokens" for split in parts):
        return (max(split.size(i)[0] for split in parts for i in range(len(split))),)
    if any(split.kind == "arrays" for split in parts):
        return parts[0].size(0) or (1,)
    # Evenly spaced, because the first images of a folder may all be of one class.
    sizes = {split.size(i) for split in parts for i in {k * len(split) // inspected for k in range(inspected)}}
    largest = max(max(size) for size in sizes)
    if largest > MAX_SMALL_SIDE:
        return BIG_SIZE
    height, width = sizes.pop() if len(sizes) == 1 else (largest, largest)
    return _small_side(height), _small_side(width)


def _small_side(side: int) -> int:
    return max(MIN_SIDE, -(-side // SIDE_STEP) * SIDE_STEP)
