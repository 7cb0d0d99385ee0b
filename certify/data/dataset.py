"""Data sets as the referee sees them: parts that never share a sample, each sample with a digest."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from certify.core.errors import DataError
from certify.core.group_columns import column_digest
from certify.data.sources import ArraysSource, Fields, Image, ImageSource, Source, Tokens, TokenSource

Labels: TypeAlias = npt.NDArray[np.int64]
Indices: TypeAlias = Sequence[int] | npt.NDArray[np.int64]
Groups: TypeAlias = Mapping[str, npt.NDArray[np.str_]]

MIN_SIDE = 32
"""Pixels; the usual nets halve a picture five times, so smaller ones are enlarged."""
MAX_SMALL_SIDE = 96
"""Pixels; pictures up to this side keep their size, larger ones are brought to ``BIG_SIZE``."""
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
class Targets:
    """Numbers that a model is to predict; a sample's label is the place of its own.

    Attributes:
        values: the different ones, ascending, float64 (m,).
        scale: an answer as far from its number, or further, is worth nothing; None until a metric declares it.
    """

    values: npt.NDArray[np.float64]
    scale: float | None = None

    def digest(self) -> str:
        """Hex SHA-256 of the values."""
        return hashlib.sha256(self.values.astype("<f8").tobytes()).hexdigest()


class Split:
    """One part of a data set, of pictures or of text; pictures are decoded when they are asked for.

    Args:
        source: where the samples come from.
        labels: index of the true class of each sample of this split, (n,).
        rows: row of the source that each sample of this split is, (n,); all rows in order where it is None.
        targets: numbers that labels stand for; None where they stand for classes.
        groups: group of each sample by column, texts (n,); an empty one is not stated. No model is fed with them.
    """

    def __init__(
        self,
        source: Source,
        labels: Indices,
        rows: Indices | None = None,
        targets: Targets | None = None,
        groups: Groups | None = None,
    ) -> None:
        self.targets = targets
        self.groups: Groups = groups or {}
        self.labels: Labels = np.asarray(labels, dtype=np.int64)
        self._source = source
        self._rows: Labels = np.arange(len(self.labels)) if rows is None else np.asarray(rows, dtype=np.int64)
        if self.labels.ndim != 1 or self._rows.shape != self.labels.shape:
            raise DataError(f"A split needs one label a sample, found {self.labels.shape} for {self._rows.shape}.")
        if len(self.labels) and self.labels.min() < 0:
            raise DataError(f"A split needs labels from 0 on, found {self.labels.min()}.")
        for name, values in self.groups.items():
            if values.shape != self.labels.shape:
                raise DataError(f"A split needs one group a sample, found {values.shape} of '{name}'.")

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return f"<Split of {len(self)} samples>"

    def image(self, i: int) -> Image:
        """Sample ``i`` as uint8 (H, W, 3), RGB.

        Raises:
            DataError: it does not decode (the sentence names the file), or the data are not pictures.
        """
        if not isinstance(self._source, ImageSource):
            raise DataError(f"The data are of the kind {self.kind} and the contract makes images; give one that fits.")
        return self._source.image(int(self._rows[i]))

    def tokens(self, i: int) -> Tokens:
        """Tokens, mask and segments of sample ``i`` without filling at its end: (3, tokens).

        Raises:
            DataError: the data are not tokens.
        """
        if not isinstance(self._source, TokenSource):
            raise DataError(f"The data are of the kind {self.kind} and the contract takes tokens; give one that fits.")
        return self._source.tokens(int(self._rows[i]))

    def arrays(self, i: int) -> Mapping[str, npt.NDArray[Any]]:
        """Arrays of sample ``i`` by name.

        Raises:
            DataError: the data are not arrays.
        """
        self.fields  # noqa: B018  data of another kind are refused
        return self._source.arrays(int(self._rows[i]))  # type: ignore[attr-defined, no-any-return]

    @property
    def fields(self) -> Fields:
        """Shape of one sample and numpy name of the type of each array.

        Raises:
            DataError: the data are not arrays.
        """
        if not isinstance(self._source, ArraysSource):
            raise DataError(f"The data are of the kind {self.kind} and the contract takes arrays; give one that fits.")
        return self._source.fields

    @property
    def features(self) -> tuple[str, ...]:
        """Names of the columns of the only array; empty where the data name none."""
        return getattr(self._source, "features", ())

    @property
    def kind(self) -> Literal["image", "tokens", "arrays"]:
        """What the samples are."""
        if isinstance(self._source, ArraysSource):
            return "arrays"
        return "tokens" if isinstance(self._source, TokenSource) else "image"

    @property
    def tokenizer(self) -> str | None:
        """Hex SHA-256 of the file of the tokenizer that made the tokens; None where it is not known."""
        return self._source.tokenizer if isinstance(self._source, TokenSource) else None

    def size(self, i: int) -> tuple[int, ...]:
        """(H, W) of a picture, (tokens,) of a text."""
        return self._source.size(int(self._rows[i]))

    def digest(self, i: int) -> str:
        """Hex SHA-256 of the file's bytes, of type, shape and pixels for arrays, or of the tokens."""
        return self._source.digest(int(self._rows[i]))

    def digests(self) -> list[str]:
        """Digests of all samples, in order."""
        return [self.digest(i) for i in range(len(self))]

    def subset(self, indices: Indices) -> Split:
        """A split of the samples at ``indices``, in that order; nothing is copied."""
        chosen = np.asarray(indices, dtype=np.int64)
        groups = {name: values[chosen] for name, values in self.groups.items()}
        return Split(self._source, self.labels[chosen], self._rows[chosen], self.targets, groups)

    def grouped(self, groups: Groups) -> Split:
        """The same split with columns of groups; see :func:`certify.data.groups.read_groups`."""
        return Split(self._source, self.labels, self._rows, self.targets, groups)

    def scaled(self, scale: float | None) -> Split:
        """The same split, whose numbers are judged on a scale.

        Raises:
            DataError: it holds classes and a scale is given, or numbers and none is.
        """
        if (self.targets is None) != (scale is None):
            raise DataError(
                "The data hold numbers to predict; grade them by --metric regression:SCALE, or give integers."
                if scale is None
                else "The metric is for numbers to predict, and the data hold classes; give y as floats."
            )
        targets = None if self.targets is None else replace(self.targets, scale=scale)
        return Split(self._source, self.labels, self._rows, targets, self.groups)


