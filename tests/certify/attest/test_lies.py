"""Verification of what a maker signs though it is not so, and of what somebody else signs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from certify.attest.certificate import Certificate
from certify.attest.envelope import parse_envelope, sign
from certify.attest.keys import SigningKey, generate
from certify.attest.verification import Verification
from certify.attest.verify import verify
from certify.core.errors import CertificateError
from certify.core.evidence import Evidence
from certify.core.evidence_file import read_evidence, write_evidence

Resign = Callable[[Path, Callable[[dict[str, Any]], object], SigningKey], Path]


def failed(path: Path, key: SigningKey) -> set[str]:
    return {check.name for check in verify(path, trust=[key.public]).failed}


def test_verify_is_not_trusted_when_another_key_signed(
    folder: Path, key: SigningKey, tmp_path: Path, sign_again: Resign
) -> None:
    path = sign_again(folder, lambda statement: None, generate(tmp_path / "k.key"))
    verification = verify(path, trust=[key.public])
    assert verification.valid and verification.exit_code == 4


def test_verify_fails_the_signature_when_the_statement_names_another_key(
    folder: Path, key: SigningKey, tmp_path: Path, put_certificate: Callable[[Path, bytes], Path]
) -> None:
    other = generate(tmp_path / "k.key")
    payload = parse_envelope((folder / "certificate.json").read_bytes()).payload
    assert failed(put_certificate(folder, sign(payload, other).to_bytes()), key) == {"signature"}


def _predicate(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
    return lambda statement: change(statement["predicate"])


LIES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a better letter": (_predicate(lambda p: p["grade"].update(letter="A", text="A")), "outcome_follows"),
    "a better score": (_predicate(lambda p: p["grade"].update(score_db=9.9)), "outcome_follows"),
    "no tilde": (_predicate(lambda p: p["grade"].update(text="D!")), "outcome_follows"),
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
    "other metadata": (_predicate(lambda p: p["model"].update(metadata="00" * 32)), "content_digest"),
    "no metadata": (_predicate(lambda p: p["model"].update(metadata=None)), "content_digest"),
    "another model": (lambda s: s["subject"][0]["digest"].update(leanmarkContent="00" * 32), "content_digest"),
    "another type": (lambda s: s.update(predicateType="https://example.org/v1"), "schema"),
    "an unknown member": (_predicate(lambda p: p.update(more=1)), "schema"),
    "a letter and a refusal": (_predicate(lambda p: p.update(outcome="refused")), "schema"),
}


@pytest.mark.parametrize("what", LIES)
def test_verify_finds_the_lie_when_the_maker_signs_it(
    folder: Path, key: SigningKey, sign_again: Resign, what: str
) -> None:
    change, check = LIES[what]
    assert check in failed(sign_again(folder, change, key), key)


@pytest.fixture
def sign_evidence(folder: Path, key: SigningKey, sign_again: Resign) -> Callable[[Evidence], Verification]:
    """Puts other evidence into the folder, signs everything again and verifies it."""

    def resign(evidence: Evidence) -> Verification:
        digest = write_evidence(evidence, folder / "evidence.jsonl")
        size = (folder / "evidence.jsonl").stat().st_size
        path = sign_again(folder, _predicate(lambda p: p.update(evidence={"sha256": digest, "bytes": size})), key)
        return verify(path, trust=[key.public])

    return resign


def test_verify_derives_another_profile_when_one_window_is_altered_and_all_is_signed_again(
    folder: Path, sign_evidence: Callable[[Evidence], Verification]
) -> None:
    evidence = read_evidence(folder / "evidence.jsonl")
    index = next(i for i, w in enumerate(evidence.windows) if w.run == "main" and w.arm == "candidate")
    window = replace(evidence.windows[index], energy_j=(evidence.windows[index].energy_j or 0) * 0.999)
    altered = replace(evidence, windows=(*evidence.windows[:index], window, *evidence.windows[index + 1 :]))
    names = {check.name for check in sign_evidence(altered).failed}
    assert {"profile_follows", "outcome_follows"} <= names
    assert not names & {"signature", "evidence_digest", "evidence_header_matches"}


def test_verify_derives_another_profile_when_one_prediction_is_altered_and_all_is_signed_again(
    folder: Path, sign_evidence: Callable[[Evidence], Verification]
) -> None:
    evidence = read_evidence(folder / "evidence.jsonl")
    wrong = next(i for i, p in enumerate(evidence.predictions) if p.candidate_top1 != p.label)
    better = replace(evidence.predictions[wrong], candidate_top1=evidence.predictions[wrong].label)
    altered = (*evidence.predictions[:wrong], better, *evidence.predictions[wrong + 1 :])
    assert "profile_follows" in {check.name for check in sign_evidence(replace(evidence, predictions=altered)).failed}


def test_verify_finds_a_replaced_sample_when_everything_was_signed_again(
    folder: Path, sign_evidence: Callable[[Evidence], Verification]
) -> None:
    evidence, found = read_evidence(folder / "evidence.jsonl"), []
    for row in range(4):  # digests also rank the samples that are scored again, and those checks may fail too
        predictions = list(evidence.predictions)
        predictions[row] = replace(predictions[row], digest=f"{row:064x}")
        altered = replace(evidence, predictions=tuple(predictions))
        found.append({check.name for check in sign_evidence(altered).failed})
    assert all("test_set_matches" in failed for failed in found)
    assert {"test_set_matches"} in found


@pytest.mark.parametrize("duration", [0.0, -1.0, 1e308, 1e-308])
def test_verify_ends_in_a_failed_check_when_signed_evidence_cannot_have_been_measured(
    folder: Path, sign_evidence: Callable[[Evidence], Verification], duration: float
) -> None:
    evidence = read_evidence(folder / "evidence.jsonl")
    windows = tuple(replace(window, duration_s=duration, energy_j=duration) for window in evidence.windows)
    assert not sign_evidence(replace(evidence, windows=windows)).valid


def test_verify_ends_in_a_failed_check_when_signed_evidence_is_empty(
    folder: Path, sign_evidence: Callable[[Evidence], Verification]
) -> None:
    evidence = Evidence(read_evidence(folder / "evidence.jsonl").header, (), (), (), ())
    assert "profile_follows" in {check.name for check in sign_evidence(evidence).failed}


def test_verify_notes_other_wording_when_only_a_sentence_differs(
    folder: Path, key: SigningKey, sign_again: Resign
) -> None:
    change = _predicate(lambda p: p["profile"]["guards"][0].update(sentence="As an older version put it."))
    verification = verify(sign_again(folder, change, key), trust=[key.public])
    assert verification.valid and verification.derived
    check = verification.check("profile_follows")
    assert check is not None and check.outcome == "note" and "counter_moved" in check.sentence


def test_certificate_cannot_be_read_when_changed_after_signing(folder: Path) -> None:
    content = (folder / "certificate.json").read_bytes()
    with pytest.raises(CertificateError):
        Certificate(content.replace(b'"payload":"', b'"payload":"A', 1))
