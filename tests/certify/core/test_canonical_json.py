"""Canonical JSON of RFC 8785 is distinguished from any other, and errors quote what was read as it is written."""

from __future__ import annotations

import json

import numpy as np
import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from certify.core.canonical_json import canonical_record, is_canonical, parse_canonical
from certify.core.errors import CertificateError


@pytest.mark.parametrize(
    ("content", "words"), [(b"{", "is not valid JSON"), (b'{"b":1, "a":2}', "is not in canonical form")]
)
def test_parse_canonical_keeps_the_case_of_a_path_when_it_refuses(content: bytes, words: str) -> None:
    with pytest.raises(CertificateError, match=rf"^A line of /Data/Ledger\.JSONL {words}"):
        parse_canonical(content, "a line of /Data/Ledger.JSONL")


NUMBERS = ("0", "-0", "7", "0.5", "-0.5", "1.0", "-0.0", "1e5", "1e-5", "1E5", "1.5e+21", "0.00001", "1e-7", "1.5e-07",
           "100000000000000000000", "9007199254740991", "1234567890123456.8", "NaN", "-Infinity", "10.01")  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=6), st.sampled_from(["a", "B", "\\u00e9", "\\", "/", "\x7f", "\n", ":1.0,", "[1e5", "é", "😀"])
)
VALUES = st.recursive(
    st.one_of(st.sampled_from(NUMBERS), TEXTS.map(json.dumps), TEXTS.map(lambda text: f'"{text}"')),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: f"[{','.join(items)}]"),
        st.lists(st.tuples(TEXTS.map(json.dumps), inner), max_size=3).map(
            lambda items: "{" + ",".join(f"{key}:{value}" for key, value in items) + "}"
        ),
    ),
    max_leaves=5,
)


def _judged(values: object, content: bytes, judge: object) -> object:
    try:
        return judge(values, content)  # type: ignore[operator]
    except ValueError as error:
        return str(error)


@settings(max_examples=150)
@given(VALUES)
def test_canonical_form_is_that_of_rfc_8785_whatever_the_text(text: str) -> None:
    content = text.encode(errors="surrogatepass")
    try:
        values = json.loads(content)
    except ValueError:
        return
    wanted = _judged(values, content, lambda values, content: rfc8785.dumps(values) == content)
    assert _judged(values, content, is_canonical) == wanted


@settings(max_examples=150)
@given(TEXTS, VALUES)
def test_record_is_written_as_rfc_8785_writes_it_whatever_its_values(key: str, text: str) -> None:
    try:
        values = {key: json.loads(text), "a": (1, 0.5)}
    except ValueError:
        return
    wanted = _judged(values, b"", lambda values, _: rfc8785.dumps(values))
    assert _judged(values, b"", lambda values, _: canonical_record(values)) == wanted


@pytest.mark.parametrize("value", [1e-7, 1e16, 2.0, -0.0, float("nan"), 2**53, np.float64(0.25), np.int64(3), b"", {1}])
def test_record_is_written_as_rfc_8785_writes_it_when_a_value_is(value: object) -> None:
    wanted = _judged({"a": [value]}, b"", lambda values, _: rfc8785.dumps(values))
    assert _judged({"a": [value]}, b"", lambda values, _: canonical_record(values)) == wanted


@pytest.mark.parametrize("number", NUMBERS)
def test_number_is_canonical_only_as_rfc_8785_writes_it(number: str) -> None:
    for content in (number.encode(), f"[{number}]".encode(), f'{{"a":-1,"b":{number}}}'.encode()):
        values = json.loads(content)
        wanted = _judged(values, content, lambda values, content: rfc8785.dumps(values) == content)
        assert _judged(values, content, is_canonical) == wanted


@pytest.mark.parametrize("keys", ["ab", "aé", "\U0001f600\ue000"])
def test_keys_are_canonical_only_in_the_order_of_utf_16(keys: str) -> None:
    ordered, swapped = ("{" + ",".join(f'"{key}":0' for key in each) + "}" for each in (keys, reversed(keys)))
    assert is_canonical(json.loads(ordered), ordered.encode())
    assert not is_canonical(json.loads(swapped), swapped.encode())
