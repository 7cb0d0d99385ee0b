"""Another edition's letter from stored evidence."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from certify.attest.certificate import Certificate
from certify.attest.keys import SigningKey, signing_key
from certify.attest.verify import verify
from certify.cli.main import main
from certify.core.errors import CertificateError, UsageError
from certify.core.evidence import Evidence
from certify.workflows.regrade import issue_regrade, regrade

Builder = Callable[..., Evidence]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def stricter(monkeypatch: pytest.MonkeyPatch) -> None:
    """An edition in which a letter takes twice the energy."""
    text = (resources.files("certify.assessments.efficiency") / "editions" / "2026.yaml").read_text()
    later = text.replace('name: "2026"', 'name: "2031"').replace("energy_weight: 10.0", "energy_weight: 5.0")
    files = {"2026": text.encode(), "2031": later.encode()}
    monkeypatch.setattr("certify.assessments.efficiency.edition.edition_files", lambda _: files)


@pytest.mark.usefixtures("stricter")
def test_regrade_gives_another_letter_when_the_edition_is_stricter(folder: Path) -> None:
    found = regrade(folder / "model.onnx", "2031")
    certified = found.audit.certificate.predicate["grade"]
    assert (certified["letter"], found.grade.letter) == ("F", "G") or found.grade.score_db < certified["score_db"]
    before = sorted(path.name for path in folder.iterdir())
    result = run("regrade", folder / "model.onnx", "--edition", "2031")
    assert result.exit_code == 0, result.output
    assert "Edition 2026, as certified:" in result.stdout and "Edition 2031:" in result.stdout
    assert f"Grade {certified['letter']}" in result.stdout and f"Grade {found.grade.letter}" in result.stdout
    assert sorted(path.name for path in folder.iterdir()) == before


@pytest.mark.usefixtures("stricter")
def test_issue_regrade_names_the_first_certificate_when_written(folder: Path, key: SigningKey, tmp_path: Path) -> None:
    first = Certificate.read(folder / "certificate.json")
    out = tmp_path / "later"
    result = run("regrade", folder / "model.onnx", "--edition", "2031", "--out", out, "--json")
    assert result.exit_code == 0, result.output
    issued = Certificate.read(out / "model.onnx")
    assert json.loads(result.stdout)["certificate"] == issued.digest
    assert issued.predicate["edition"]["name"] == "2031"
    assert issued.predicate["regrade_of"] == {
        "certificate": first.digest,
        "edition": "2026",
        "key_id": key.public.key_id,
    }
    assert issued.signer == signing_key().public != key.public
    assert issued.subject_digest == first.subject_digest
    verification = verify(out / "model.onnx")
    assert verification.exit_code == 0 and verification.derived, str(verification)
    assert {check.outcome for check in verification.checks} <= {"pass"}
    assert Certificate.read(folder / "model.onnx") == first
    again = regrade(out / "model.onnx", "2026")
    assert again.grade.text == first.outcome_text


@pytest.mark.usefixtures("stricter")
def test_regrade_refuses_when_it_would_hide_or_break_the_first(folder: Path, key: SigningKey) -> None:
    found = regrade(folder / "model.onnx", "2031")
    with pytest.raises(UsageError, match="another folder"):
        issue_regrade(found, folder, key)
    (folder / "lineage.json").unlink()
    with pytest.raises(UsageError, match=r"lineage\.json not found next to"):
        issue_regrade(found, folder.parent / "later", key)
    with pytest.raises(UsageError, match="2026"):
        regrade(folder / "model.onnx", "2025")
    (folder / "label.svg").write_text("<svg/>")
    with pytest.raises(CertificateError, match="not valid under its own edition"):
        regrade(folder / "model.onnx", "2031")


def test_regrade_gives_no_letter_to_a_refusal_when_the_edition_is_the_same(
    tmp_path: Path, normalised: Path, certified_evidence: Builder, make_papers: Callable[..., Path], key: SigningKey
) -> None:
    model = make_papers(tmp_path / "out", normalised, certified_evidence(null_bias=0.2), key)
    found = regrade(model, "2026")
    assert found.grade.letter is None and found.to_json()["regraded"]["grade"]["text"] == "refused"


def test_verify_fails_when_the_edition_is_not_the_signed_one(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (resources.files("certify.assessments.efficiency") / "editions" / "2026.yaml").read_bytes()
    monkeypatch.setattr(
        "certify.assessments.efficiency.edition.edition_files", lambda _: {"2026": text + b"# a comment\n"}
    )
    verification: Any = verify(folder / "model.onnx")
    assert verification.check("edition_digest").outcome == "fail"
