"""Verification of altered files: every change is found, by the check that should find it."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import rfc8785
from onnx import TensorProto, helper

from certify.certificate.envelope import parse_envelope, sign
from certify.certificate.issue import Certificate
from certify.certificate.keys import SigningKey, generate
from certify.certificate.seal import read_seal, seal, unsealed_bytes
from certify.certificate.verification import Verification
from certify.certificate.verify import verify
from certify.errors import CertificateError
from certify.evidence import Evidence, read_evidence

FLIPS = 150


def failed(path: Path, key: SigningKey) -> set[str]:
    return {check.name for check in verify(path, trust=[key.public]).failed}


def reseal(folder: Path, envelope: bytes) -> Path:
    """Put another certificate into the file and beside it, as somebody would who controls everything."""
    model, bare = folder / "model.onnx", folder / "bare.onnx"
    bare.write_bytes(model.read_bytes()[: unsealed_bytes(model)])
    seal(bare, model, envelope)
    bare.unlink()
    (folder / "certificate.json").write_bytes(envelope)
    (folder / "label.svg").unlink(missing_ok=True)
    return model


def resign(folder: Path, change: Callable[[dict[str, Any]], object], key: SigningKey) -> Path:
    """Change the statement and sign it again."""
    statement = json.loads(parse_envelope((folder / "certificate.json").read_bytes()).payload)
    change(statement)
    statement["predicate"]["signer"]["public_key"] = key.public.hex
    return reseal(folder, sign(rfc8785.dumps(statement), key).to_bytes())


@pytest.mark.parametrize("name", ["model.onnx", "certificate.json", "evidence.jsonl", "lineage.json", "label.svg"])
def test_verify_finds_the_change_when_one_byte_is_another(folder: Path, key: SigningKey, name: str) -> None:
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


def test_verify_finds_the_change_when_the_seal_alone_is_there(folder: Path, key: SigningKey) -> None:
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
            assert "holds no certificate" in str(error)


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
    from certify.certificate.content import content_digest
    from certify.certificate.issue import issue
    from certify.certificate.messages import parse_model
    from certify.certificate.normalise import normalise
    from certify.certificate.seal import file_digest

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


def test_verify_fails_the_sidecar_when_it_is_of_another_model(
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


def test_verify_is_not_trusted_when_another_key_signed(folder: Path, key: SigningKey, tmp_path: Path) -> None:
    path = resign(folder, lambda statement: None, generate(tmp_path / "k.key"))
    verification = verify(path, trust=[key.public])
    assert verification.valid and verification.exit_code == 4


def test_verify_fails_the_signature_when_the_statement_names_another_key(
    folder: Path, key: SigningKey, tmp_path: Path
) -> None:
    other = generate(tmp_path / "k.key")
    payload = parse_envelope((folder / "certificate.json").read_bytes()).payload
    assert failed(reseal(folder, sign(payload, other).to_bytes()), key) == {"signature"}


def _predicate(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
    return lambda statement: change(statement["predicate"])


LIES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a better letter": (_predicate(lambda p: p["grade"].update(letter="A", text="A")), "grade_follows"),
    "a better score": (_predicate(lambda p: p["grade"].update(score_db=9.9)), "grade_follows"),
    "no tilde": (_predicate(lambda p: p["grade"].update(text="D!")), "grade_follows"),
    "a better ratio": (
        _predicate(lambda p: p["profile"]["estimates"]["energy_ratio"].update(low=0.1, value=0.2)),
        "profile_follows",
    ),
    "a better end in the eighth digit": (
        _predicate(
            lambda p: p["profile"]["estimates"]["energy_ratio"].update(
                high=p["profile"]["estimates"]["energy_ratio"]["high"] * (1 - 1e-8)
            )
        ),
        "profile_follows",
    ),
    "a figure left out": (_predicate(lambda p: p["profile"]["estimates"].pop("agreement")), "profile_follows"),
    "a stronger evidence level": (
        _predicate(lambda p: p["profile"]["estimates"]["energy_ratio"].update(evidence="wall")),
        "profile_follows",
    ),
    "a guard that passed": (
        _predicate(lambda p: p["profile"]["guards"][0].update(outcome="unknown")),
        "profile_follows",
    ),
    "a guard left out": (_predicate(lambda p: p["profile"]["guards"].pop()), "profile_follows"),
    "fewer multiply-adds": (
        _predicate(lambda p: p["profile"]["estimates"]["macs_candidate"].update(value=1, low=1, high=1)),
        "subject_facts",
    ),
    "another device": (_predicate(lambda p: p["device"].update(processor="x")), "evidence_header_matches"),
    "a better meter": (_predicate(lambda p: p["meter"].update(name="wall-meter")), "evidence_header_matches"),
    "fewer attempts": (_predicate(lambda p: p.update(attempts=7)), "evidence_header_matches"),
    "another baseline": (_predicate(lambda p: p["baseline"].update(origin="untouched")), "evidence_header_matches"),
    "other data": (_predicate(lambda p: p["data"].update(name="imagenet")), "evidence_header_matches"),
    "another workload": (_predicate(lambda p: p["workload"].update(batch=64)), "evidence_header_matches"),
    "another time": (_predicate(lambda p: p.update(created="2030-01-01T00:00:00Z")), "evidence_header_matches"),
    "another edition's rules": (_predicate(lambda p: p["edition"].update(digest="00" * 32)), "edition_digest"),
    "an edition of the future": (_predicate(lambda p: p["edition"].update(name="2099")), "edition_digest"),
    "another lineage": (_predicate(lambda p: p["lineage"].update(sha256="00" * 32)), "lineage_digest"),
    "another companion": (_predicate(lambda p: p["companions"].update({"baseline.onnx": "00" * 32})), "companions"),
    "another contract": (_predicate(lambda p: p["preprocess"].update(colour="BGR")), "preprocess_matches"),
    "other evidence": (_predicate(lambda p: p["evidence"].update(bytes=1)), "evidence_digest"),
    "another file": (lambda s: s["subject"][0]["digest"].update(sha256="00" * 32), "file_digest"),
    "another model": (lambda s: s["subject"][0]["digest"].update(leanmarkContent="00" * 32), "content_digest"),
    "another type": (lambda s: s.update(predicateType="https://example.org/v1"), "schema"),
    "an unknown member": (_predicate(lambda p: p.update(more=1)), "schema"),
    "a letter and a refusal": (_predicate(lambda p: p.update(outcome="refused")), "schema"),
}


@pytest.mark.parametrize("what", LIES)
def test_verify_finds_the_lie_when_the_maker_signs_it(folder: Path, key: SigningKey, what: str) -> None:
    change, check = LIES[what]
    assert check in failed(resign(folder, change, key), key)


def _resign_evidence(folder: Path, evidence: Evidence, key: SigningKey) -> Verification:
    digest = evidence.write(folder / "evidence.jsonl")
    size = (folder / "evidence.jsonl").stat().st_size
    path = resign(folder, _predicate(lambda p: p.update(evidence={"sha256": digest, "bytes": size})), key)
    return verify(path, trust=[key.public])


def test_verify_derives_another_profile_when_one_window_is_altered_and_all_signed_again(
    folder: Path, key: SigningKey
) -> None:
    evidence = read_evidence(folder / "evidence.jsonl")
    index = next(i for i, w in enumerate(evidence.windows) if w.run == "main" and w.arm == "candidate")
    window = replace(evidence.windows[index], energy_j=(evidence.windows[index].energy_j or 0) * 0.999)
    altered = replace(evidence, windows=(*evidence.windows[:index], window, *evidence.windows[index + 1 :]))
    names = {check.name for check in _resign_evidence(folder, altered, key).failed}
    assert {"profile_follows", "grade_follows"} <= names
    assert not names & {"signature", "evidence_digest", "evidence_header_matches"}


def test_verify_derives_another_profile_when_one_prediction_is_altered_and_all_signed_again(
    folder: Path, key: SigningKey
) -> None:
    evidence = read_evidence(folder / "evidence.jsonl")
    wrong = next(i for i, p in enumerate(evidence.predictions) if p.candidate_top1 != p.label)
    better = replace(evidence.predictions[wrong], candidate_top1=evidence.predictions[wrong].label)
    altered = (*evidence.predictions[:wrong], better, *evidence.predictions[wrong + 1 :])
    assert "profile_follows" in {
        check.name for check in _resign_evidence(folder, replace(evidence, predictions=altered), key).failed
    }


def test_verify_finds_an_exchanged_sample_when_all_was_signed_again(folder: Path, key: SigningKey) -> None:
    evidence = read_evidence(folder / "evidence.jsonl")
    first = replace(evidence.predictions[0], digest="00" * 32)
    altered = replace(evidence, predictions=(first, *evidence.predictions[1:]))
    assert {check.name for check in _resign_evidence(folder, altered, key).failed} == {"test_set_matches"}


@pytest.mark.parametrize("duration", [0.0, -1.0, 1e308, 1e-308])
def test_verify_ends_in_a_failed_check_when_signed_evidence_can_not_have_been_measured(
    folder: Path, key: SigningKey, duration: float
) -> None:
    evidence = read_evidence(folder / "evidence.jsonl")
    windows = tuple(replace(window, duration_s=duration, energy_j=duration) for window in evidence.windows)
    assert not _resign_evidence(folder, replace(evidence, windows=windows), key).valid


def test_verify_ends_in_a_failed_check_when_signed_evidence_is_empty(folder: Path, key: SigningKey) -> None:
    evidence = Evidence(read_evidence(folder / "evidence.jsonl").header, (), (), (), ())
    assert "profile_follows" in {check.name for check in _resign_evidence(folder, evidence, key).failed}


def test_verify_notes_other_words_when_only_a_sentence_differs(folder: Path, key: SigningKey) -> None:
    change = _predicate(lambda p: p["profile"]["guards"][0].update(sentence="As an older version put it."))
    verification = verify(resign(folder, change, key), trust=[key.public])
    assert verification.valid and verification.rederived
    check = verification.check("profile_follows")
    assert check is not None and check.outcome == "note" and "counter_moved" in check.sentence


def test_certificate_can_not_be_read_when_changed_after_signing(folder: Path) -> None:
    content = (folder / "certificate.json").read_bytes()
    with pytest.raises(CertificateError):
        Certificate(content.replace(b'"payload":"', b'"payload":"A', 1))
