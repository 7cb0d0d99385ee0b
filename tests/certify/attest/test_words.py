"""What people read is what follows: sentences that a signer put otherwise, and assessments that nobody installed."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from click.testing import CliRunner, Result

import certify
from certify.attest.certificate import Certificate
from certify.attest.envelope import parse_envelope, sign
from certify.attest.keys import SigningKey, new_key
from certify.attest.verify import verify
from certify.cli.main import main
from certify.core.errors import NotDerivedError
from certify.present.label.sidecars import label_of

BOAST = "The best model that anybody ever measured."
TYPE = "https://example.org/secure/novelty/v1"


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def boast(statement: dict[str, Any]) -> None:
    """Put other words wherever words alone stand."""
    predicate = statement["predicate"]
    for guard in predicate["profile"]["guards"]:
        guard["sentence"] = BOAST
    for estimate in predicate["profile"]["estimates"].values():
        estimate["method"] = BOAST
    for name in ("reasons", "notes"):
        predicate["grade"][name] = [BOAST] * len(predicate["grade"][name])


@pytest.fixture(params=[{}, {"host": {"foreign_cpu_share": 0.4}}], ids=["graded", "refused"])
def reworded(
    request: pytest.FixtureRequest, tmp_path: Path, key: SigningKey, normalised: Path, make_papers: Any,
    certified_evidence: Any, sign_again: Any,
) -> Path:  # fmt: skip
    folder = make_papers(tmp_path / "out", normalised, certified_evidence(**request.param), key).parent
    model: Path = sign_again(folder, boast, key)
    assert BOAST in (folder / "certificate.json").read_text() or BOAST in str(Certificate.read(model).predicate)
    return model


def test_derived_sentences_are_shown_instead_of_the_signed_ones(reworded: Path, key: SigningKey) -> None:
    found = verify(reworded, trust=[key.public])
    assert found.strict_exit_code == 0, str(found)
    checks = [found.check(name) for name in ("profile_follows", "outcome_follows")]
    assert ["the derived words are shown" in check.sentence for check in checks if check] == [True, True]
    assert found.certificate is not None
    for told in (str(found), json.dumps(found.to_json()), label_of(found.certificate), certify.report(reworded)):
        assert BOAST not in told
    audited = run("audit", reworded, "--verbose", "--trust", key.public.hex)
    assert audited.exit_code == 0 and "(reworded)" in audited.output and BOAST not in audited.output
    assert run("label", reworded).exit_code == 0
    assert BOAST not in (reworded.parent / "label.svg").read_text()


def test_label_is_noted_when_it_has_the_signers_wording_and_fails_otherwise(reworded: Path) -> None:
    drawn, label = Certificate.read(reworded), reworded.parent / "label.svg"
    label.write_text(label_of(drawn))
    check = verify(reworded).check("label")
    assert check is not None
    if BOAST in label.read_text():
        assert check.outcome == "note" and "signer's words" in check.sentence
    else:  # nothing that it says was reworded
        assert check.outcome == "pass"
    label.write_text(label_of(drawn).replace("</svg>", " </svg>"))
    assert verify(reworded).exit_code == 1


@pytest.fixture
def unknown(folder: Path, key: SigningKey) -> Callable[..., Path]:
    """Lays a statement of a type that no package knows beside the model; gives its records."""

    def lay(signer: SigningKey = key, **changes: Any) -> Path:
        statement = json.loads(parse_envelope((folder / "certificate.json").read_bytes()).payload)
        statement["predicateType"] = TYPE
        statement["predicate"] |= {"result": {"text": BOAST}, "outcome": "refused", **changes}
        statement["predicate"]["signer"]["public_key"] = signer.public.hex
        (folder / "statements").mkdir(exist_ok=True)
        (folder / "statements" / "novelty.json").write_bytes(sign(rfc8785.dumps(statement), signer).to_bytes())
        records = folder / "statements" / "novelty.evidence.jsonl"
        shutil.copyfile(folder / "evidence.jsonl", records)
        return records

    return lay


def test_statement_is_not_derived_when_its_assessment_is_not_installed(
    folder: Path, key: SigningKey, unknown: Callable[..., Path]
) -> None:
    unknown()
    found = verify(folder / "model.onnx", trust=[key.public])
    assert (found.valid, found.trusted, found.derived) == (True, True, False), str(found)
    assert (found.exit_code, found.strict_exit_code) == (0, 5)
    assert f"NOT DERIVED (novelty: The statement is of unknown type '{TYPE}'" in found.verdict
    assert BOAST not in str(found) and BOAST not in json.dumps(found.to_json())
    (other,) = found.others
    outcomes = {check.name: check.outcome for check in other.checks}
    assert {name for name, outcome in outcomes.items() if outcome == "pass"} >= {
        "signature", "content_digest", "file_digest", "evidence_digest", "lineage_digest", "companions"
    }  # fmt: skip
    assert outcomes["profile_follows"] == outcomes["outcome_follows"] == outcomes["edition_digest"] == "skipped"
    trust = ("--trust", key.public.hex)
    assert [run(*command, folder / "model.onnx", *trust).exit_code for command in (
        ("verify",), ("verify", "--strict"), ("gate",), ("audit",)
    )] == [0, 5, 5, 5]  # fmt: skip
    with pytest.raises(NotDerivedError, match="novelty"):
        certify.report(folder / "model.onnx")


def test_label_is_not_compared_when_it_may_show_an_assessment_that_is_not_installed(
    folder: Path, unknown: Callable[..., Path]
) -> None:
    unknown()
    assert getattr(verify(folder / "model.onnx").check("label"), "outcome", None) in ("note", "pass")
    label = folder / "label.svg"
    label.write_text(label.read_text().replace("</svg>", "<text>novelty</text></svg>"))
    assert getattr(verify(folder / "model.onnx").check("label"), "outcome", None) == "skipped"


def test_statement_of_an_uninstalled_assessment_is_refused_when_altered_or_signed_by_a_stranger(
    folder: Path, key: SigningKey, unknown: Callable[..., Path]
) -> None:
    records, model = unknown(), folder / "model.onnx"
    with records.open("ab") as stream:
        stream.write(b"{}")
    assert [check.name for check in verify(model, trust=[key.public]).failed] == ["novelty.evidence_digest"]
    unknown(created="tomorrow")
    assert [check.name for check in verify(model, trust=[key.public]).failed] == ["novelty.schema"]
    unknown(signer=new_key())
    assert verify(model, trust=[key.public]).strict_exit_code == 4
    path = folder / "statements" / "novelty.json"
    path.write_bytes(path.read_bytes().replace(b'"sig":"', b'"sig":"A', 1))
    assert verify(model, trust=[key.public]).exit_code == 1


def test_certificate_is_not_valid_when_its_type_is_unknown(folder: Path, key: SigningKey, sign_again: Any) -> None:
    model = sign_again(folder, lambda statement: statement.update(predicateType=TYPE), key)
    found = verify(model, trust=[key.public])
    assert found.exit_code == 1 and [check.name for check in found.failed] == ["schema"]


def test_certificate_is_shown_as_signed_until_derived(folder: Path) -> None:
    certificate = Certificate.read(folder / "certificate.json")
    assert certificate.displayed == certificate.predicate
    changed = replace(certificate, derived={"outcome": "refused"})
    assert changed == certificate and changed.outcome_text == "refused"
