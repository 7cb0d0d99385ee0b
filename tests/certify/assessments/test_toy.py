"""A new assessment is a new room: a third party's is stated, verified, audited, shown, gated and exported."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from click.testing import CliRunner, Result

import certify
from certify.attest.envelope import parse_envelope, sign
from certify.attest.keys import SigningKey, new_key, store_key
from certify.attest.statements import records_path, remove_outdated
from certify.cli.main import main
from certify.core.errors import CertificateError, UsageError
from certify.model_file.subject import subject_digests

pytestmark = pytest.mark.usefixtures("installed")

State = Callable[..., Path]


@pytest.fixture
def key(graded: Any) -> SigningKey:
    found: SigningKey = graded.key
    return found


@pytest.fixture
def model(graded: Any, tmp_path: Path) -> Path:
    """A certified model without further statements, in a folder of its own."""
    folder = tmp_path / "graded"
    shutil.copytree(graded.path.parent, folder)
    return folder / graded.path.name


@pytest.fixture
def state(model: Path, key: SigningKey, tmp_path: Path) -> State:
    """Lays a statement of the toy beside the model."""

    def make(**knobs: int) -> Path:
        from steadiness import Steadiness, records

        source = tmp_path / "records.jsonl"
        source.write_bytes(Steadiness().dump(records(subject_digests(model), **knobs)))
        certify.state(model, "steadiness", source, edition="2026", signer=key)
        return model.parent / "statements" / "steadiness.json"

    return make


def run(key: SigningKey, command: str, *arguments: object) -> Result:
    trust = ("--trust", key.public.hex) if command in ("verify", "audit", "gate", "export") else ()
    return CliRunner().invoke(main, [command, *map(str, (*arguments, *trust))])


def outcomes(model: Path, key: SigningKey) -> dict[str, str]:
    found = certify.verify(model, trust=[key.public])
    return {check.name: check.outcome for check in found.others[0].checks}


def test_statement_is_verified_when_it_is_next_to_the_model(model: Path, key: SigningKey, state: State) -> None:
    state()
    found = certify.verify(model, trust=[key.public])
    assert found.strict_exit_code == 0 and found.trusted and found.derived, str(found)
    assert [one.name for one in found.others] == ["steadiness"]
    checks = outcomes(model, key)
    assert checks["profile_follows"] == checks["outcome_follows"] == checks["content_digest"] == "pass"
    assert "fail" not in checks.values()
    assert "steadiness steady, edition 2026" in found.verdict


def test_only_statements_about_another_model_are_removed_when_one_was_replaced(
    model: Path, key: SigningKey, state: State
) -> None:
    statement, digests = state(), subject_digests(model)
    (statement.parent / "broken.json").write_text("{}")
    remove_outdated(model.parent, digests)
    assert statement.is_file() and records_path(statement).is_file()
    remove_outdated(model.parent, {**digests, "sha256": "0" * 64})
    assert sorted(path.name for path in statement.parent.iterdir()) == ["broken.json"]


def test_commands_show_the_statement(model: Path, key: SigningKey, state: State) -> None:
    state()
    verified, audited = run(key, "verify", model, "--strict"), run(key, "audit", model, "--verbose")
    assert (verified.exit_code, audited.exit_code) == (0, 0), verified.output + audited.output
    assert "steadiness:" in verified.output and "enough_samples" in audited.output
    assert "the result steady follow" in " ".join(audited.output.split())
    shown = json.loads(run(key, "verify", model, "--json").stdout)
    assert shown["statements"]["steadiness"]["certificate"]["result"]["text"] == "steady"
    assert json.loads(run(key, "audit", model, "--json").stdout)["statements"]["steadiness"]["agrees"]


def test_state_prints_the_outcome_and_exits_with_3_when_it_is_a_refusal(
    model: Path, tmp_path: Path, key: SigningKey
) -> None:
    from steadiness import Steadiness, records

    private = tmp_path / "private.key"
    store_key(key, private)
    for steady, code, words in ((97, 0, "steady, share 0.970"), (70, 3, "refused: The share may be as low")):
        source = tmp_path / "records.jsonl"
        source.write_bytes(Steadiness().dump(records(subject_digests(model), steady)))
        result = run(key, "state", model, "--assessment", "steadiness", "--records", source, "--key", private)
        assert result.exit_code == code and words in result.output, result.output


def test_label_and_report_show_the_statement(model: Path, key: SigningKey, state: State) -> None:
    before = (model.parent / "label.svg").read_text()
    state()
    label = (model.parent / "label.svg").read_text()
    assert "Steadiness" in label and "Steadiness" not in before
    assert {check.name: check.outcome for check in certify.verify(model).checks}["label"] == "pass"
    page = certify.report(model)
    assert 'id="statement-steadiness"' in page and "It says nothing about other changes" in page
    assert "0.970 (" in page


def test_label_is_noted_when_it_was_drawn_before_the_statement(model: Path, key: SigningKey, state: State) -> None:
    before = (model.parent / "label.svg").read_text()
    state()
    (model.parent / "label.svg").write_text(before)
    found = certify.verify(model, trust=[key.public])
    assert found.valid and found.check("label") is not None and found.check("label").outcome == "note"  # type: ignore[union-attr]
    assert run(key, "label", model).exit_code == 0
    assert (model.parent / "label.svg").read_text() != before


@pytest.mark.parametrize(
    ("requirement", "code"),
    [
        ("steadiness", 0),
        ("steadiness.steady>=0.9", 0),
        ("steadiness.steady>=0.97", 3),  # the point, not the lower end
        ("steadiness.steady<=0.97", 3),  # the point, not the upper end
        ("steadiness.other<=1", 3),
        ("privacy", 3),
        ("efficiency.energy_ratio<=0.5", 0),
        ("efficiency.energy_ratio<=0.1", 3),
        ("steadiness.steady=1", 2),
        ("steadiness.steady<=x", 2),
    ],
)
def test_gate_asks_for_the_statement(model: Path, key: SigningKey, state: State, requirement: str, code: int) -> None:
    state()
    result = run(key, "gate", model, "--require", requirement)
    assert result.exit_code == code, result.output


def test_gate_fails_when_the_statement_is_a_refusal(model: Path, key: SigningKey, state: State) -> None:
    state(steady=70)
    assert certify.verify(model, trust=[key.public]).valid
    result = run(key, "gate", model, "--require", "steadiness")
    assert result.exit_code == 3 and "is a refusal" in result.output
    assert run(key, "gate", model).exit_code == 0


@pytest.mark.parametrize("name", ["cyclonedx", "hf-model-card", "in-toto", "spdx3"])
def test_export_holds_the_statement(model: Path, key: SigningKey, state: State, name: str) -> None:
    bare = run(key, "export", model, "--format", name)
    state()
    result = run(key, "export", model, "--format", name)
    assert result.exit_code == 0, result.output
    for words in ("steadiness", "enough_samples".replace("_", "\\_") if name == "hf-model-card" else "enough_samples"):
        assert words in result.stdout.lower() or words in result.stdout.replace("Steady", "steadiness")
        assert words not in bare.stdout


ALTERED: dict[str, Callable[[list[Any]], object]] = {
    "an answer": lambda lines: lines[1].update(steady=False),
    "a sample left out": lambda lines: lines.pop(5),
    "a sample added": lambda lines: lines.append({"steady": True}),
    "the shift": lambda lines: lines[0].update(shift=2),
    "the model": lambda lines: lines[0]["model"].update(sha256="00" * 32),
    "the time": lambda lines: lines[0].update(created="2025-01-02T03:04:05Z"),
}


@pytest.mark.parametrize("what", ALTERED)
def test_tampered_records_are_found(model: Path, key: SigningKey, state: State, what: str) -> None:
    from steadiness import lines

    records = state().with_name("steadiness.evidence.jsonl")
    values = lines(records.read_bytes())
    ALTERED[what](values)
    records.write_bytes(b"".join(rfc8785.dumps(value) + b"\n" for value in values))
    found = certify.verify(model, trust=[key.public])
    assert found.exit_code == 1 and "steadiness.evidence_digest" in found.verdict
    for command in (("audit",), ("gate",), ("report",), ("label",), ("export", "--format", "in-toto")):
        assert run(key, command[0], model, *command[1:]).exit_code == 1, command


@pytest.mark.parametrize("what", ALTERED)
def test_false_records_are_found_when_signed_by_the_signer(
    model: Path, key: SigningKey, state: State, what: str
) -> None:
    """The signer alters records and signs their new digest, but keeps what followed from the old ones."""
    import hashlib

    from steadiness import lines

    statement = state()
    records = statement.with_name("steadiness.evidence.jsonl")
    values = lines(records.read_bytes())
    ALTERED[what](values)
    content = b"".join(rfc8785.dumps(value) + b"\n" for value in values)
    records.write_bytes(content)
    signed = json.loads(parse_envelope(statement.read_bytes()).payload)
    signed["predicate"]["evidence"] = {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    statement.write_bytes(sign(rfc8785.dumps(signed), key).to_bytes())
    failed = {check.name for check in certify.verify(model, trust=[key.public]).failed}
    assert failed and failed <= {
        "steadiness.profile_follows", "steadiness.outcome_follows", "steadiness.evidence_header_matches",
    }  # fmt: skip


def test_forged_outcome_is_found_when_signed_by_the_signer(model: Path, key: SigningKey, state: State) -> None:
    statement = state(steady=70)
    signed = json.loads(parse_envelope(statement.read_bytes()).payload)
    signed["predicate"] |= {"outcome": "claimed", "result": {"text": "steady", "reasons": [], "notes": []}}
    statement.write_bytes(sign(rfc8785.dumps(signed), key).to_bytes())
    failed = {check.name for check in certify.verify(model).failed}
    assert failed - {"label", "label_picture"} == {"steadiness.outcome_follows"}  # the label shows the true one


def test_statement_is_not_derived_when_its_records_are_missing(model: Path, key: SigningKey, state: State) -> None:
    state().with_name("steadiness.evidence.jsonl").unlink()
    found = certify.verify(model, trust=[key.public])
    assert (found.exit_code, found.strict_exit_code) == (0, 5)
    for command in (("audit",), ("gate",), ("report",), ("export", "--format", "in-toto")):
        assert run(key, command[0], model, *command[1:]).exit_code == 5, command


def test_verify_refuses_a_statement_about_another_model(model: Path, key: SigningKey, state: State) -> None:
    statement = state()
    signed = json.loads(parse_envelope(statement.read_bytes()).payload)
    signed["subject"][0]["digest"]["leanmarkContent"] = "00" * 32
    statement.write_bytes(sign(rfc8785.dumps(signed), key).to_bytes())
    assert "steadiness.content_digest" in {check.name for check in certify.verify(model).failed}


def test_statement_alone_is_verified_when_the_model_has_no_certificate(
    model: Path, key: SigningKey, state: State, tmp_path: Path
) -> None:
    from certify.model_file.model_file import open_model

    statement = state()
    bare = tmp_path / "bare" / "model.onnx"
    bare.parent.mkdir()
    with open_model(model) as opened:
        opened.write_unsealed(bare)
    shutil.copytree(statement.parent, bare.parent / "statements")
    found = certify.verify(bare, trust=[key.public])
    assert found.strict_exit_code == 0 and found.name == "steadiness", str(found)
    assert run(key, "audit", bare).exit_code == 0
    assert run(key, "gate", bare, "--require", "steadiness").exit_code == 0
    assert run(key, "gate", bare, "--at-least", "C").exit_code == run(key, "gate", bare).exit_code == 3
    check = found.check("certificate")
    assert check is not None and check.outcome == "note"
    (bare.parent / "label.svg").write_text("<svg>a letter</svg>")
    assert {check.name for check in certify.verify(bare, trust=[key.public]).failed} == {"label"}
    (bare.parent / "label.svg").unlink()
    signed = certify.verify(bare, trust=[key.public], identity="somebody@example.org", issuer="https://example.org")
    assert {check.name for check in signed.failed} == {"identity"}


def test_verify_names_the_assessment_when_its_own_checks_end_in_an_error(
    model: Path, key: SigningKey, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    from steadiness import Steadiness

    state()
    monkeypatch.setattr(Steadiness, "checks", lambda self, around: iter([around.predicate["no such field"]]))
    failed = {check.name: check for check in certify.verify(model, trust=[key.public]).failed}
    assert "no such field" in failed["steadiness.own_checks"].sentence


@pytest.mark.parametrize(
    ("assessment", "edition", "error"),
    [("steadines", "2026", "steadiness"), ("steadiness", "1999", "1999"), ("efficiency", "2026", "seals")],
)
def test_state_refuses_when_the_name_is_wrong(
    model: Path, state: State, assessment: str, edition: str, error: str
) -> None:
    records = state().with_name("steadiness.evidence.jsonl")
    with pytest.raises(UsageError, match=error):
        certify.state(model, assessment, records, edition=edition)


def test_state_refuses_when_the_records_are_about_another_file(model: Path, key: SigningKey, tmp_path: Path) -> None:
    from steadiness import Steadiness, records

    source = tmp_path / "records.jsonl"
    source.write_bytes(Steadiness().dump(records({"sha256": "00" * 32, "leanmarkContent": "11" * 32})))
    with pytest.raises(CertificateError, match="not the file"):
        certify.state(model, "steadiness", source, edition="2026", signer=key)
    assert not (model.parent / "statements").exists()


@pytest.mark.parametrize("how", ["pipe", "device", "folder", "text", "huge"])
def test_verify_fails_without_blocking_when_a_statement_is_not_a_regular_file(
    model: Path, key: SigningKey, how: str
) -> None:
    path = model.parent / "statements" / "steadiness.json"
    path.parent.mkdir()
    makers: dict[str, Callable[[], object]] = {
        "pipe": lambda: os.mkfifo(path),
        "device": lambda: path.symlink_to("/dev/zero"),
        "folder": path.mkdir,
        "text": lambda: path.write_text("{"),
        "huge": lambda: path.write_bytes(b" " * (64 << 20)),
    }
    makers[how]()
    found = certify.verify(model, trust=[key.public])
    assert found.exit_code == 1 and "steadiness." in found.verdict


def strip(model: Path) -> None:
    """Take the certificate away, in the file and beside it; anybody can."""
    from certify.model_file.model_file import open_model

    bare = model.with_name("bare.onnx")
    with open_model(model) as opened:
        opened.write_unsealed(bare)
    bare.replace(model)
    for name in ("certificate.json", "label.svg", "label.png"):
        (model.parent / name).unlink(missing_ok=True)


def test_gate_fails_when_the_certificate_was_removed_and_a_refusal_remains(
    model: Path, key: SigningKey, state: State
) -> None:
    state(steady=70)
    strip(model)
    for options in ((), ("--require", "steadiness"), ("--at-least", "G"), ("--metered",)):
        result = run(key, "gate", model, *options)
        assert result.exit_code == 3, (options, result.output)


@pytest.mark.parametrize("place", ["sealed", "beside"])
def test_verify_fails_when_another_statement_replaces_the_certificate(
    model: Path, key: SigningKey, state: State, place: str
) -> None:
    from certify.model_file.model_file import open_model

    statement = state()
    strip(model)
    older = statement.read_bytes()
    if place == "sealed":
        bare = model.with_name("bare.onnx")
        model.replace(bare)
        with open_model(bare) as opened:
            opened.write_sealed(model, older)
    else:
        (model.parent / "certificate.json").write_bytes(older)
        shutil.copy(statement.with_name("steadiness.evidence.jsonl"), model.parent / "evidence.jsonl")
    state(steady=70)  # the newer one is a refusal
    assert "statement_name" in {check.name for check in certify.verify(model, trust=[key.public]).failed}
    result = run(key, "gate", model, "--require", "steadiness.steady>=0.9")
    assert result.exit_code == 1


def test_further_statements_are_checked_when_the_certificate_is_named(
    model: Path, key: SigningKey, state: State
) -> None:
    statement = state()
    named = model.parent / "certificate.json"
    assert certify.verify(model, certificate=named, trust=[key.public]).exit_code == 0
    assert run(key, "report", model, "--certificate", named).exit_code == 0
    statement.write_text("{}")
    assert certify.verify(model, certificate=named, trust=[key.public]).exit_code == 1


def test_audit_derives_nothing_from_records_that_were_not_signed(
    model: Path, key: SigningKey, state: State, tmp_path: Path
) -> None:
    from steadiness import Steadiness, records

    state()
    other = tmp_path / "other.jsonl"
    other.write_bytes(Steadiness().dump(records({"sha256": "00" * 32, "leanmarkContent": "11" * 32})))
    strip(model)
    assert run(key, "audit", model, "--evidence", other).exit_code == 1
    assert run(key, "audit", model).exit_code == 0


def test_countersigning_ignores_what_others_put_next_to_the_model(model: Path, key: SigningKey, tmp_path: Path) -> None:
    from certify.attest.audit import audit
    from certify.attest.countersignature import Countersignature, countersign

    (model.parent / "statements").mkdir()
    (model.parent / "statements" / "steadiness.json").write_text("{}")
    with pytest.raises(CertificateError):
        audit(model, trust=[key.public])
    (model.parent / "statements" / "steadiness.json").unlink()
    (model.parent / "statements" / "x.json").symlink_to("x.json")
    found = certify.verify(model, trust=[key.public])
    assert found.exit_code == 1 and "x.statement" in found.verdict
    (model.parent / "statements" / "x.json").unlink()
    signed, written = countersign(audit(model, trust=[key.public]), new_key())
    assert Countersignature(written["countersignature"], signed).agrees


def test_efficiency_commands_refuse_a_lone_statement_in_one_sentence(
    model: Path, key: SigningKey, state: State
) -> None:
    state()
    strip(model)
    (model.parent / "baseline.onnx").write_bytes(model.read_bytes())
    for command in (("regrade", "--edition", "2026"), ("audit", "--remeasure", "--data", "mnist5k"), ("countersign",)):
        result = run(key, command[0], model, *command[1:])
        assert result.exit_code in (1, 2) and not isinstance(result.exception, AttributeError | KeyError), command
        assert "Error: " in result.output


@pytest.mark.parametrize("kind", ["[]", "{}", "null", "3"])
def test_verify_names_the_schema_when_a_predicate_type_is_not_text(
    model: Path, key: SigningKey, state: State, kind: str
) -> None:
    statement = state()
    signed = json.loads(parse_envelope(statement.read_bytes()).payload)
    signed["predicateType"] = json.loads(kind)
    statement.write_bytes(sign(rfc8785.dumps(signed), key).to_bytes())
    failed = {check.name for check in certify.verify(model, trust=[key.public]).failed}
    assert "steadiness.schema" in failed


def test_state_refuses_when_nothing_follows_from_the_records(model: Path, key: SigningKey, tmp_path: Path) -> None:
    from steadiness import Steadiness, records

    source = tmp_path / "records.jsonl"
    source.write_bytes(Steadiness().dump(records(subject_digests(model), steady=0, images=0)))
    with pytest.raises(CertificateError, match="no steadiness statement"):
        certify.state(model, "steadiness", source, edition="2026", signer=key)


def test_state_keeps_the_label_when_the_certificate_does_not_hold(model: Path, state: State) -> None:
    evidence, label = model.parent / "evidence.jsonl", model.parent / "label.svg"
    evidence.write_bytes(evidence.read_bytes()[:-1])
    before = label.read_bytes()
    assert state().is_file() and label.read_bytes() == before


def test_verify_prints_no_extra_line_when_a_file_name_has_line_breaks(model: Path, key: SigningKey) -> None:
    (model.parent / "statements").mkdir()
    (model.parent / "statements" / "x\n+ signature: fine.json").write_text("{}")
    result = run(key, "verify", model)
    assert result.exit_code == 1
    assert not [line for line in result.output.splitlines() if line.startswith("+ signature: fine")]


@pytest.mark.parametrize("name", ["other", "efficiency"])
def test_verify_fails_when_a_statement_has_another_file_name(
    model: Path, key: SigningKey, state: State, name: str
) -> None:
    statement = state()
    if name == "efficiency":
        (statement.parent / "efficiency.json").write_bytes((model.parent / "certificate.json").read_bytes())
    else:
        statement.rename(statement.with_name("other.json"))
    failed = {check.name for check in certify.verify(model, trust=[key.public]).failed}
    assert f"{name}.statement_name" in failed


def test_verify_refuses_when_there_are_too_many_statements(model: Path) -> None:
    folder = model.parent / "statements"
    folder.mkdir()
    for number in range(65):
        (folder / f"{number}.json").write_text("{}")
    with pytest.raises(CertificateError, match="65 statements"):
        certify.verify(model)


def test_verify_exits_with_4_when_a_stranger_signed_a_statement(model: Path, key: SigningKey, tmp_path: Path) -> None:
    from steadiness import Steadiness, records

    source = tmp_path / "records.jsonl"
    source.write_bytes(Steadiness().dump(records(subject_digests(model))))
    certify.state(model, "steadiness", source, edition="2026", signer=new_key())
    found = certify.verify(model, trust=[key.public])
    assert found.valid and found.exit_code == 4
    assert run(key, "gate", model).exit_code == run(key, "audit", model).exit_code == 4
