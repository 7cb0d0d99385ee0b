"""What the samples of a data set come from: images, tokens, or named arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

Image: TypeAlias = npt.NDArray[np.uint8]
Tokens: TypeAlias = npt.NDArray[np.int32]
Fields: TypeAlias = Mapping[str, tuple[tuple[int, ...], str]]
"""Shape of one sample and numpy name of the type of each array, by its name."""


class Source(Protocol):
    """Where samples come from; shared by all splits that are cut from it."""

    def size(self, row: int) -> tuple[int, ...]:
        """(H, W) of a picture, without decoding it where that can be had; (tokens,) of a text."""

    def digest(self, row: int) -> str:
        """Hex SHA-256 that identifies one sample; the same for the same bytes."""


@runtime_checkable
class ImageSource(Source, Protocol):
    """A source of pictures."""

    def image(self, row: int) -> Image:
        """Decode one sample: uint8 (H, W, 3), RGB; grey pictures are repeated to three channels."""


@runtime_checkable
class TokenSource(Source, Protocol):
    """A source of tokenised text."""

    tokenizer: str | None
    """Hex SHA-256 of the file of the tokenizer that made the tokens; None where it is not known."""

    def tokens(self, row: int) -> Tokens:
        """One sample without filling at its end: tokens, mask and segments, (3, tokens)."""


@runtime_checkable
class ArraysSource(Source, Protocol):
    """A source of named arrays."""

    fields: Fields
    """Shape of one sample and numpy name of the type of each array."""

    def arrays(self, row: int) -> Mapping[str, npt.NDArray[Any]]:
        """One sample, by name."""
