"""Sources of the samples of a data set: images, tokens or named arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

Image: TypeAlias = npt.NDArray[np.uint8]
Tokens: TypeAlias = npt.NDArray[np.int32]
Fields: TypeAlias = Mapping[str, tuple[tuple[int, ...], str]]
"""Shape of one sample and NumPy type name of each array, by its name."""


class Source(Protocol):
    """A source of samples, shared by all splits that are made from it."""

    def size(self, row: int) -> tuple[int, ...]:
        """Return (H, W) of an image, without decoding it if possible, or (tokens,) of a text."""

    def digest(self, row: int) -> str:
        """Return the hex SHA-256 that identifies one sample; equal for equal bytes."""


@runtime_checkable
class ImageSource(Source, Protocol):
    """A source of images."""

    def image(self, row: int) -> Image:
        """Decode one sample to uint8 (H, W, 3), RGB; grey images are repeated to three channels."""


@runtime_checkable
class TokenSource(Source, Protocol):
    """A source of tokenised text."""

    tokenizer: str | None
    """Hex SHA-256 of the tokenizer's file; None if unknown."""

    def tokens(self, row: int) -> Tokens:
        """Return one sample without trailing padding: token ids, mask and segments, (3, tokens)."""


@runtime_checkable
class ArraysSource(Source, Protocol):
    """A source of named arrays."""

    fields: Fields
    """Shape of one sample and NumPy type name of each array."""

    def arrays(self, row: int) -> Mapping[str, npt.NDArray[Any]]:
        """Return the arrays of one sample, by name."""
