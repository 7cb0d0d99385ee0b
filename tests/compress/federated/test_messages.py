"""Messages and models as bytes, read strictly."""

from __future__ import annotations

import contextlib
import struct
from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from certify.core.errors import DataError, ModelError
from compress.core.model_stats import state_digest
from compress.federated.learner import LocalTraining
from compress.federated.messages import Message
from compress.federated.public_samples import PublicSamples, read_logits
from compress.federated.weights import Layout, digest
from compress.testing.networks import network

SENT = Message("train", {"round": 3, "weight": 0.5}, b"weights").content()


@given(st.binary(max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    with contextlib.suppress(DataError):
        Message.parse(content, 100)


@given(st.integers(0, len(SENT) - 1), st.integers(1, 255))
@settings(max_examples=300, deadline=None)
def test_an_altered_message_is_another_one_or_refused(place: int, change: int) -> None:
    content = bytearray(SENT)
    content[place] ^= change
    with contextlib.suppress(DataError):
        assert Message.parse(bytes(content), 100).content() == bytes(content) != SENT


@pytest.mark.parametrize(
    "content",
    [
        b"", b"LMF1", b"LMF1" + struct.pack("<I", 2**31), b"LMF1" + struct.pack("<I", 5) + b"{}",
        b"LMF1" + struct.pack("<I", 2) + b"{}", b"LMF1" + struct.pack("<I", 2) + b"[]",
        b"LMF1" + struct.pack("<I", 13) + b'{"kind": "a"}', b"LMF1" + struct.pack("<I", 10) + b'{"kind":1}',
    ],
)  # fmt: skip
def test_malformed_messages_are_refused(content: bytes) -> None:
    with pytest.raises(DataError):
        Message.parse(content, 100)


def test_payload_is_refused_when_it_is_longer_than_allowed() -> None:
    assert Message.parse(SENT, 7).payload == b"weights"
    with pytest.raises(DataError, match="must have at most 6 bytes, got 7"):
        Message.parse(SENT, 6)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({}, "lacks or must not have 'round'"), ({"round": 1, "more": 2}, "must not have 'more'"),
        ({"round": "1"}, "must be of type int"), ({"round": True}, "must be of type int"),
    ],
)  # fmt: skip
def test_values_must_be_those_that_are_expected(values: dict[str, object], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        Message("train", values).expect("train", round=int)
    with pytest.raises(DataError, match="The message must be of the kind 'train', got 'keys'"):
        Message("keys", values).expect("train", round=int)


@pytest.mark.parametrize("name", ["residual", "depthwise", "attention"])
def test_model_travels_to_the_bit_and_its_digest_is_that_of_the_lineage(name: str) -> None:
    model, other = network(name), network(name)
    layout = Layout.of(model)
    content = layout.content(model)
    assert digest(content) == state_digest(model) and layout.replaced(content, layout.vector(content)) == content
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1)
    layout.load(other, content)
    assert state_digest(other) == state_digest(model)


def test_statistics_are_averaged_and_counters_are_not() -> None:
    model = network("residual")
    layout = Layout.of(model)
    floats = sum(one.numel() for one in model.state_dict().values() if one.is_floating_point())
    assert layout.count == floats > int(layout.where(lambda _, learned: learned).sum())
    variances = layout.where(lambda name, _: name.endswith("running_var"))
    vector = layout.vector(layout.content(model))
    assert (vector[variances] > 0).all() and variances.sum() == 96


def test_bytes_of_another_model_are_refused() -> None:
    model = nn.Linear(3, 4)
    layout, other = Layout.of(model), Layout.of(nn.Linear(4, 3))
    with pytest.raises(DataError):
        layout.load(model, other.content(nn.Linear(4, 3)))
    content = layout.content(model)
    with pytest.raises(DataError, match="other tensors"):
        layout.vector(content.replace(b"bias", b"bios"))
    broken = layout.replaced(content, np.full(layout.count, np.nan, dtype=np.float32))
    with pytest.raises(DataError, match="not finite"):
        layout.vector(broken)


def test_half_precision_models_are_refused() -> None:
    with pytest.raises(ModelError, match=r"weight is torch\.float16|bias is torch\.float16"):
        Layout.of(nn.Linear(2, 2).half())
    with pytest.raises(ModelError, match="no weights"):
        Layout.of(nn.ReLU())


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"epochs": 1.5},
        {"lr": "1"},
        {"optimizer": "lion"},
        {"proximal": -1.0},
        {"more": 1},
        {"batch": True},
    ],
)
def test_training_that_a_client_does_not_know_is_refused(change: dict[str, object]) -> None:
    assert LocalTraining.from_json({**asdict(LocalTraining()), "lr": 1}) == LocalTraining(lr=1.0)
    with pytest.raises(DataError):
        LocalTraining.from_json({**asdict(LocalTraining()), **change})


def test_logits_travel_in_half_precision_without_their_mean() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    public = PublicSamples(torch.randn(5, 1, 2, 2), "0" * 64)
    found = read_logits(public.answers(model), 5, 3)
    with torch.no_grad():
        exact = torch.softmax(model(public.samples), 1).numpy()
    assert np.allclose(np.exp(found) / np.exp(found).sum(1, keepdims=True), exact, atol=2e-3)
    for payload in (b"\0" * 29, np.full(15, np.inf, "<f2").tobytes()):
        with pytest.raises(DataError):
            read_logits(payload, 5, 3)
