"""Labelled texts become data that no tokenizer is needed for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from certify.core.errors import DataError, UsageError
from certify.core.files import sha256_file
from certify.data import load
from compress.cli.tokenize import command
from compress.models.texts import tokenize

tokenizers = pytest.importorskip("tokenizers")

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "book", "a", "the"]
GOOD = "pos\ta good film\nneg\ta bad film\npos\tthe good book\nneg\tthe bad book\n"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder: a tokenizer of ten words that fills up and cuts in its own way, and names of classes."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel({word: k for k, word in enumerate(WORDS)}, "[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_padding(length=20)
    tokenizer.enable_truncation(3)
    path = tmp_path_factory.mktemp("model")
    tokenizer.save(str(path / "tokenizer.json"))
    (path / "config.json").write_text(json.dumps({"id2label": {"1": "neg", "0": "pos"}}))
    return path


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def test_texts_become_arrays_when_they_are_tokenised(folder: Path, tmp_path: Path) -> None:
    (tokens_path,) = tokenize([written(tmp_path / "toy.tsv", GOOD + "pos\tthe good good film\n")], folder, tmp_path, 5)
    assert (tokens_path.samples, tokens_path.cut, tokens_path.classes) == (5, 1, ("pos", "neg"))
    arrays = dict(np.load(tokens_path.path))
    assert arrays["input_ids"].tolist()[0] == [2, 8, 4, 6, 3]
    assert arrays["input_ids"].tolist()[4] == [2, 9, 4, 4, 3]  # the last mark stays where the text is cut
    assert arrays["y"].tolist() == [0, 1, 0, 1, 0]
    assert str(arrays["tokenizer"]) == sha256_file(folder / "tokenizer.json")
    assert arrays["attention_mask"].all()


def test_lines_of_json_are_read_like_lines_of_text(folder: Path, tmp_path: Path) -> None:
    rows = [line.split("\t") for line in GOOD.splitlines()]
    lines = "\n".join(json.dumps({"label": label, "text": text}) for label, text in rows)
    first, second = tokenize(
        [written(tmp_path / "one.tsv", GOOD), written(tmp_path / "two.jsonl", lines)], folder, tmp_path / "out", 8
    )
    one, two = dict(np.load(first.path)), dict(np.load(second.path))
    assert all(np.array_equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize(
    ("labels", "classes", "expected"),
    [
        (("pos", "neg"), None, ("pos", "neg")),  # as the model says
        (("10", "2"), None, tuple(str(k) for k in range(11))),
        (("b", "a"), None, ("a", "b")),
        (("b", "a"), ("b", "a", "c"), ("b", "a", "c")),
    ],
)
def test_classes_are_in_the_order_of_the_models_outputs(
    labels: tuple[str, str], classes: tuple[str, ...] | None, expected: tuple[str, ...], folder: Path, tmp_path: Path
) -> None:
    texts = written(tmp_path / "toy.tsv", "".join(f"{label}\tgood\n" for label in labels))
    (tokens_path,) = tokenize([texts], folder, tmp_path, 8, classes)
    assert tokens_path.classes == expected
    assert np.load(tokens_path.path)["y"].tolist() == [expected.index(label) for label in labels]


@pytest.mark.parametrize(
    ("name", "content", "error", "words"),
    [
        ("toy.txt", GOOD, UsageError, "must be a .tsv or .jsonl file"),
        ("toy.tsv", "", DataError, "contains no texts"),
        ("toy.tsv", GOOD + "pos good\n", DataError, "toy.tsv, line 5: must be a label, a tab and a text"),
        ("toy.jsonl", '{"label": 1}', DataError, "line 1: must be a JSON object with label and text"),
        ("toy.jsonl", "[" * 100_000, DataError, "line 1: must be a JSON object with label and text"),
        ("toy.jsonl", '{"label": true, "text": "a"}', DataError, "label must be a name or a number"),
    ],
)
def test_texts_are_refused_with_their_line_when_they_are_malformed(
    name: str, content: str, error: type[Exception], words: str, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        tokenize([written(tmp_path / name, content)], folder, tmp_path, 8)


def test_tokenize_explains_errors_in_one_sentence(folder: Path, tmp_path: Path) -> None:
    texts = written(tmp_path / "toy.tsv", GOOD)
    with pytest.raises(UsageError, match="the label 'neg', but the classes are pos"):
        tokenize([texts], folder, tmp_path, 8, ("pos",))
    with pytest.raises(UsageError, match="Two text files have the same name"):
        tokenize([texts, tmp_path / "other" / "toy.jsonl"], folder, tmp_path, 8)
    with pytest.raises(DataError, match="give the model's folder"):
        tokenize([texts], tmp_path, tmp_path, 8)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(DataError, match="cannot be used as a tokenizer for 8 tokens"):
        tokenize([texts], tmp_path, tmp_path, 8)


def test_command_says_how_to_use_the_data(folder: Path, tmp_path: Path) -> None:
    train = written(
        tmp_path / "train.tsv", "".join(f"{label}\tfilm{' a' * k}\n" for k in range(40) for label in ("pos", "neg"))
    )
    test = written(tmp_path / "test.tsv", GOOD)
    arguments = [str(train), str(test), "--tokenizer", str(folder), "--out", str(tmp_path / "out"), "--length", "16"]
    result = CliRunner().invoke(command, arguments, catch_exceptions=False)
    spec = result.output.rsplit("--data ", 1)[1].strip()
    assert spec == f"npz:train={tmp_path / 'out' / 'train.npz'},test={tmp_path / 'out' / 'test.npz'}"
    assert "Classes, in the order of the model's outputs: pos, neg" in result.output
    data = load(spec)
    assert (len(data.test), data.input_size, data.classes) == (4, (16,), ("pos", "neg"))
    told = json.loads(CliRunner().invoke(command, [*arguments, "--json"], catch_exceptions=False).output)
    assert [file["samples"] for file in told["files"]] == [80, 4]
