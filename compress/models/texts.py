"""Labelled texts, cut into the tokens of a model and written as a data set that needs no tokenizer any more."""

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
        samples: texts in it.
        cut: texts that were longer than a sample.
        classes: names of the classes, in the order of their labels.
    """

    path: Path
    samples: int
    cut: int
    classes: tuple[str, ...]


def tokenize(
    texts: Sequence[Path], folder: Path, out: Path, length: int, classes: Sequence[str] | None = None
) -> list[TokenizedTexts]:
    """Cut labelled texts into tokens and write one npz file for each file of texts.

    Args:
        texts: files, ``.tsv`` (``label<TAB>text`` a line) or ``.jsonl`` (an object with ``label`` and ``text`` a line).
        folder: of the model, with ``tokenizer.json``; the names of its classes in ``config.json`` order the labels.
        out: folder for the files, each named like its texts.
        length: tokens of a sample at most; longer texts are cut, as the tokenizer cuts them.
        classes: names of the classes in the order of the model's outputs, instead of those that the folder says.

    Raises:
        MissingExtra: tokenizers is not installed.
        UsageError: texts of another kind, two files of one name, or a label that is not a class.
        DataError: a file can't be read.
    """
    if len({path.stem for path in texts}) < len(texts):
        raise UsageError("Two files of texts have one name, and so would the data made of them; rename one.")
    read = {path: list(_read(path)) for path in texts}
    labels = {label for rows in read.values() for label, _ in rows}
    names = tuple(classes) if classes is not None else _classes(labels, folder)
    if unknown := sorted(labels - set(names)):
        raise UsageError(f"The texts have the label '{unknown[0]}', which is none of the classes {', '.join(names)}.")
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
        written.append(TokenizedTexts(target, len(rows), sum(bool(one.overflowing) for one in encoded), names))
    return written


def _arrays(encoded: Sequence[Encoding]) -> dict[str, Any]:
    """Tokens, mask and segments (n, longest), filled up with 0."""
    longest = max(len(one.ids) for one in encoded)
    arrays = {name: np.zeros((len(encoded), longest), np.int32) for name in ("input_ids", "token_type_ids")}
    arrays["attention_mask"] = np.zeros((len(encoded), longest), np.uint8)
    for row, one in enumerate(encoded):
        width = len(one.ids)
        arrays["input_ids"][row, :width] = one.ids
        arrays["token_type_ids"][row, :width] = one.type_ids
        arrays["attention_mask"][row, :width] = one.attention_mask
    return arrays


def _tokenizer(folder: Path, length: int) -> Tokenizer:
    if importlib.util.find_spec("tokenizers") is None:
        raise MissingExtra("Cutting text into tokens", "transformers")
    from tokenizers import Tokenizer

    path = folder / TOKENIZER
    if not path.is_file():
        raise DataError(f"{path}: there is no such file; give the model's folder, or save its tokenizer in that form.")
    try:
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_padding()
        tokenizer.enable_truncation(length)
    except Exception as error:
        if type(error) is not Exception:  # the library raises nothing more special for what it can't use
            raise
        raise DataError(f"{path}: can't be used as a tokenizer for {length} tokens ({error}).") from error
    return tokenizer


def _classes(labels: set[str], folder: Path) -> tuple[str, ...]:
    """The model's names of classes where they are those of the texts, else the texts' own, in order."""
    try:
        named = json.loads((folder / CONFIG).read_bytes()).get("id2label") or {}
        own = tuple(str(named[key]) for key in sorted(named, key=int))
    except (OSError, ValueError, AttributeError, TypeError):
        own = ()  # a tokenizer may well come without a model
    if labels <= set(own):
        return own
    numbers = all(label.isdecimal() for label in labels)
    return tuple(str(k) for k in range(max(map(int, labels)) + 1)) if numbers else tuple(sorted(labels))


def _read(path: Path) -> Iterator[tuple[str, str]]:
    """(label, text) of each line.

    Raises:
        UsageError: a file of another kind.
        DataError: it can't be read, holds no texts, or a line is malformed.
    """
    if path.suffix not in KINDS:
        raise UsageError(f"{path}: texts come as {' or '.join(KINDS)}; write label, a tab and the text on each line.")
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: can't be read as text in UTF-8 ({error}).") from error
    if not any(line.strip() for line in lines):
        raise DataError(f"{path}: holds no texts.")
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield _row(line, path.suffix, f"{path}, line {number}")


def _row(line: str, kind: str, where: str) -> tuple[str, str]:
    if kind == ".tsv":
        label, tab, text = line.partition("\t")
        if not (label.strip() and tab and text.strip()):
            raise DataError(f"{where}: is not a label, a tab and a text.")
        return label.strip(), text.strip()
    try:
        row = json.loads(line)
        label, text = row["label"], row["text"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{where}: is not a JSON object with label and text.") from error
    if not isinstance(text, str) or not text.strip() or not isinstance(label, str | int) or isinstance(label, bool):
        raise DataError(f"{where}: label should be a name or a number and text a text.")
    return str(label), text.strip()
