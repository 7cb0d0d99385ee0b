"""Labelled texts, split into the tokens of a model and written as a data set that no longer needs the tokenizer."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from certify.core import files
from certify.core.errors import DataError, MissingExtra, UsageError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

TOKENIZER, CONFIG = "tokenizer.json", "config.json"
KINDS = (".tsv", ".jsonl")


@dataclass(frozen=True)
class TokenizedTexts:
    """A data set that was written.

    Attributes:
        path: npz file, for the data spec ``npz:PATH``.
        samples: number of texts in it.
        cut: number of texts that were truncated.
        classes: names of the classes, in the order of their labels.
    """

    path: Path
    samples: int
    cut: int
    classes: tuple[str, ...]


def tokenize(
    texts: Sequence[Path], folder: Path, out: Path, length: int, classes: Sequence[str] | None = None
) -> list[TokenizedTexts]:
    """Split labelled texts into tokens and write one npz file for each text file.

    Args:
        texts: files, ``.tsv`` (lines of ``label<TAB>text``) or ``.jsonl`` (lines of objects with ``label`` and
            ``text``).
        folder: model folder with ``tokenizer.json``; the class names in ``config.json`` order the labels.
        out: output folder; each file is named like its texts.
        length: maximum number of tokens per sample; longer texts are truncated by the tokenizer.
        classes: names of the classes in the order of the model's outputs, instead of those in the folder.

    Raises:
        MissingExtra: tokenizers is not installed.
        UsageError: a file is of another kind, two files have the same name, or a label is not a class.
        DataError: a file cannot be read.
    """
    if len({path.stem for path in texts}) < len(texts):
        raise UsageError("Two text files have the same name, and so would their data; rename one.")
    read = {path: list(_read(path)) for path in texts}
    labels = {label for rows in read.values() for label, _ in rows}
    names = tuple(classes) if classes is not None else _classes(labels, folder)
    if unknown := sorted(labels - set(names)):
        raise UsageError(f"The texts have the label '{unknown[0]}', but the classes are {', '.join(names)}.")
    tokenizer = _tokenizer(folder, length)
    digest = files.sha256_file(folder / TOKENIZER)
    written = []
    for path, rows in read.items():
        encoded = tokenizer.encode_batch([text for _, text in rows])
        arrays = _arrays(encoded)
        target = out / f"{path.stem}.npz"
        with files.replacing(target) as beside, beside.open("wb") as stream:
            y = np.array([names.index(label) for label, _ in rows])
            np.savez_compressed(stream, **arrays, y=y, classes=np.array(names), tokenizer=np.array(digest))
        written.append(
            TokenizedTexts(target, len(rows), sum(bool(encoding.overflowing) for encoding in encoded), names)
        )
    return written


def _arrays(encoded: Sequence[Encoding]) -> dict[str, Any]:
    """Return tokens, mask and segments (n, longest), padded with 0."""
    longest = max(len(encoding.ids) for encoding in encoded)
    arrays = {name: np.zeros((len(encoded), longest), np.int32) for name in ("input_ids", "token_type_ids")}
    arrays["attention_mask"] = np.zeros((len(encoded), longest), np.uint8)
    for row, encoding in enumerate(encoded):
        width = len(encoding.ids)
        arrays["input_ids"][row, :width] = encoding.ids
        arrays["token_type_ids"][row, :width] = encoding.type_ids
        arrays["attention_mask"][row, :width] = encoding.attention_mask
    return arrays


def _tokenizer(folder: Path, length: int) -> Tokenizer:
    if importlib.util.find_spec("tokenizers") is None:
        raise MissingExtra("Tokenizing texts", "transformers")
    from tokenizers import Tokenizer

    path = folder / TOKENIZER
    if not path.is_file():
        raise DataError(f"{path}: file not found; give the model's folder, or save its tokenizer in that form.")
    try:
        tokenizer = Tokenizer.from_file(str(path))
        # The file may store its own padding, but all texts are padded alike below.
        tokenizer.no_padding()
        tokenizer.enable_truncation(length)
    except Exception as error:
        if type(error) is not Exception:  # the library raises a bare Exception for files that it cannot use
            raise
        raise DataError(f"{path} cannot be used as a tokenizer for {length} tokens ({error}).") from error
    return tokenizer


def _classes(labels: set[str], folder: Path) -> tuple[str, ...]:
    """Return the model's class names if they cover the texts' labels, else the texts' own, in order."""
    try:
        named = json.loads((folder / CONFIG).read_bytes()).get("id2label") or {}
        own = tuple(str(named[key]) for key in sorted(named, key=int))
    except (OSError, ValueError, RecursionError, AttributeError, TypeError):
        own = ()  # a tokenizer may come without a model
    if labels <= set(own):
        return own
    numbers = all(label.isdecimal() for label in labels)
    return tuple(str(k) for k in range(max(map(int, labels)) + 1)) if numbers else tuple(sorted(labels))


def _read(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (label, text) of each line.

    Raises:
        UsageError: the file is of another kind.
        DataError: it cannot be read, holds no texts, or has a malformed line.
    """
    if path.suffix not in KINDS:
        raise UsageError(f"{path} must be a {' or '.join(KINDS)} file; write label, a tab and the text on each line.")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as UTF-8 text ({error}).") from error
    if not any(line.strip() for line in lines):
        raise DataError(f"{path}: contains no texts.")
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _row(line, path.suffix, f"{path}, line {number}")


def _row(line: str, kind: str, where: str) -> tuple[str, str]:
    if kind == ".tsv":
        label, tab, text = line.partition("\t")
        if not (label.strip() and tab and text.strip()):
            raise DataError(f"{where}: must be a label, a tab and a text.")
        return label.strip(), text.strip()
    try:
        row = json.loads(line)
        label, text = row["label"], row["text"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise DataError(f"{where}: must be a JSON object with label and text.") from error
    if not isinstance(text, str) or not text.strip() or not isinstance(label, str | int) or isinstance(label, bool):
        raise DataError(f"{where}: label must be a name or a number, and text a non-empty string.")
    return str(label), text.strip()
