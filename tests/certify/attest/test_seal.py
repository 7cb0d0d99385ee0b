"""The seal: taken off again it gives back the measured bytes, and no second or odd one passes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certify.core.errors import CertificateError, ModelError
from certify.core.files import sha256_file
from certify.model_file.onnx_file.content import SEAL_KEY
from certify.model_file.onnx_file.seal import MAX_ENTRY_BYTES, file_digest, read_seal, seal, unsealed_bytes

ENVELOPE = b'{"payload":"AA=="}'
KEY_FIELD = b"\x0a\x0d" + SEAL_KEY.encode()


@given(st.text(max_size=400))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50, deadline=None)
def test_seal_returns_envelope_and_bytes_when_removed(normalised: Path, tmp_path: Path, text: str) -> None:
    target = tmp_path / "sealed.onnx"
    seal(normalised, target, text.encode())
    assert read_seal(target) == text.encode()
    assert file_digest(target) == sha256_file(normalised)
    assert unsealed_bytes(target) == normalised.stat().st_size
    assert {p.key: p.value for p in onnx.load(target).metadata_props}[SEAL_KEY] == text


def test_sealed_file_runs_the_same_when_a_runtime_opens_it(normalised: Path, tmp_path: Path) -> None:
    seal(normalised, tmp_path / "sealed.onnx", ENVELOPE)
    image = np.ones((1, 3, 8, 8), np.float32)
    outputs = [
        onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"image": image})[0]
        for path in (normalised, tmp_path / "sealed.onnx")
    ]
    np.testing.assert_array_equal(*outputs)


def test_read_seal_is_none_when_the_file_is_not_sealed(normalised: Path) -> None:
    assert read_seal(normalised) is None
    assert file_digest(normalised) == sha256_file(normalised)


def test_seal_is_still_found_when_another_tool_moved_it(normalised: Path, tmp_path: Path) -> None:
    seal(normalised, tmp_path / "sealed.onnx", ENVELOPE)
    onnx.save(onnx.load(tmp_path / "sealed.onnx"), tmp_path / "moved.onnx")
    assert (tmp_path / "moved.onnx").read_bytes() != (tmp_path / "sealed.onnx").read_bytes()
    assert read_seal(tmp_path / "moved.onnx") == ENVELOPE
    assert file_digest(tmp_path / "moved.onnx") == sha256_file(tmp_path / "moved.onnx")


def test_seal_refuses_when_the_file_is_already_sealed(normalised: Path, tmp_path: Path) -> None:
    seal(normalised, tmp_path / "sealed.onnx", ENVELOPE)
    with pytest.raises(CertificateError, match="already sealed"):
        seal(tmp_path / "sealed.onnx", tmp_path / "twice.onnx", ENVELOPE)
    assert not (tmp_path / "twice.onnx").exists()


@pytest.mark.parametrize(
    "entry",
    {
        "value before key": b"\x12\x01x" + KEY_FIELD,
        "no value": KEY_FIELD,
        "two values": KEY_FIELD + b"\x12\x01x\x12\x01y",
        "two keys": KEY_FIELD + b"\x0a\x01k\x12\x01x",
        "an unknown field": KEY_FIELD + b"\x12\x01x\x1a\x00",
        "padded length": KEY_FIELD + b"\x12\x81\x00x",
    }.items(),
    ids=lambda item: item[0],
)
def test_read_seal_refuses_when_the_entry_is_not_canonical(
    normalised: Path, tmp_path: Path, entry: tuple[str, bytes]
) -> None:
    sealed = tmp_path / "sealed.onnx"
    sealed.write_bytes(normalised.read_bytes() + b"\x72" + bytes([len(entry[1])]) + entry[1])
    for read in (read_seal, file_digest):
        with pytest.raises(CertificateError, match="canonical"):
            read(sealed)


def test_read_seal_refuses_when_there_are_two(normalised: Path, tmp_path: Path) -> None:
    seal(normalised, tmp_path / "sealed.onnx", ENVELOPE)
    content = (tmp_path / "sealed.onnx").read_bytes()
    entry = content[normalised.stat().st_size :]
    (tmp_path / "two.onnx").write_bytes(content + entry)
    with pytest.raises(CertificateError, match="2 leanmark.seal entries"):
        read_seal(tmp_path / "two.onnx")


@pytest.mark.parametrize("content", [b"\x72\x05ab", b"\x00", b"\x0b", b"\x72", b"\xff" * 12, b"\x72\x02\x0a\x09"])
def test_read_seal_refuses_when_the_file_is_not_protobuf(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ModelError, match="damaged"):
        read_seal(tmp_path / "m.onnx")


def test_read_seal_refuses_when_a_metadata_entry_is_huge(tmp_path: Path) -> None:
    with (tmp_path / "m.onnx").open("wb") as stream:
        stream.write(b"\x72\x81\x80\x80\x08")
        stream.truncate(5 + MAX_ENTRY_BYTES + 1)
    with pytest.raises(ModelError, match="metadata entries of .* must have at most"):
        read_seal(tmp_path / "m.onnx")
