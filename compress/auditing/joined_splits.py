"""Samples of several splits as one split; each sample is still read through its own split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from certify.core.errors import DataError
from certify.data import Split
from certify.data.sources import Fields, Image, Tokens


class _Joined:
    """Rows of several splits, one after the other; reading a row checks permission and is recorded as in its split."""

    def __init__(self, splits: Sequence[Split]) -> None:
        self._splits = tuple(splits)
        self._starts = np.cumsum([0, *map(len, splits)])

    def _of(self, row: int) -> tuple[Split, int]:
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self._splits[number], row - int(self._starts[number])

    def size(self, row: int) -> tuple[int, ...]:
        split, i = self._of(row)
        return split.size(i)

    def digest(self, row: int) -> str:
        split, i = self._of(row)
        return split.digest(i)


class _JoinedImages(_Joined):
    def image(self, row: int) -> Image:
        split, i = self._of(row)
        return split.image(i)


class _JoinedTokens(_Joined):
    def __init__(self, splits: Sequence[Split]) -> None:
        super().__init__(splits)
        self.tokenizer = splits[0].tokenizer

    def tokens(self, row: int) -> Tokens:
        split, i = self._of(row)
        return split.tokens(i)


class _JoinedArrays(_Joined):
    def __init__(self, splits: Sequence[Split]) -> None:
        super().__init__(splits)
        self.fields: Fields = splits[0].fields

    def arrays(self, row: int) -> Mapping[str, npt.NDArray[Any]]:
        split, i = self._of(row)
        return split.arrays(i)


_KINDS = {"image": _JoinedImages, "tokens": _JoinedTokens, "arrays": _JoinedArrays}


def join(*splits: Split) -> Split:
    """Return all samples of several splits as one split, in order; nothing is copied.

    Group columns that all of them have are kept.

    Args:
        splits: at least one, all of the same kind.

    Raises:
        DataError: the kinds differ, or the data hold numeric targets.

    Example:
        >>> from certify.data import array_split
        >>> one = array_split(np.zeros((2, 8, 8), np.uint8), [0, 1], "one")
        >>> join(one, one.subset([1])).labels.tolist()
        [0, 1, 1]
    """
    kinds = {split.kind for split in splits}
    if len(kinds) > 1:
        raise DataError(f"Samples of the kinds {' and '.join(sorted(kinds))} cannot be attacked together.")
    if any(split.targets is not None for split in splits):
        raise DataError("The data hold numbers to predict; the audit is of classifiers.")
    labels = np.concatenate([split.labels for split in splits])
    shared = [name for name in splits[0].groups if all(name in split.groups for split in splits)]
    groups = {name: np.concatenate([split.groups[name] for split in splits]) for name in shared}
    return Split(_KINDS[kinds.pop()](splits), labels, groups=groups)
