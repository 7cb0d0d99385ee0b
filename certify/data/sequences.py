"""Tokenised text in arrays, as npz files and functions of the user hold it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from certify.core.errors import DataError
from certify.data.dataset import Split
from certify.data.sources import Tokens

TOKEN_ARRAYS = ("input_ids", "attention_mask", "token_type_ids", "tokenizer")
"""Arrays of a data set of text beside ``y`` and ``classes``; only the first is always there."""
MAX_TOKEN = (1 << 31) - 1


class TokenArrays:
    """Tokens, mask and segments, each (n, length) int32.

    Args:
        tokens: numbers of the tokens.
        mask: 1 for a token, 0 for filling.
        segments: number of the segment that each token stands in.
        tokenizer: hex SHA-256 of the file of the tokenizer that made them, or None.
    """

    def __init__(self, tokens: Tokens, mask: Tokens, segments: Tokens, tokenizer: str | None) -> None:
        self._arrays = np.stack([tokens, mask, segments], axis=1)
        self._lengths = mask.shape[1] - np.argmax(mask[:, ::-1] != 0, axis=1)
        self.tokenizer = tokenizer

    def tokens(self, row: int) -> Tokens:
        """Tokens, mask and segments of one sample up to its last token, (3, tokens)."""
        kept: Tokens = self._arrays[row, :, : self._lengths[row]]
        return kept

    def size(self, row: int) -> tuple[int]:
        """(number of tokens,)."""
        return (int(self._lengths[row]),)

    def digest(self, row: int) -> str:
        """Hex SHA-256 of what counts in a sample: the tokens and segments where the mask is 1, and the mask."""
        tokens, mask, segments = self.tokens(row)
        content = np.stack([tokens * (mask != 0), mask, segments * (mask != 0)]).astype("<i4")
        return hashlib.sha256(f"tokens {content.shape[1]} ".encode() + content.tobytes()).hexdigest()


def token_split(arrays: Mapping[str, Any], where: str) -> Split:
    """Check arrays of tokens and make a split of them.

    Args:
        arrays: ``input_ids`` (n, length) and the labels ``y`` (n,); maybe ``attention_mask`` and ``token_type_ids`` of
            the tokens' shape, and ``tokenizer``, the hex SHA-256 of the tokenizer's file. Without a mask every token
            counts, without segments all tokens stand in the first.
        where: what an error names, such as the file.

    Raises:
        DataError: a wrong type or shape, a negative value, or a sample in which no token counts.
    """
    tokens = _integers(arrays["input_ids"], "input_ids", where)
    given = {name: _integers(arrays[name], name, where) for name in TOKEN_ARRAYS[1:3] if name in arrays}
    for name, values in given.items():
        if values.shape != tokens.shape:
            raise DataError(
                f"{where}: {name} has shape {values.shape} and input_ids {tokens.shape}; they must be alike."
            )
    mask = given.get("attention_mask", np.ones_like(tokens))
    segments = given.get("token_type_ids", np.zeros_like(tokens))
    if mask.max(initial=0) > 1 or not mask.any(axis=1).all():
        raise DataError(f"{where}: attention_mask should hold 0 and 1, with a 1 at least in each sample.")
    labels = np.asarray(arrays["y"])
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or len(labels) != len(tokens):
        raise DataError(
            f"{where}: y is {labels.dtype} of shape {labels.shape}; give one integer for each of {len(tokens)} samples."
        )
    tokenizer = None if arrays.get("tokenizer") is None else str(arrays["tokenizer"])
    return Split(TokenArrays(tokens, mask, segments, tokenizer), labels.astype(np.int64))


def _integers(given: npt.ArrayLike, name: str, where: str) -> Tokens:
    values = np.asarray(given)
    if not np.issubdtype(values.dtype, np.integer) or values.ndim != 2 or 0 in values.shape:
        raise DataError(
            f"{where}: {name} is {values.dtype} of shape {values.shape}; give integers of shape (samples, tokens)."
        )
    if values.min() < 0 or values.max() > MAX_TOKEN:
        raise DataError(f"{where}: {name} runs from {values.min()} to {values.max()}; give numbers from 0 on.")
    return values.astype(np.int32)
