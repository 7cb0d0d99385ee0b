"""Verification of altered files: every change is found, by the check that should find it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from certify.attest.keys import SigningKey
from certify.attest.verify import verify
from certify.core.errors import CertificateError
from certify.core.evidence import Evidence
from certify.model_file.onnx_file.seal import read_seal, seal, unsealed_bytes

FLIPS = 150


def failed(path: Path, key: SigningKey) -> set[str]:
    return {check.name for check in verify(path, trust=[key.public]).failed}


@pytest.mark.parametrize("name", ["model.onnx", "certificate.json", "evidence.jsonl", "lineage.json", "label.svg"])
def test_verify_finds_the_change_when_one_byte_differs(folder: Path, key: SigningKey, name: str) -> None:
    path = folder / name
    good = path.read_bytes()
    if name != "evidence.jsonl":  # deriving again takes most of the time, and has no part in these checks
        (folder / "evidence.jsonl").unlink()
    rng = random.Random(name)
    for _ in range(FLIPS):
        place = rng.randrange(len(good))
        changed = bytearray(good)
        changed[place] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        assert not verify(folder / "model.onnx", trust=[key.public]).valid, (place, good[place], changed[place])


def test_verify_finds_the_change_when_only_the_seal_is_there(folder: Path, key: SigningKey) -> None:
    for name in ("evidence.jsonl", "certificate.json", "label.svg", "baseline.onnx"):
        (folder / name).unlink()
    path = folder / "model.onnx"
    good, start = path.read_bytes(), unsealed_bytes(path)
    rng = random.Random(0)
    for _ in range(FLIPS):
        place = rng.randrange(start, len(good))
        changed = bytearray(good)
        changed[place] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        try:
            assert not verify(path, trust=[key.public]).valid, place
        except CertificateError as error:  # a flip in the key leaves no certificate at all
            assert "does not contain a" in str(error)


@pytest.mark.parametrize("name", ["model.onnx", "certificate.json", "evidence.jsonl"])
@pytest.mark.parametrize("keep", [0, 1, 0.5, -1])
def test_verify_finds_the_change_when_a_file_is_cut_short(
    folder: Path, key: SigningKey, name: str, keep: float
) -> None:
    path = folder / name
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep) if 0 < keep < 1 else int(keep)])
    assert not verify(folder / "model.onnx", trust=[key.public]).valid


def test_verify_finds_bits_that_protobuf_ignores_when_they_are_changed(
    tmp_path: Path,
    make_model: Callable[[], onnx.ModelProto],
    make_evidence: Callable[..., Evidence],
    make_contract: Callable[..., Any],
    key: SigningKey,
) -> None:
    from certify.data.contract_slot import normalise
    from certify.model_file.onnx_file.content import content_digest
    from certify.model_file.onnx_file.messages import parse_model
    from certify.model_file.onnx_file.seal import file_digest
    from certify.workflows.issuance import issue

    model = make_model()
    model.graph.initializer.append(helper.make_tensor("minus", TensorProto.INT8, (1,), [-1]))  # ten bytes for one
    onnx.save(model, tmp_path / "foreign.onnx")
    bare = tmp_path / "bare.onnx"
    normalise(tmp_path / "foreign.onnx", bare, make_contract())
    evidence = make_evidence()
    digests = {"file_digest": file_digest(bare), "content_digest": content_digest(parse_model(bare))}
    facts = replace(evidence.header.models["candidate"], **digests)
    data = {**evidence.header.data, "test_digest": "ab" * 32}
    header = replace(evidence.header, models={"baseline": facts, "candidate": facts}, data=data)
    issue(bare, replace(evidence, header=header), None, make_contract(), {}, tmp_path, key)
    content = (tmp_path / "model.onnx").read_bytes()
    place = content.index(b"\xff" * 9 + b"\x01") + 7
    (tmp_path / "model.onnx").write_bytes(content[:place] + b"\x8f" + content[place + 1 :])
    verification = verify(tmp_path / "model.onnx", trust=[key.public])
    assert {check.name: check.outcome for check in verification.checks}["content_digest"] == "pass"
    assert "file_digest" in {check.name for check in verification.failed}


def test_verify_finds_the_change_when_a_padded_field_is_appended(folder: Path, key: SigningKey) -> None:
    path = folder / "model.onnx"
    content = path.read_bytes()
    version = b"\x08\x89\x00"  # ir_version 9 again, in two bytes where one does
    path.write_bytes(content + version)
    assert onnx.load(path).ir_version == 9
    assert failed(path, key) == {"file_digest"}
    path.write_bytes(content + b"\x98\xff\x07\x01")  # a field that ONNX does not know
    assert "content_digest" in failed(path, key)


def test_verify_fails_the_seal_when_there_are_two(folder: Path, key: SigningKey) -> None:
    path = folder / "model.onnx"
    content = path.read_bytes()
    path.write_bytes(content + content[unsealed_bytes(path) :])
    assert "seal" in failed(path, key)


def test_verify_fails_the_sidecar_when_it_belongs_to_another_model(
    folder: Path, certified_evidence: Callable[..., Evidence], normalised: Path, make_papers: Any, key: SigningKey
) -> None:
    make_papers(folder.parent / "other", normalised, certified_evidence(ratio=0.2), key)
    shutil.copyfile(folder.parent / "other" / "certificate.json", folder / "certificate.json")
    assert failed(folder / "model.onnx", key) == {"sidecar_identical"}


def test_verify_fails_the_digests_when_a_certificate_is_moved_to_another_model(folder: Path, key: SigningKey) -> None:
    envelope = read_seal(folder / "model.onnx")
    model = onnx.load(folder / "baseline.onnx")
    model.graph.node[0].name = "another"
    onnx.save(model, folder / "bare.onnx")
    assert envelope is not None
    seal(folder / "bare.onnx", folder / "model.onnx", envelope)
    assert {"file_digest", "content_digest"} <= failed(folder / "model.onnx", key)


@pytest.mark.parametrize("value", ["{}", "", None])
def test_verify_fails_the_contract_when_the_metadata_entry_is_edited(
    folder: Path, key: SigningKey, value: str | None
) -> None:
    path = folder / "model.onnx"
    model = onnx.load(path)
    entry = next(entry for entry in model.metadata_props if entry.key == "leanmark.preprocess")
    entry.value = entry.value.replace("RGB", "BGR") if value is None else value
    onnx.save(model, path)
    assert {"content_digest", "preprocess_matches"} <= failed(path, key)
