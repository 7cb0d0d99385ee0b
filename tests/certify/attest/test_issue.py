"""Issuing: what is written follows from the evidence, and only for the file that was measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from certify.assessments.efficiency.edition import load_edition
from certify.assessments.efficiency.grade import grade
from certify.assessments.efficiency.profile import derive
from certify.attest.certificate import Certificate, read_certificate
from certify.attest.keys import SigningKey
from certify.core.errors import CertificateError, UsageError
from certify.core.evidence import Evidence
from certify.core.evidence_file import read_evidence
from certify.data.preprocess import Preprocess
from certify.model_file.onnx_file.seal import MAX_CERTIFICATE_BYTES, read_seal, seal
from certify.workflows.issuance import issue

Builder = Callable[..., Evidence]
Contract = Callable[..., Preprocess]


def test_issue_writes_what_follows_from_the_evidence_when_everything_is_in_order(
    folder: Path, certified_evidence: Builder, key: SigningKey
) -> None:
    certificate = Certificate.read(folder / "certificate.json")
    evidence = certified_evidence()
    edition = load_edition("2026")
    expected = grade(derive(evidence, edition), edition)
    assert certificate.predicate["grade"]["letter"] == expected.letter
    assert certificate.outcome_text == expected.text
    assert certificate.predicate["outcome"] == "graded"
    assert certificate.predicate["model"]["name"] == "tinynet"
    assert certificate.signer == key.public
    assert certificate.envelope.signed_by(key.public)
    assert read_seal(folder / "model.onnx") == certificate.content
    assert Certificate.read(folder / "model.onnx") == certificate
    assert read_evidence(folder / "evidence.jsonl") == evidence
    assert hashlib.sha256(certificate.content).hexdigest() == certificate.digest


def test_issue_gives_the_same_bytes_when_repeated(
    folder: Path, normalised: Path, certified_evidence: Builder, key: SigningKey, make_papers: Callable[..., Path]
) -> None:
    make_papers(folder.parent / "again", normalised, certified_evidence(), key)
    for name in ("model.onnx", "certificate.json", "evidence.jsonl"):
        assert (folder.parent / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_issue_holds_no_secret_when_written(folder: Path, key: SigningKey) -> None:
    secret = key.private.private_bytes_raw()
    for path in folder.iterdir():
        assert secret not in path.read_bytes()
        assert secret.hex().encode() not in path.read_bytes()


def test_issue_needs_neither_lineage_nor_companions_when_the_file_is_foreign(
    normalised: Path, certified_evidence: Builder, key: SigningKey, make_contract: Contract, tmp_path: Path
) -> None:
    certificate = issue(normalised, certified_evidence(), None, make_contract(), {}, tmp_path, key)
    assert certificate.predicate["lineage"] is None
    assert certificate.predicate["model"]["name"] == "candidate"
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "certificate.json", "evidence.jsonl", "model.onnx", "signer.pub",
    ]  # fmt: skip


@pytest.mark.parametrize("knobs", [{"level": None}, {"both": 900}, {"host": {"foreign_cpu_share": 0.5}}])
def test_issue_signs_a_refusal_when_no_letter_can_be_given(
    normalised: Path,
    certified_evidence: Builder,
    key: SigningKey,
    make_contract: Contract,
    tmp_path: Path,
    knobs: dict[str, object],
) -> None:
    if "both" in knobs:
        knobs = {"both": 900, "only_baseline": 500}
    certificate = issue(normalised, certified_evidence(**knobs), None, make_contract(), {}, tmp_path, key)
    assert certificate.predicate["outcome"] == "refused"
    assert certificate.predicate["grade"]["reasons"]
    assert certificate.outcome_text == "refused"


def test_issue_refuses_when_another_file_was_measured(
    normalised: Path, certified_evidence: Builder, key: SigningKey, make_contract: Contract, tmp_path: Path
) -> None:
    evidence = certified_evidence()
    facts = replace(evidence.header.models["candidate"], content_digest="00" * 32)
    header = replace(evidence.header, models={**evidence.header.models, "candidate": facts})
    with pytest.raises(CertificateError, match="not the file that was measured"):
        issue(normalised, replace(evidence, header=header), None, make_contract(), {}, tmp_path, key)
    assert not list(tmp_path.iterdir())


def test_issue_refuses_when_the_contract_is_not_the_one_in_the_file(
    normalised: Path, certified_evidence: Builder, key: SigningKey, make_contract: Contract, tmp_path: Path
) -> None:
    with pytest.raises(CertificateError, match="preprocessing contract"):
        issue(normalised, certified_evidence(), None, make_contract(colour="BGR"), {}, tmp_path, key)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "header",
    [
        {"created": "yesterday"},
        {"attempt": 0},
        {"data": {"name": "mnist5k"}},
        {"device": {"temperature": float("nan")}},
    ],
)
def test_issue_refuses_when_the_header_does_not_fit_the_schema(
    normalised: Path,
    certified_evidence: Builder,
    key: SigningKey,
    make_contract: Contract,
    tmp_path: Path,
    header: dict[str, object],
) -> None:
    evidence = certified_evidence()
    with pytest.raises(CertificateError):
        issue(
            normalised,
            replace(evidence, header=replace(evidence.header, **header)),
            None,
            make_contract(),
            {},
            tmp_path,
            key,
        )
    assert not list(tmp_path.iterdir())


def test_issue_refuses_when_the_lineage_does_not_fit_its_schema(
    normalised: Path,
    certified_evidence: Builder,
    key: SigningKey,
    make_contract: Contract,
    make_lineage: Callable[[], dict[str, object]],
    tmp_path: Path,
) -> None:
    path = tmp_path / "lineage.json"
    path.write_text(json.dumps({**make_lineage(), "seed": "none"}))
    with pytest.raises(CertificateError, match=r"lineage-1: \$\.seed"):
        issue(normalised, certified_evidence(), path, make_contract(), {}, tmp_path / "out", key)
    path.write_text("{")
    with pytest.raises(CertificateError, match="not valid JSON"):
        issue(normalised, certified_evidence(), path, make_contract(), {}, tmp_path / "out", key)
    assert not (tmp_path / "out").exists()


def test_read_refuses_when_there_is_no_certificate(normalised: Path, tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="does not contain a"):
        Certificate.read(normalised)
    with pytest.raises(UsageError, match="cannot be read"):
        Certificate.read(tmp_path / "absent.json")
    (tmp_path / "large.json").write_bytes(b" " * (MAX_CERTIFICATE_BYTES + 1))
    with pytest.raises(CertificateError, match="larger"):
        read_certificate(tmp_path / "large.json")


def test_read_refuses_when_the_seal_is_not_a_certificate(normalised: Path, tmp_path: Path) -> None:
    seal(normalised, tmp_path / "m.onnx", b"{}")
    with pytest.raises(CertificateError):
        Certificate.read(tmp_path / "m.onnx")
