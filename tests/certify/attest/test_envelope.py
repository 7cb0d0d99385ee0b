"""The envelope: one byte sequence for one envelope."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from certify.attest.envelope import Envelope, parse_envelope, sign
from certify.attest.keys import SigningKey, generate
from certify.core.canonical_json import MAX_DEPTH, parse_canonical
from certify.core.errors import CertificateError
from certify.model_file.onnx_file.seal import MAX_CERTIFICATE_BYTES

PAYLOAD = b'{"a":1}!'


@pytest.fixture
def content(key: SigningKey) -> bytes:
    return sign(PAYLOAD, key).to_bytes()


def test_envelope_reads_back_the_same_when_written(key: SigningKey, content: bytes) -> None:
    envelope = parse_envelope(content)
    assert envelope.payload == PAYLOAD
    assert envelope.signed_by(key.public)
    assert envelope.to_bytes() == content == sign(PAYLOAD, key).to_bytes()


def test_signature_does_not_hold_when_payload_key_or_key_id_differs(key: SigningKey, tmp_path: Any) -> None:
    envelope = sign(PAYLOAD, key)
    other = generate(tmp_path / "k.key").public
    assert not envelope.signed_by(other)
    assert not Envelope(PAYLOAD + b" ", envelope.key_id, envelope.signature).signed_by(key.public)
    assert not Envelope(PAYLOAD, other.key_id, envelope.signature).signed_by(key.public)
    assert not Envelope(PAYLOAD, other.key_id, envelope.signature).signed_by(other)
    assert not Envelope(PAYLOAD, envelope.key_id, envelope.signature[:-1]).signed_by(key.public)


def _padding_bits(content: bytes) -> bytes:
    text = json.loads(content)["payload"]
    assert text.endswith("=")
    last = text.rstrip("=")[-1]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    changed = text.rstrip("=")[:-1] + alphabet[alphabet.index(last) + 1] + "=" * (len(text) - len(text.rstrip("=")))
    assert base64.b64decode(changed) == base64.b64decode(text)
    return content.replace(text.encode(), changed.encode())


def _changed(content: bytes, change: Any) -> bytes:
    values = json.loads(content)
    change(values)
    return rfc8785.dumps(values)


MUTATIONS: dict[str, Any] = {
    "padding bits": _padding_bits,
    "white space": lambda c: c.replace(b":", b": ", 1),
    "line end": lambda c: c + b"\n",
    "order": lambda c: json.dumps(dict(reversed(json.loads(c).items())), separators=(",", ":")).encode(),
    "escaped letter": lambda c: c.replace(b'"payload"', b'"p\\u0061yload"'),
    "doubled member": lambda c: c.replace(b'{"payload"', b'{"payload":"AA==","payload"'),
    "unknown member": lambda c: _changed(c, lambda v: v.update(more=1)),
    "unknown member of signature": lambda c: _changed(c, lambda v: v["signatures"][0].update(more=1)),
    "another payload type": lambda c: _changed(c, lambda v: v.update(payloadType="text/plain")),
    "second signature": lambda c: _changed(c, lambda v: v["signatures"].append(v["signatures"][0])),
    "no signature": lambda c: _changed(c, lambda v: v["signatures"].clear()),
    "url-safe base64": lambda c: _changed(c, lambda v: v.update(payload="-_8=")),
    "signatures as object": lambda c: _changed(c, lambda v: v.update(signatures={})),
    "payload as number": lambda c: _changed(c, lambda v: v.update(payload=3)),
    "list": lambda c: b"[" + c + b"]",
    "nothing": lambda c: b"",
    "no JSON": lambda c: b"\xff\xfe",
    "infinity": lambda c: b"Infinity",
    "lone surrogate": lambda c: b'"\\ud800"',
    "large": lambda c: b" " * (MAX_CERTIFICATE_BYTES + 1),
    "deep": lambda c: b"[" * 100_000,
    "deep and closed": lambda c: b"[" * 400 + b"]" * 400,
    "long number": lambda c: b"9" * 10_000,
}


@pytest.mark.parametrize("what", MUTATIONS)
def test_parse_envelope_refuses_when_the_bytes_are_not_canonical(content: bytes, what: str) -> None:
    mutated = MUTATIONS[what](content)
    assert mutated != content
    with pytest.raises(CertificateError):
        parse_envelope(mutated)


_SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
)
_VALUES = st.recursive(
    _SCALARS | st.text(), lambda v: st.lists(v, max_size=3) | st.dictionaries(st.text(), v, max_size=3), max_leaves=8
)


@given(_VALUES)
@settings(deadline=None)
def test_parse_canonical_reads_back_whatever_is_written(values: Any) -> None:
    assert parse_canonical(rfc8785.dumps(values), "it") == values


def test_parse_canonical_refuses_when_nested_one_level_too_deep() -> None:
    deepest = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    parse_canonical(deepest, "it")
    with pytest.raises(CertificateError, match="levels"):
        parse_canonical(b"[" + deepest + b"]", "it")
