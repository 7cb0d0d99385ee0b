"""One part of a data set: samples with their labels, each with a digest, whose readings can be watched."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from certify.core.data_use.guard import Guard
from certify.core.errors import DataError, UsageError
from certify.core.private_data import DataKey
from certify.data.permit import Permit
from certify.data.sources import ArraysSource, Fields, Image, ImageSource, Source, Tokens, TokenSource
from certify.data.touches import RAW, Ledger, Watch

Labels: TypeAlias = npt.NDArray[np.int64]
Indices: TypeAlias = Sequence[int] | npt.NDArray[np.int64]
Groups: TypeAlias = Mapping[str, npt.NDArray[np.str_]]


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
        self._watch: Watch | None = None
        self._key: DataKey | None = None
        self._permit: Permit | None = None
        self._labels: Labels = np.asarray(labels, dtype=np.int64)
        self._source = source
        self._rows: Labels = np.arange(len(self._labels)) if rows is None else np.asarray(rows, dtype=np.int64)
        if self._labels.ndim != 1 or self._rows.shape != self._labels.shape:
            raise DataError(f"A split needs one label a sample, found {self._labels.shape} for {self._rows.shape}.")
        if len(self._labels) and self._labels.min() < 0:
            raise DataError(f"A split needs labels from 0 on, found {self._labels.min()}.")
        for name, values in self.groups.items():
            if values.shape != self._labels.shape:
                raise DataError(f"A split needs one group a sample, found {values.shape} of '{name}'.")

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def labels(self) -> Labels:
        """Index of the true class of each sample, (n,)."""
        self.touch()
        return self._labels

    def label_range(self) -> tuple[int, int]:
        """The least and the largest label; no touch, as it is only checked."""
        return int(self._labels.min()), int(self._labels.max())

    def touch(self, samples: int = 0) -> None:
        """Note on the ledger that this split was read, where it is watched, once its use policy permits that.

        Args:
            samples: number of samples that were read; 0 for labels, or for samples that were kept.

        Raises:
            NotPermittedError: a record of it may not be used, where they all are asked for (0).
        """
        if self._permit is not None and samples == 0:
            self._permit.ask_all()
        if self._watch is not None:
            self._watch.note(samples)

    def watched(self, ledger: Ledger, part: str) -> Split:
        """The same split, whose readings are noted on a ledger under the name of a part."""
        return self._like(_watch=Watch(ledger, part))

    def guarded(self, guard: Guard, part: str) -> Split:
        """The samples of this split that may be used, each of which is asked about again when it is read.

        Args:
            guard: of the data.
            part: name of the part, which says what its samples are read for.
        """
        identifiers = tuple(guard.use.key.keyed(self._source.digest(int(row))) for row in self._rows)
        permit = Permit(guard, part, identifiers)
        return self._like(_permit=permit).subset(permit.usable())

    @property
    def guard(self) -> Guard | None:
        """Whom its loaders ask; None where no use policy governs the data."""
        return None if self._permit is None else self._permit.guard

    @property
    def identifiers(self) -> tuple[str, ...]:
        """Keyed identifiers of the samples that its loaders ask about; none where no use policy governs the data."""
        return () if self._permit is None else self._permit.identifiers

    def ask(self, indices: Indices) -> None:
        """Ask whether samples may still be used, for loaders that keep samples which they read before.

        Raises:
            NotPermittedError: one of them may not.
        """
        if self._permit is not None:
            self._permit.ask(indices)

    def keyed(self, key: DataKey) -> Split:
        """The same split, whose digests are keyed identifiers; no other digest of its samples can be had from it."""
        return self if self._key == key else self._like(_key=key)

    @property
    def key(self) -> str | None:
        """Id of the data key that identifiers are made with; None where digests are plain."""
        return None if self._key is None else self._key.id

    def _like(self, **changed: Any) -> Split:
        other = copy.copy(self)
        vars(other).update(changed)
        return other

    def under(self, mechanism: str) -> Split:
        """The same split, as the loader of a mechanism reads it.

        Args:
            mechanism: its name in the privacy records, such as ``dp-sgd#0``.

        Raises:
            UsageError: the name is that of reading without a mechanism.
        """
        if mechanism == RAW:
            raise UsageError(f"'{RAW}' is how data are read without a mechanism; name the mechanism.")
        return self if self._watch is None else self._like(_watch=replace(self._watch, how=mechanism))

    def __repr__(self) -> str:
        return f"<Split of {len(self)} samples>"

    def image(self, i: int) -> Image:
        """Sample ``i`` as uint8 (H, W, 3), RGB.

        Raises:
            DataError: it does not decode (the sentence names the file), or the data are not pictures.
        """
        if not isinstance(self._source, ImageSource):
            raise DataError(f"The data are of the kind {self.kind} and the contract makes images; give one that fits.")
        self._read(i)
        return self._source.image(int(self._rows[i]))

    def tokens(self, i: int) -> Tokens:
        """Tokens, mask and segments of sample ``i`` without filling at its end: (3, tokens).

        Raises:
            DataError: the data are not tokens.
        """
        if not isinstance(self._source, TokenSource):
            raise DataError(f"The data are of the kind {self.kind} and the contract takes tokens; give one that fits.")
        self._read(i)
        return self._source.tokens(int(self._rows[i]))

    def arrays(self, i: int) -> Mapping[str, npt.NDArray[Any]]:
        """Arrays of sample ``i`` by name.

        Raises:
            DataError: the data are not arrays.
        """
        self.fields  # noqa: B018  data of another kind are refused
        self._read(i)
        return self._source.arrays(int(self._rows[i]))  # type: ignore[attr-defined, no-any-return]

    def _read(self, i: int) -> None:
        """Ask and note, before a sample is read."""
        self.ask((i,))
        self.touch(1)

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
        """Hex SHA-256 of the file's bytes, of type, shape and pixels for arrays, or of the tokens; keyed, if it is."""
        plain = self._source.digest(int(self._rows[i]))
        return plain if self._key is None else self._key.keyed(plain)

    def digests(self) -> list[str]:
        """Digests of all samples, in order."""
        return [self.digest(i) for i in range(len(self))]

    def whole_digest(self) -> str:
        """Digest over all samples and labels; see :func:`samples_digest`."""
        return samples_digest(self.digests(), self._labels.tolist())

    def subset(self, indices: Indices) -> Split:
        """A split of the samples at ``indices``, in that order; nothing is copied."""
        chosen = np.asarray(indices, dtype=np.int64)
        groups = {name: values[chosen] for name, values in self.groups.items()}
        permit = None if self._permit is None else self._permit.subset(chosen)
        return self._like(_labels=self._labels[chosen], _rows=self._rows[chosen], groups=groups, _permit=permit)

    def grouped(self, groups: Groups) -> Split:
        """The same split with columns of groups; see :func:`certify.data.groups.read_groups`."""
        return self._like(groups=groups)

    def relabelled(self, labels: Indices) -> Split:
        """The same samples with other labels, such as answers of teachers; the old ones are not read.

        Raises:
            DataError: there is not one label a sample.
        """
        given = np.asarray(labels, dtype=np.int64)
        if given.shape != self._labels.shape:
            raise DataError(f"A split needs one label a sample, found {given.shape} for {self._labels.shape}.")
        return self._like(_labels=given, targets=None)

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
        return self._like(targets=None if self.targets is None else replace(self.targets, scale=scale))


def samples_digest(digests: Iterable[str], labels: Iterable[int]) -> str:
    """Hex SHA-256 over the sorted lines ``digest label``; the order of samples does not enter."""
    lines = sorted(f"{digest} {label}\n" for digest, label in zip(digests, labels, strict=True))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