@dataclass(frozen=True)
class Dataset:
    """A data set for classification, or of numbers to predict (``test.targets``), cut into parts.

    Attributes:
        name: short name for tables and the certificate.
        spec: the spec that loads it again.
        classes: names of the classes; a label is an index into them.
        train: what nets are trained on, or None where only a test is there.
        calibration: what ranges of activations are taken from; carved out of train.
        validation: what choices are made on.
        test: what only the certificate sees.
        input_size: (H, W) that models trained on it here take; (tokens,) for text.
        class_map: output column of an ImageNet-1000 classifier for each class, or None.

    Raises:
        DataError: fewer than two classes, an empty part, a label out of range, or a class map that does not fit.
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

    def __post_init__(self) -> None:
        if len(self.classes) < 2:
            raise DataError(f"Data '{self.name}' has {len(self.classes)} class(es); a classifier needs at least two.")
        for part, split in self.parts.items():
            if len(split) == 0:
                raise DataError(f"Data '{self.name}' has no samples in its {part} part; it needs at least one.")
            low, high = int(split.labels.min()), int(split.labels.max())
            if low < 0 or high >= len(self.classes):
                raise DataError(
                    f"Data '{self.name}' has labels from {low} to {high} in its {part} part; "
                    f"with {len(self.classes)} classes they must lie between 0 and {len(self.classes) - 1}."
                )
        if self.class_map is not None and len(self.class_map) != len(self.classes):
            raise DataError(
                f"Data '{self.name}' maps {len(self.class_map)} classes to outputs and has {len(self.classes)}; "
                "give one output column for each class."
            )

    @property
    def parts(self) -> dict[str, Split]:
        """The parts that are there, by name."""
        named = {"train": self.train, "calibration": self.calibration, "validation": self.validation}
        return {name: split for name, split in {**named, "test": self.test}.items() if split is not None}

    def scaled(self, scale: float | None) -> Dataset:
        """The same data with every part judged on a scale; raises as :meth:`Split.scaled` does."""
        parts: dict[str, Any] = {name: split.scaled(scale) for name, split in self.parts.items()}
        return replace(self, **parts)

    def test_digest(self) -> str:
        """Digest of the test part; see :func:`samples_digest`."""
        return samples_digest(self.test.digests(), self.test.labels.tolist())

    def column_digests(self) -> dict[str, str]:
        """Digest of each column of groups of the test part, bound to :meth:`test_digest`; none without columns."""
        if not self.test.groups:
            return {}
        whole, samples = self.test_digest(), self.test.digests()
        return {name: column_digest(whole, samples, values.tolist()) for name, values in self.test.groups.items()}


def samples_digest(digests: Iterable[str], labels: Iterable[int]) -> str:
    """Hex SHA-256 over the sorted lines ``digest label``; the order of samples does not enter."""
    lines = sorted(f"{digest} {label}\n" for digest, label in zip(digests, labels, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def overlap(dataset: Dataset) -> Mapping[str, int | None]:
    """How many samples of the second part of each pair also stand, bit by bit, in the first.

    Returns:
        Counts by ``first/second`` for all of :data:`PAIRS`; None where one of the two parts is not there.
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
        DataError: two parts share at least one sample; the sentence says how many and names one.
    """
    digests = {name: split.digests() for name, split in dataset.parts.items()}
    for first, second in PAIRS:
        shared = _shared(digests.get(first, []), digests.get(second, []))
        if shared:
            example = shared[0]
            raise DataError(
                f"Data '{dataset.name}': {len(shared)} of {len(digests[second])} {second} samples also stand in "
                f"{first} (for one, {second} sample {example} with digest "
                f"{digests[second][example][:EXAMPLE_DIGITS]}); take them out of one of the two."
            )


def _shared(first: Iterable[str], second: Sequence[str]) -> list[int]:
    known = set(first)
    return [i for i, digest in enumerate(second) if digest in known]


def input_size(splits: Iterable[Split], looked_at: int = 64) -> tuple[int, ...]:
    """Choose the size that models trained on these samples take: (H, W) for images, (tokens,) for text, else a shape.

    Pictures up to 96 pixels keep their size, but for being at least 32 and a multiple of 8; pictures of several small
    sizes are brought to one square; larger ones to 224 x 224. Of text the longest sample counts.

    Args:
        splits: the parts.
        looked_at: how many pictures of each part, evenly spaced, have their size read.
    """
    parts = tuple(splits)
    if any(split.kind == "tokens" for split in parts):
        return (max(split.size(i)[0] for split in parts for i in range(len(split))),)
    if any(split.kind == "arrays" for split in parts):
        return parts[0].size(0) or (1,)
    sizes = {split.size(i) for split in parts for i in {k * len(split) // looked_at for k in range(looked_at)}}
    largest = max(max(size) for size in sizes)
    if largest > MAX_SMALL_SIDE:
        return BIG_SIZE
    height, width = sizes.pop() if len(sizes) == 1 else (largest, largest)
    return _small_side(height), _small_side(width)


def _small_side(side: int) -> int:
    return max(MIN_SIDE, -(-side // SIDE_STEP) * SIDE_STEP)
