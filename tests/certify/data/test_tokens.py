"""Tokenised text: its contract, its arrays, and what becomes of a sample."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.core.errors import DataError, UsageError
from certify.core.input_mapping import by_input
from certify.data import Dataset, Preprocess, TokenInput, TokenPreprocess, default_preprocess, load, overlap
from certify.data.arrays import array_split
from certify.data.own_data import from_mapping
from certify.data.sequences import token_split

GOOD = """\
kind: tokens
input_ids: ids
attention_mask: mask
output_name: logits
length: 8
vocabulary: 100
pad_id: 3
reading: logits
"""
CONTRACT = TokenPreprocess(
    input_ids="ids", output_name="logits", length=8, vocabulary=100, pad_id=3, reading="logits", attention_mask="mask"
)
TOKENIZER = "0123456789abcdef" * 4


def toy(n: int = 60, length: int = 6, seed: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    mask = (np.arange(length) < random.integers(2, length + 1, (n, 1))).astype(np.int64)
    return {
        "input_ids": random.integers(4, 100, (n, length)) * mask,
        "attention_mask": mask,
        "y": np.arange(n) % 3,
    }


def dataset(**arrays: Any) -> Dataset:
    return from_mapping({**toy(), **arrays}, "toy", "tests:toy", 0)


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "contract.yaml"
    path.write_text(text)
    return path


def test_yaml_gives_a_token_contract_when_it_says_so(tmp_path: Path) -> None:
    contract = Preprocess.from_yaml(written(tmp_path, GOOD))
    assert contract == CONTRACT
    assert contract.to_json()["kind"] == "tokens"
    assert Preprocess.from_json(contract.to_json()) == contract
    assert (contract.input_names, contract.port_shape(5), contract.input_shape(5)) == (
        ("ids", "mask"),
        (5, 8),
        (5, 2, 8),
    )


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("kind: tokens", "kind: token", "line 1: Unknown kind of contract 'token'; did you mean 'tokens'"),
        ("vocabulary:", "vocabular:", "line 6: Unknown key of the contract 'vocabular'; did you mean 'vocabulary'"),
        ("length: 8\n", "", "the contract lacks the key 'length'"),
        ("length: 8", "length: 0", "line 5: length of the contract must be greater than or equal to 1, got 0"),
        ("pad_id: 3", "pad_id: 100", r"line 7: pad_id must be in \[0, 99\] for a vocabulary of 100"),
        ("attention_mask: mask", "attention_mask: ids", "two inputs have the same name"),
        (
            "reading: logits",
            "reading: logits\ndtype: float32",
            "dtype of the contract must be 'int64' or 'int32', got 'float32'",
        ),
        ("reading: logits", "reading: logits\ntokenizer: abc", "tokenizer must be null or 64 hexadecimal digits"),
        ("reading: logits", "reading: logits\nheight: 3", "unknown key"),
    ],
)
def test_yaml_is_refused_with_its_line_when_a_field_is_wrong(tmp_path: Path, old: str, new: str, words: str) -> None:
    with pytest.raises(UsageError, match=f"(?i){words}"):
        Preprocess.from_yaml(written(tmp_path, GOOD.replace(old, new)))


def test_npz_holds_text_when_it_has_tokens(tmp_path: Path) -> None:
    np.savez(tmp_path / "text.npz", **toy(200), classes=np.array(["a", "b", "c"]), tokenizer=np.array(TOKENIZER))
    data = load(f"npz:{tmp_path / 'text.npz'}")
    assert (data.input_size, data.classes, data.test.kind) == ((6,), ("a", "b", "c"), "tokens")
    assert data.test.tokenizer == TOKENIZER
    assert {name: len(split) for name, split in data.parts.items()}["test"] == 60
    assert set(overlap(data).values()) == {0}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"input_ids": np.zeros((60, 6))}, "input_ids must hold integers .* got float64"),
        ({"input_ids": np.full((60, 6), -1)}, "got -1 to -1"),
        ({"input_ids": np.zeros((60, 6), np.uint64) + 2**40}, "must not be negative"),
        ({"attention_mask": np.ones((60, 5), np.int64)}, r"must have the shape of input_ids .* got \(60, 5\)"),
        ({"attention_mask": np.full((60, 6), 2)}, "must hold 0 and 1"),
        ({"attention_mask": np.zeros((60, 6), np.int64)}, "with at least one 1 in each sample"),
        ({"y": np.zeros(59, np.int64)}, "one integer for each of 60 samples"),
        ({"x": np.zeros((60, 8, 8), np.uint8)}, "give one of them"),
    ],
)
def test_arrays_are_refused_when_they_are_not_samples(changed: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words):
        dataset(**changed)


@given(st.lists(st.integers(4, 99), min_size=1, max_size=6), st.integers(0, 4), st.integers(0, 50))
def test_digest_depends_on_the_tokens_and_not_on_their_padding(tokens: list[int], filling: int, pad: int) -> None:
    """So that a text is found in two parts though they were filled up to two lengths, with or without segments."""
    ids = np.array([[*tokens, *[pad] * filling]])
    mask = np.array([[1] * len(tokens) + [0] * filling])
    plain = token_split({"input_ids": [tokens], "y": [0]}, "here")
    filled = token_split({"input_ids": ids, "attention_mask": mask, "token_type_ids": 0 * ids, "y": [0]}, "here")
    other = token_split({"input_ids": [[*tokens, 4]], "y": [0]}, "here")
    assert plain.digest(0) == filled.digest(0) != other.digest(0)
    assert CONTRACT.batch(plain, [0]).tolist() == CONTRACT.batch(filled, [0]).tolist()


def test_batch_is_padded_with_the_models_own_token() -> None:
    split = token_split(
        {"input_ids": [[7, 8, 0], [9, 0, 0]], "attention_mask": [[1, 1, 0], [1, 0, 0]], "y": [0, 1]}, ""
    )
    whole = replace(CONTRACT, length=4, token_type_ids="segments", dtype="int32")
    assert whole.batch(split, [1, 0]).tolist() == [
        [[9, 3, 3, 3], [1, 0, 0, 0], [0, 0, 0, 0]],
        [[7, 8, 3, 3], [1, 1, 0, 0], [0, 0, 0, 0]],
    ]
    assert {name: values.shape for name, values in whole.feed(split, [0]).items()} == {
        "ids": (1, 4), "mask": (1, 4), "segments": (1, 4)
    }  # fmt: skip
    alone = replace(CONTRACT, attention_mask=None)
    assert alone.batch(split, [0, 1]).shape == alone.input_shape(2) == (2, 8)


def test_batch_is_refused_when_the_text_is_for_another_model() -> None:
    split = token_split({**toy(), "tokenizer": TOKENIZER}, "here")
    assert replace(CONTRACT, tokenizer=TOKENIZER).batch(split, [0]).shape == (1, 2, 8)
    for changed, words in (
        ({"length": 3}, "model takes 3 tokens, but a sample"),
        ({"vocabulary": 20}, "vocabulary has 20 tokens"),
        ({"tokenizer": "0" * 64}, "tokenizer 000000000000 .* tokenised by 0123456789ab"),
    ):
        with pytest.raises(DataError, match=words):
            replace(CONTRACT, **changed).batch(split, range(60))


def test_contract_is_refused_when_the_data_are_of_the_other_kind() -> None:
    images = from_mapping(
        {"x": np.random.default_rng(0).integers(0, 9, (60, 8, 8), np.uint8), "y": np.arange(60) % 3},
        "toy",
        "tests:toy",
        0,
    )
    takes = TokenInput(("input_ids", "attention_mask"), 100, 0, longest=5)
    with pytest.raises(DataError, match="model takes tokens, but data .* are of kind 'image'"):
        takes.contract(images)
    with pytest.raises(DataError, match="contract takes tokens, but the data are of kind 'image'"):
        CONTRACT.batch(images.test, [0])
    with pytest.raises(DataError, match="model takes images, but data .* are of kind 'tokens'"):
        default_preprocess(dataset())
    with pytest.raises(DataError, match="contract takes images, but the data are of kind 'tokens'"):
        default_preprocess(images).batch(dataset().test, [0])
    with pytest.raises(DataError, match="tokenise the text with --length 5"):
        takes.contract(dataset())


def test_contract_names_the_inputs_of_the_model() -> None:
    contract = TokenInput(("input_ids", "token_type_ids"), 100, 1, longest=6).contract(dataset())
    assert (contract.input_names, contract.length, contract.pad_id) == (("input_ids", "token_type_ids"), 6, 1)
    assert contract.noise(4).shape == contract.input_shape(4) == (4, 2, 6)
    assert contract.sample_bytes() == 2 * 6 * 8


@given(st.integers(1, 4), st.integers(1, 5), st.integers(1, 7))
def test_inputs_are_fed_in_order(inputs: int, n: int, length: int) -> None:
    names = [f"input {k}" for k in range(inputs)]
    samples = np.arange(n * inputs * length).reshape((n, inputs, length) if inputs > 1 else (n, length))
    fed = by_input(names, samples)
    assert list(fed) == names
    assert np.array_equal(np.stack(list(fed.values()), axis=1).reshape(samples.shape), samples)
    assert all(values.flags.c_contiguous for values in fed.values())


def test_split_of_images_describes_its_content() -> None:
    split = array_split(np.zeros((2, 8, 8), np.uint8), [0, 1], "here")
    assert (split.kind, split.tokenizer) == ("image", None)
