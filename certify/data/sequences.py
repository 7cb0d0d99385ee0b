"""Tokenised text in arrays, from npz files or user functions."""

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
"""Arrays of a text data set besides ``y`` and ``classes``; only the first is required."""
MAX_TOKEN = (1 << 31) - 1


class TokenArrays:
    """Token ids, mask and segments, each (n, length) int32.

    Args:
        tokens: token ids.
        mask: 1 for a token, 0 for padding.
        segments: segment id of each token.
        tokenizer: hex SHA-256 of the tokenizer's file, or None.
    """

    def __init__(self, tokens: Tokens, mask: Tokens, segments: Tokens, tokenizer: str | None) -> None:
        self._arrays = np.stack([tokens, mask, segments], axis=1)
        # Searched from the end, because a mask may have gaps.
        self._lengths = mask.shape[1] - np.argmax(mask[:, ::-1] != 0, axis=1)
        self.tokenizer = tokenizer

    def tokens(self, row: int) -> Tokens:
        """Return token ids, mask and segments of one sample up to its last token, (3, tokens)."""
        tokens: Tokens = self._arrays[row, :, : self._lengths[row]]
        return tokens

    def size(self, row: int) -> tuple[int]:
        """Return (number of tokens,)."""
        return (int(self._lengths[row]),)

    def digest(self, row: int) -> str:
        """Return the hex SHA-256 of the mask, and of tokens and segments where the mask is 1."""
        tokens, mask, segments = self.tokens(row)
        # What is masked does not reach the model, so it must not change the digest.
        content = np.stack([tokens * (mask != 0), mask, segments * (mask != 0)]).astype("<i4")
        return hashlib.sha256(f"tokens {content.shape[1]} ".encode() + content.tobytes()).hexdigest()


def token_split(arrays: Mapping[str, Any], where: str) -> Split:
    """Check arrays of tokens and make a split from them.

    Args:
        arrays: ``input_ids`` (n, length) and the labels ``y`` (n,); optionally ``attention_mask`` and
            ``token_type_ids`` of the same shape, and ``tokenizer``, the hex SHA-256 of the tokenizer's file. The
            default mask is all ones, the default segments are all zeros.
        where: name used in errors, such as the file.

    Raises:
        DataError: wrong type or shape, a negative value, or a sample without unmasked tokens.
    """
    tokens = _integers(arrays["input_ids"], "input_ids", where)
    fields = {name: _integers(arrays[name], name, where) for name in TOKEN_ARRAYS[1:3] if name in arrays}
    for name, values in fields.items():
        if values.shape != tokens.shape:
            raise DataError(f"{where}: {name} must have the shape of input_ids {tokens.shape}, got {values.shape}.")
    mask = fields.get("attention_mask", np.ones_like(tokens))
    segments = fields.get("token_type_ids", np.zeros_like(tokens))
    if mask.max(initial=0) > 1 or not mask.any(axis=1).all():
        raise DataError(f"{where}: attention_mask must hold 0 and 1 only, with at least one 1 in each sample.")
    labels = np.asarray(arrays["y"])
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer) or len(labels) != len(tokens):
        raise DataError(
            f"{where}: y must hold one integer for each of {len(tokens)} samples, got {labels.dtype} of shape "
            f"{labels.shape}."
        )
    tokenizer = None if arrays.get("tokenizer") is None else str(arrays["tokenizer"])
    return Split(TokenArrays(tokens, mask, segments, tokenizer), labels.astype(np.int64))


def _integers(tokens: npt.ArrayLike, name: str, where: str) -> Tokens:
    values = np.asarray(tokens)
    if not np.issubdtype(values.dtype, np.integer) or values.ndim != 2 or 0 in values.shape:
        raise DataError(
            f"{where}: {name} must hold integers of shape (samples, tokens), got {values.dtype} of shape "
            f"{values.shape}."
        )
    if values.min() < 0 or values.max() > MAX_TOKEN:
        raise DataError(
            f"{where}: {name} must not be negative and must fit into 32 bits, got {values.min()} to {values.max()}."
        )
    return values.astype(np.int32)
