"""The preprocessing contract of a model that takes tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt

from certify.core.errors import DataError
from certify.data.contract import Columns, Count, Index, Length, Name, Reading
from certify.data.dataset import Dataset, Indices, Split
from certify.data.preprocess import Preprocess

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
"""Kinds of inputs: token ids, attention mask and segment ids."""
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class TokenPreprocess(Preprocess):
    """Mapping of tokenised text to a model's inputs, and the meaning of its output.

    Every sample is padded at its end to one length: tokens with ``pad_id``, mask and segments with 0. Samples are never
    truncated: one that is too long was tokenised for another model.

    Attributes:
        input_ids: name of the input for the token ids.
        output_name: name of the scored output.
        length: number of tokens of each padded sample.
        vocabulary: size of the model's vocabulary.
        pad_id: id of the padding token.
        reading: meaning of the output, ``logits`` or ``probabilities``.
        attention_mask: name of the input for the mask (1 for a token, 0 for padding), or None if there is none.
        token_type_ids: name of the input for the segment ids, or None if there is none.
        tokenizer: hex SHA-256 of the tokenizer's file, so that text from another tokenizer is refused; None if unknown.
        dtype: type of all inputs, ``int64`` or ``int32``.
        class_map: output column of each class of the data, or None if output i is class i.

    Raises:
        UsageError: an invalid value.

    Example:
        >>> contract = TokenPreprocess(
        ...     input_ids="input_ids", attention_mask="attention_mask", output_name="logits", length=128,
        ...     vocabulary=30_522, pad_id=0, reading="logits")
        >>> contract.input_names, contract.port_shape(batch=8)
        (('input_ids', 'attention_mask'), (8, 128))
    """

    kind: ClassVar[str] = "tokens"
    input_ids: Name
    output_name: Name
    length: Length
    vocabulary: Count
    pad_id: Index
    reading: Reading
    attention_mask: Name | None = None
    token_type_ids: Name | None = None
    tokenizer: str | None = None
    dtype: Literal["int64", "int32"] = "int64"
    class_map: Columns | None = None

    @staticmethod
    def _problems(checked: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield from Preprocess._problems(checked)
        names = [checked[kind] for kind in INPUTS if checked[kind] is not None]
        pad_id, vocabulary, tokenizer = (checked[key] for key in ("pad_id", "vocabulary", "tokenizer"))
        if len(set(names)) < len(names):
            yield "input_ids", f"two inputs have the same name ({', '.join(names)}); give each its own"
        if pad_id >= vocabulary:
            yield (
                "pad_id",
                f"pad_id must be in [0, {vocabulary - 1}] for a vocabulary of {vocabulary} tokens, got {pad_id}",
            )
        if tokenizer is not None and not DIGEST.fullmatch(tokenizer):
            yield "tokenizer", f"tokenizer must be null or 64 hexadecimal digits (SHA-256), got {tokenizer[:60]!r}"

    @property
    def kinds(self) -> tuple[str, ...]:
        """Kinds of the model's inputs, a subset of :data:`INPUTS` in that order."""
        return tuple(kind for kind in INPUTS if getattr(self, kind) is not None)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the model's inputs, in the order of :attr:`kinds`."""
        return tuple(str(getattr(self, kind)) for kind in self.kinds)

    def port_shape(self, batch: int) -> tuple[int, int]:
        """Return (batch, length)."""
        return batch, self.length

    def batch(self, split: Split, indices: Indices) -> npt.NDArray[Any]:
        """Prepare the samples at ``indices``: (n, inputs, length), or (n, length) for a model of one input.

        Raises:
            DataError: the data are not tokens or come from another tokenizer, a sample is too long, or a token is
                unknown.
        """
        if self.tokenizer is not None and split.tokenizer not in (None, self.tokenizer):
            raise DataError(
                f"The model takes tokens of tokenizer {self.tokenizer[:12]} (SHA-256), but the data were tokenised by "
                f"{str(split.tokenizer)[:12]}; tokenise the text with the model's own tokenizer: leanmark tokenize."
            )
        filled = np.zeros((len(indices), 3, self.length), dtype=self.dtype)
        # The other rows stay zero, because padding is masked and in the first segment.
        filled[:, 0] = self.pad_id
        for position, i in enumerate(indices):
            tokens = split.tokens(int(i))
            width = tokens.shape[1]
            if width > self.length:
                raise DataError(
                    f"The model takes {self.length} tokens, but a sample has {width}; tokenise the text with --length "
                    f"{self.length}."
                )
            filled[position, :, :width] = tokens
        if filled.size and filled[:, 0].max() >= self.vocabulary:
            raise DataError(
                f"The model's vocabulary has {self.vocabulary} tokens, but a sample holds token {filled[:, 0].max()}, "
                "counted from 0; tokenise the text with the model's own tokenizer."
            )
        return self._fed(filled)

    def _fed(self, samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Select the model's inputs from tokens, mask and segments, (n, 3, length)."""
        fed = samples[:, [INPUTS.index(kind) for kind in self.kinds]]
        return fed[:, 0] if fed.shape[1] == 1 else fed

    def noise(self, count: int) -> npt.NDArray[Any]:
        """Return random tokens in samples of all lengths; all tokens are in the first segment."""
        random = np.random.default_rng(0)
        mask = np.arange(self.length) < random.integers(1, self.length, (count, 1), endpoint=True)
        tokens = np.where(mask, random.integers(0, self.vocabulary, mask.shape), self.pad_id)
        return self._fed(np.stack([tokens, mask, np.zeros_like(tokens)], axis=1).astype(self.dtype))

    def regularity(self, samples: npt.NDArray[Any]) -> dict[str, float]:
        """Return ``repetition``: how much more often two tokens of the samples are equal than two random tokens.

        The probability that two tokens are equal is Simpson's index (Nature 163, 1949), by Simpson's unbiased
        estimator; for random tokens it is one over the vocabulary. Repeated samples count once; tokens that occur in
        every sample, such as the start token, do not count.
        """
        # Only distinct rows count, because repeated samples would look like repetition within samples.
        different = np.unique(samples if samples.ndim == 3 else samples[:, None], axis=0)
        tokens = different[:, 0]
        counted = tokens != self.pad_id if self.attention_mask is None else different[:, 1] != 0
        rows = [row[there] for row, there in zip(tokens, counted, strict=True)]
        holding = np.bincount(np.concatenate([np.unique(row) for row in rows]), minlength=self.vocabulary)
        # Tokens that are in every row by design, such as start and end, do not count.
        counts = np.bincount(np.concatenate(rows), minlength=self.vocabulary)[holding < len(rows)]
        total = int(counts.sum())
        same = float((counts * (counts - 1)).sum()) / (total * (total - 1)) if total > 1 else 0.0
        return {"repetition": same * self.vocabulary}


@dataclass(frozen=True)
class TokenInput:
    """Input description of a model that takes tokens.

    Attributes:
        names: names of its inputs, a subset of :data:`INPUTS` in that order.
        vocabulary: size of its vocabulary.
        pad_id: id of the padding token.
        longest: maximum number of tokens of a sample, or None if not stated.
        tokenizer: hex SHA-256 of its tokenizer's file, or None.
    """

    names: tuple[str, ...]
    vocabulary: int
    pad_id: int
    longest: int | None = None
    tokenizer: str | None = None

    def contract(self, dataset: Dataset, output_name: str = "output") -> TokenPreprocess:
        """Return the contract of the model for a data set, with the length of the data's samples.

        Raises:
            DataError: the data hold no tokens, or a sample has more than the model takes.
        """
        if dataset.test.kind != "tokens":
            raise DataError(
                f"The model takes tokens, but data '{dataset.name}' are of kind '{dataset.test.kind}'; convert text "
                "with: leanmark tokenize."
            )
        (length,) = dataset.input_size
        if self.longest is not None and length > self.longest:
            raise DataError(
                f"The model takes at most {self.longest} tokens, but data '{dataset.name}' hold samples of {length}; "
                f"tokenise the text with --length {self.longest}."
            )
        return TokenPreprocess(
            input_ids="input_ids",
            output_name=output_name,
            length=length,
            vocabulary=self.vocabulary,
            pad_id=self.pad_id,
            reading="logits",
            attention_mask="attention_mask" if "attention_mask" in self.names else None,
            token_type_ids="token_type_ids" if "token_type_ids" in self.names else None,
            tokenizer=self.tokenizer,
        )
