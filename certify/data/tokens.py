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
"""What inputs take: the tokens, 1 for those that count, and the number of the segment that each stands in."""
DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class TokenPreprocess(Preprocess):
    """How tokenised text is fed to a model, and how its output is read.

    Every sample is filled up at its end to one length: tokens with ``pad_id``, the mask and the segments with 0. None
    is cut: a sample that is too long was tokenised for another model.

    Attributes:
        input_ids: name of the input that takes the tokens.
        output_name: name of the output that is scored.
        length: tokens of each sample as fed.
        vocabulary: number of tokens that the model knows.
        pad_id: token that fills up.
        reading: what the output holds, ``logits`` or ``probabilities``.
        attention_mask: name of the input that takes 1 for a token and 0 for filling, or None where there is none.
        token_type_ids: name of the input that takes the number of the segment, or None where there is none.
        tokenizer: hex SHA-256 of the tokenizer's file, so that text that another one cut is refused; None for unknown.
        dtype: of all inputs: ``int64`` or ``int32``.
        class_map: output column of each class of the data, or None where output i is class i.

    Raises:
        UsageError: a value that is not allowed.
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
            yield "input_ids", f"two inputs have one name ({', '.join(names)}); name each"
        if pad_id >= vocabulary:
            yield "pad_id", f"pad_id {pad_id} lies outside the vocabulary of {vocabulary} tokens, counted from 0"
        if tokenizer is not None and not DIGEST.fullmatch(tokenizer):
            yield "tokenizer", f"tokenizer should be null or 64 hexadecimal digits (SHA-256), found {tokenizer[:60]!r}"

    @property
    def kinds(self) -> tuple[str, ...]:
        """What the inputs of the model take, some of :data:`INPUTS` in their order."""
        return tuple(kind for kind in INPUTS if getattr(self, kind) is not None)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the model's inputs, in the order of :attr:`kinds`."""
        return tuple(str(getattr(self, kind)) for kind in self.kinds)

    def port_shape(self, batch: int) -> tuple[int, int]:
        """(batch, length)."""
        return batch, self.length

    def batch(self, split: Split, indices: Indices) -> npt.NDArray[Any]:
        """Make the samples at ``indices`` ready: (n, inputs, length), or (n, length) for a model of one input.

        Raises:
            DataError: the data are not tokens or of another tokenizer, a sample is too long, or a token is unknown.
        """
        if self.tokenizer is not None and split.tokenizer not in (None, self.tokenizer):
            raise DataError(
                f"The data were tokenised by the tokenizer {str(split.tokenizer)[:12]} and the model takes those of "
                f"{self.tokenizer[:12]} (SHA-256); tokenise the text with the model's own: leanmark tokenize."
            )
        filled = np.zeros((len(indices), 3, self.length), dtype=self.dtype)
        filled[:, 0] = self.pad_id
        for position, i in enumerate(indices):
            tokens = split.tokens(int(i))
            width = tokens.shape[1]
            if width > self.length:
                raise DataError(
                    f"A sample has {width} tokens and the model takes {self.length}; tokenise the text for that length."
                )
            filled[position, :, :width] = tokens
        if filled.size and filled[:, 0].max() >= self.vocabulary:
            raise DataError(
                f"A sample holds token {filled[:, 0].max()} and the model knows {self.vocabulary}, counted from 0; "
                "tokenise the text with the model's own tokenizer."
            )
        return self._fed(filled)

    def _fed(self, samples: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Of tokens, mask and segments, (n, 3, length), those that the model takes."""
        fed = samples[:, [INPUTS.index(kind) for kind in self.kinds]]
        return fed[:, 0] if fed.shape[1] == 1 else fed

    def noise(self, count: int) -> npt.NDArray[Any]:
        """Random tokens, the samples of all lengths; every token stands in the first segment."""
        random = np.random.default_rng(0)
        mask = np.arange(self.length) < random.integers(1, self.length, (count, 1), endpoint=True)
        tokens = np.where(mask, random.integers(0, self.vocabulary, mask.shape), self.pad_id)
        return self._fed(np.stack([tokens, mask, np.zeros_like(tokens)], axis=1).astype(self.dtype))

    def regularity(self, samples: npt.NDArray[Any]) -> dict[str, float]:
        """``repetition``: how many times as often two tokens of the samples are the same as two random ones.

        The chance that two tokens are the same is Simpson's index (Nature 163, 1949), as he estimates it without bias;
        for random tokens it is one over the vocabulary. Samples that come again count once, and tokens that stand in
        every sample, such as the one that begins it, not at all.
        """
        different = np.unique(samples if samples.ndim == 3 else samples[:, None], axis=0)
        tokens = different[:, 0]
        counted = tokens != self.pad_id if self.attention_mask is None else different[:, 1] != 0
        rows = [row[there] for row, there in zip(tokens, counted, strict=True)]
        holding = np.bincount(np.concatenate([np.unique(row) for row in rows]), minlength=self.vocabulary)
        counts = np.bincount(np.concatenate(rows), minlength=self.vocabulary)[holding < len(rows)]
        total = int(counts.sum())
        same = float((counts * (counts - 1)).sum()) / (total * (total - 1)) if total > 1 else 0.0
        return {"repetition": same * self.vocabulary}


@dataclass(frozen=True)
class TokenInput:
    """What a model that takes tokens says of its input.

    Attributes:
        names: of its inputs, some of :data:`INPUTS` in their order.
        vocabulary: number of tokens that it knows.
        pad_id: token that fills up.
        longest: most tokens of a sample that it takes, or None where it does not say.
        tokenizer: hex SHA-256 of its tokenizer's file, or None where there is none.
    """

    names: tuple[str, ...]
    vocabulary: int
    pad_id: int
    longest: int | None = None
    tokenizer: str | None = None

    def contract(self, dataset: Dataset, output_name: str = "output") -> TokenPreprocess:
        """The contract of the model for the samples of a data set, as long as the data's.

        Raises:
            DataError: the data hold no tokens, or more in a sample than the model takes.
        """
        if dataset.test.kind != "tokens":
            raise DataError(
                f"Data '{dataset.name}' holds {dataset.test.kind} and the model takes tokens; make data of text with: "
                "leanmark tokenize."
            )
        (length,) = dataset.input_size
        if self.longest is not None and length > self.longest:
            raise DataError(
                f"Data '{dataset.name}' holds samples of {length} tokens and the model takes at most {self.longest}; "
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
