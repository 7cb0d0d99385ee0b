"""Altered images of a split, made on demand."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from certify.core.errors import DataError
from certify.data.dataset import Indices, Split
from certify.data.sources import Image

Alter = Callable[[int, Image], Image]
"""(index in the altered split, image uint8 (H, W, 3)) -> image of the same size."""
STRESS = "stress"


class AlteredSource:
    """A source that alters each sample of a split.

    Args:
        split: split of images.
        alter: the alteration, called for each sample.
    """

    def __init__(self, split: Split, alter: Alter) -> None:
        self._split = split
        self._alter = alter

    def image(self, row: int) -> Image:
        """Return the altered image, uint8 (H, W, 3)."""
        return self._alter(row, self._split.image(row))

    def size(self, row: int) -> tuple[int, ...]:
        """Return (H, W), unchanged."""
        return self._split.size(row)

    def digest(self, row: int) -> str:
        """Return the hex SHA-256 of the altered values."""
        return hashlib.sha256(self.image(row).tobytes()).hexdigest()


def altered_split(split: Split, indices: Indices, alter: Alter) -> Split:
    """Return the samples at ``indices``, in that order, each altered.

    Raises:
        DataError: the samples are not images.
    """
    require_images(split)
    chosen = split.subset(indices)
    return Split(AlteredSource(chosen, alter), chosen.labels)


class _Rendered:
    """Images that were rendered once and are kept in memory."""

    def __init__(self, images: Sequence[Image]) -> None:
        self._images = images

    def image(self, row: int) -> Image:
        return self._images[row]

    def size(self, row: int) -> tuple[int, ...]:
        return self._images[row].shape[:2]

    def digest(self, row: int) -> str:
        return hashlib.sha256(self._images[row].tobytes()).hexdigest()


def in_memory(split: Split) -> Split:
    """Return the same samples, rendered once and kept in memory, for a split that several models read."""
    return Split(_Rendered([split.image(i) for i in range(len(split))]), split.labels)


def require_images(split: Split) -> None:
    """Refuse samples that are not images with class labels.

    Raises:
        DataError: the samples are tokens or arrays, or the targets are numbers.
    """
    if split.kind != "image" or split.targets is not None:
        found = "numeric targets" if split.targets is not None else split.kind
        raise DataError(
            f"Robustness is assessed on images with class labels, but the data hold {found}; use image data."
        )


def stress_order(digests: Sequence[str], test_digest: str) -> list[int]:
    """Return the indices of the distinct samples in the order of the stress tests, which nobody can choose.

    The order follows from the samples alone, so a maker who stresses the first ``n`` cannot pick easy ones.

    Args:
        digests: digests of the test samples.
        test_digest: digest of the test part.
    """
    first: dict[str, int] = {}
    for place, digest in enumerate(digests):
        first.setdefault(digest, place)
    # Unlike other orders, this one does not depend on the order in which the samples are listed.
    keys = {digest: hashlib.sha256(f"{STRESS}/{test_digest}/{digest}".encode()).digest() for digest in first}
    return [first[digest] for digest in sorted(first, key=keys.__getitem__)]
