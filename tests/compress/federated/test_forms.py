"""How updates travel: what is sent, what is left over, and norms that hold for the integers themselves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from certify.core.errors import DataError
from compress.federated.forms import (
    Float32,
    Form,
    Int8,
    NormExceeded,
    TopK,
    clipped,
    described,
    first_bounds,
    form_of,
    norm,
)

PARTS = (5, 3)
VECTORS = arrays(np.float32, 8, elements=st.floats(-50, 50, width=32))
FORMS: list[Form] = [Float32(8, 2.0), TopK(8, 3, 2.0), Int8(PARTS, (0.5, 4.0), 2.0), Int8(PARTS, (0.5, 4.0))]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form).__name__)
@given(update=VECTORS)
@settings(max_examples=60, deadline=None)
def test_what_is_sent_and_what_is_left_is_the_clipped_update(form: Form, update: np.ndarray) -> None:
    payload, left = form.encode(update, None)
    sent = form.decode(payload)
    whole = clipped(update, form.clip)
    assert np.allclose(sent + (0 if left is None else left), whole, atol=1e-4)
    assert form.clip is None or norm(sent) <= form.clip * (1 + 1e-6)


@given(update=VECTORS)
@settings(max_examples=200, deadline=None)
def test_norm_of_integers_is_kept_when_rounding_would_pass_it(update: np.ndarray) -> None:
    form = Int8(PARTS, (8.0, 8.0), clip=0.1)  # a step of 0.06, so that rounding to nearest often exceeds 0.1
    integers, _ = form.integers(update, None)
    assert norm(integers[:8] * form.steps()) <= 0.1 * (1 + 1e-9)


def test_rounding_to_nearest_alone_would_pass_the_norm() -> None:
    form = Int8((8,), (8.0,), clip=0.1)
    update = np.full(8, 0.0353, dtype=np.float32)  # 0.56 steps each: rounded to nearest their norm is 0.178
    assert norm(np.rint(update / form.steps()) * form.steps()) > 0.1
    assert norm(form.integers(update, None)[0][:8] * form.steps()) <= 0.1


@pytest.mark.parametrize("form", [TopK(8, 2), Int8(PARTS, (0.01, 0.01))], ids=["top-k", "int8"])
def test_everything_arrives_in_the_end_when_what_is_left_is_added_to_the_next(form: Form) -> None:
    update, residual, total = np.linspace(-1, 1, 8).astype(np.float32), None, np.zeros(8)
    for _ in range(400):
        payload, residual = form.encode(update if residual is None else 0 * update, residual)
        total += form.decode(payload)
    assert np.allclose(total, update, atol=1e-3)


def test_what_a_norm_cut_off_is_not_saved_up() -> None:
    form, residual = Int8((8,), (1.0,), clip=0.5), None
    for _ in range(20):
        payload, residual = form.encode(np.full(8, 10.0, dtype=np.float32), residual)
        assert norm(form.decode(payload)) <= 0.5 * (1 + 1e-6)
    assert residual is not None and norm(residual) < 0.5


def test_grid_widens_and_narrows_as_most_clients_vote() -> None:
    form = Int8((2, 2), (1.0, 1.0))
    total = np.zeros(6, dtype=np.int64)
    for update in ([3, 0, 0.1, 0], [2, 0, 0, 0.2], [0.5, 0, 0, 0]):
        total += form.integers(np.array(update, dtype=np.float32), None)[0]
    assert form.next_bounds(total, 3) == (2.0, 0.5)
    assert form.next_bounds(np.array([9, 9, 9, 9, 1, -1]), 2) == (1.0, 1.0)


def test_nobody_votes_when_votes_are_off() -> None:
    form = Int8((2,), (1.0,), 1.0, votes=False)
    assert form.integers(np.array([50, 0], dtype=np.float32), None)[0][2] == 0
    with pytest.raises(DataError, match="not on its grid"):
        form.read(bytes([1, 0, 1]))


BAD: dict[str, tuple[Form, bytes, str]] = {
    "short float32": (Float32(2), b"\0" * 7, "must have 8 bytes, got 7"),
    "long int8": (Int8((2,), (1.0,)), b"\0" * 4, "must have 3 bytes, got 4"),
    "not a number": (Float32(1), np.array([np.nan], "<f4").tobytes(), "not finite"),
    "-128": (Int8((2,), (1.0,)), b"\x80\0\0", "not on its grid"),
    "a vote of 2": (Int8((2,), (1.0,)), b"\0\0\2", "not on its grid"),
    "places twice": (TopK(4, 2), np.array([1, 1], "<u4").tobytes() + b"\0" * 8, "not ascending"),
    "places outside": (TopK(4, 1), np.array([4], "<u4").tobytes() + b"\0" * 4, "out of range"),
}


@pytest.mark.parametrize("name", BAD)
def test_malformed_updates_are_refused(name: str) -> None:
    form, payload, sentence = BAD[name]
    with pytest.raises(DataError, match=sentence):
        form.decode(payload)


@pytest.mark.parametrize(
    ("form", "payload"),
    [(Float32(1, 1.0), np.array([1.1], "<f4").tobytes()), (Int8((1,), (1.0,), 0.9), bytes([120, 0]))],
    ids=["float32", "int8"],
)
def test_larger_updates_than_allowed_are_refused_by_the_server(form: Form, payload: bytes) -> None:
    with pytest.raises(NormExceeded, match="at most"):
        form.decode(payload)


@pytest.mark.parametrize("form", FORMS, ids=lambda form: type(form).__name__)
def test_forms_are_the_same_when_described_and_read(form: Form) -> None:
    assert form_of(described(form), PARTS) == form


@pytest.mark.parametrize(
    "values",
    [
        {}, {"name": "zip"}, {"name": "top-k", "kept": 9}, {"name": "int8", "bounds": [1.0]},
        {"name": "int8", "bounds": [1.0, 0.0]}, {"name": "float32", "clip": -1.0}, {"name": "float32", "clip": "1"},
    ],
)  # fmt: skip
def test_forms_that_are_not_known_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(DataError):
        form_of(values, PARTS)


def test_first_grid_follows_the_norm_or_the_weights() -> None:
    weights = np.array([1, -2, 0, 0], dtype=np.float32)
    assert first_bounds(weights, (2, 2), None) == pytest.approx((0.2, 1e-4))
    assert first_bounds(weights, (2, 2), 1.0) == (4.0, 4.0)
