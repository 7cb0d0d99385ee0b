"""One part of a data set: samples with labels and digests; its reads can be recorded in a ledger."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from certify.core.data_use.guard import Guard
from certify.core.errors import DataError, UsageError
from certify.core.private_data import DataKey
from certify.data.labels import Groups, Indices, Labels, Targets, samples_digest
from certify.data.permit import Permit
from certify.data.sources import ArraysSource, Fields, Image, ImageSource, Source, Tokens, TokenSource
from certify.data.touches import RAW, Ledger, Watch


class Split:
    """One part of a data set; images are decoded on demand.

    Args:
        source: source of the samples.
        labels: index of the true class of each sample of this split, (n,).
        rows: row of the source for each sample of this split, (n,); all rows in order if None.
        targets: numeric targets that labels index; None if labels are classes.
        groups: group of each sample by column, strings (n,); empty means "not stated". No model is fed with them.
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
        self._whole = source
        self._rows: Labels = np.arange(len(self._labels)) if rows is None else np.asarray(rows, dtype=np.int64)
        if self._labels.ndim != 1 or self._rows.shape != self._labels.shape:
            raise DataError(
                f"The labels of a split must be one per sample, got shape {self._labels.shape} for samples of shape "
                f"{self._rows.shape}."
            )
        if len(self._labels) and self._labels.min() < 0:
            raise DataError(f"The labels of a split must not be negative, got {self._labels.min()}.")
        for name, values in self.groups.items():
            if values.shape != self._labels.shape:
                raise DataError(f"The groups '{name}' of a split must be one per sample, got shape {values.shape}.")

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def labels(self) -> Labels:
        """Index of the true class of each sample, (n,)."""
        self.touch()
        return self._labels

    def label_range(self) -> tuple[int, int]:
        """Smallest and largest label; not recorded as a read, since it is only a check."""
        return int(self._labels.min()), int(self._labels.max())

    def touch(self, samples: int = 0) -> None:
        """Check the use policy, then record in the ledger, if any, that this split was read.

        Args:
            samples: number of samples read; 0 for labels, or for samples kept from an earlier read.

        Raises:
            NotPermittedError: with ``samples`` 0, some record of the split may not be used.
        """
        # Reading single samples already asks permission for each.
        if self._permit is not None and samples == 0:
            self._permit.ask_all()
        if self._watch is not None:
            self._watch.note(samples)

    def watched(self, ledger: Ledger, part: str) -> Split:
        """Return the same split, with reads recorded in a ledger under the name of a part."""
        return self._like(_watch=Watch(ledger, part))

    def guarded(self, guard: Guard, part: str) -> Split:
        """Return the samples of this split that may be used; permission is checked again on every read.

        Args:
            guard: guard of the data.
            part: name of the part, which determines the use of its samples.
        """
        permit = Permit(guard, part, tuple(self.record_ids(guard.use.key)))
        return self._like(_permit=permit).subset(permit.usable())

    @property
    def guard(self) -> Guard | None:
        """Guard that its loaders ask; None if no use policy governs the data."""
        return None if self._permit is None else self._permit.guard

    @property
    def identifiers(self) -> tuple[str, ...]:
        """Keyed identifiers of the samples that its loaders ask about; empty without a use policy."""
        return () if self._permit is None else self._permit.identifiers

    def ask(self, indices: Indices) -> None:
        """Check whether samples may still be used, for loaders that cache samples.

        Raises:
            NotPermittedError: one of them may not.
        """
        if self._permit is not None:
            self._permit.ask(indices)

    def record_ids(self, key: DataKey) -> list[str]:
        """Return the keyed identifiers by which a use policy lists the samples, in order.

        They are those of whole records, so that they stay the same if columns are left out of the inputs.
        """
        return [key.keyed(self._whole.digest(int(row))) for row in self._rows]

    def places(self) -> list[str]:
        """Return where each sample is stored, in order: its file, its line, or its index (from 0) in an array."""
        place = getattr(self._whole, "place", lambda row: f"index {row}")
        return [place(int(row)) for row in self._rows]

    def of_records(self, whole: Split) -> Split:
        """Return the same split, in which use policies identify each sample by that of another split in its row.

        Args:
            whole: whole records, in the same rows; this split's inputs are some of their columns.
        """
        return self._like(_whole=whole._source)

    def keyed(self, key: DataKey) -> Split:
        """Return the same split with keyed identifiers as digests; it no longer gives plain digests."""
        return self if self._key == key else self._like(_key=key)

    @property
    def key(self) -> str | None:
        """Id of the data key of the identifiers; None if digests are plain."""
        return None if self._key is None else self._key.id

    def _like(self, **changed: Any) -> Split:
        other = copy.copy(self)
        vars(other).update(changed)
        return other

    def under(self, mechanism: str) -> Split:
        """Return the same split for the loader of a mechanism, which its reads are recorded under.

        Args:
            mechanism: name of the mechanism in the privacy records, such as ``dp-sgd#0``.

        Raises:
            UsageError: the name is reserved for reads without a mechanism.
        """
        if mechanism == RAW:
            raise UsageError(
                f"The name '{RAW}' is reserved for reads without a mechanism; give the name of the mechanism."
            )
        return self if self._watch is None else self._like(_watch=replace(self._watch, how=mechanism))

    def __repr__(self) -> str:
        return f"<Split of {len(self)} samples>"

    def image(self, i: int) -> Image:
        """Return sample ``i`` as uint8 (H, W, 3), RGB.

        Raises:
            DataError: it cannot be decoded (the message names the file), or the data are not images.
        """
        if self.kind != "image":
            raise DataError(
                f"The contract takes images, but the data are of kind '{self.kind}'; give a contract of that kind."
            )
        self._read(i)
        return cast(ImageSource, self._source).image(int(self._rows[i]))

    def tokens(self, i: int) -> Tokens:
        """Return token ids, mask and segments of sample ``i`` without trailing padding: (3, tokens).

        Raises:
            DataError: the data are not tokens.
        """
        if self.kind != "tokens":
            raise DataError(
                f"The contract takes tokens, but the data are of kind '{self.kind}'; give a contract of that kind."
            )
        self._read(i)
        return cast(TokenSource, self._source).tokens(int(self._rows[i]))

    def arrays(self, i: int) -> Mapping[str, npt.NDArray[Any]]:
        """Return the arrays of sample ``i`` by name.

        Raises:
            DataError: the data are not arrays.
        """
        self.fields  # noqa: B018  data of another kind are refused
        self._read(i)
        return self._source.arrays(int(self._rows[i]))  # type: ignore[attr-defined, no-any-return]

    def _read(self, i: int) -> None:
        """Check permission and record the read, before a sample is read."""
        self.ask((i,))
        self.touch(1)

    @property
    def fields(self) -> Fields:
        """Shape of one sample and NumPy type name of each array.

        Raises:
            DataError: the data are not arrays.
        """
        if not isinstance(self._source, ArraysSource):
            raise DataError(
                f"The contract takes arrays, but the data are of kind '{self.kind}'; give a contract of that kind."
            )
        return self._source.fields

    @property
    def features(self) -> tuple[str, ...]:
        """Column names of the only array; empty if the data name none."""
        return getattr(self._source, "features", ())

    @functools.cached_property  # comparing a source with a protocol takes longer than reading a small sample
    def kind(self) -> Literal["image", "tokens", "arrays"]:
        """Kind of the samples."""
        if isinstance(self._source, ArraysSource):
            return "arrays"
        return "tokens" if isinstance(self._source, TokenSource) else "image"

    @property
    def tokenizer(self) -> str | None:
        """Hex SHA-256 of the tokenizer's file; None if unknown."""
        return self._source.tokenizer if isinstance(self._source, TokenSource) else None

    def size(self, i: int) -> tuple[int, ...]:
        """Return (H, W) of an image, or (tokens,) of a text."""
        return self._source.size(int(self._rows[i]))

    def digest(self, i: int) -> str:
        """Return the hex SHA-256 of file, array (type, shape, values) or tokens; its HMAC if the split is keyed."""
        plain = self._source.digest(int(self._rows[i]))
        return plain if self._key is None else self._key.keyed(plain)

    def digests(self) -> list[str]:
        """Return the digests of all samples, in order."""
        return [self.digest(i) for i in range(len(self))]

    def whole_digest(self) -> str:
        """Return the digest over all samples and labels; see :func:`samples_digest`."""
        return samples_digest(self.digests(), self._labels.tolist())

    def subset(self, indices: Indices) -> Split:
        """Return a split of the samples at ``indices``, in that order; nothing is copied."""
        chosen = np.asarray(indices, dtype=np.int64)
        groups = {name: values[chosen] for name, values in self.groups.items()}
        permit = None if self._permit is None else self._permit.subset(chosen)
        return self._like(_labels=self._labels[chosen], _rows=self._rows[chosen], groups=groups, _permit=permit)

    def grouped(self, groups: Groups) -> Split:
        """Return the same split with group columns; see :func:`certify.data.groups.read_groups`."""
        return self._like(groups=groups)

    def relabelled(self, labels: Indices) -> Split:
        """Return the same samples with other labels, such as the answers of teachers; the old labels are not read.

        Raises:
            DataError: the number of labels is not the number of samples.
        """
        numbers = np.asarray(labels, dtype=np.int64)
        if numbers.shape != self._labels.shape:
            raise DataError(
                f"The labels of a split must be one per sample, got shape {numbers.shape} for samples of shape "
                f"{self._labels.shape}."
            )
        return self._like(_labels=numbers, targets=None)

    def scaled(self, scale: float | None) -> Split:
        """Return the same split with a scale for its numeric targets.

        Raises:
            DataError: labels are classes but a scale is given, or they are numbers and none is given.
        """
        if (self.targets is None) != (scale is None):
            raise DataError(
                "The data hold numeric targets; grade them with --metric regression:SCALE, or give integer labels."
                if scale is None
                else "The metric is for numeric targets, but the data hold classes; give y as floats."
            )
        return self._like(targets=None if self.targets is None else replace(self.targets, scale=scale))
