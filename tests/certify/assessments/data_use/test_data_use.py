"""The data-use statement: what an honest folder gives, what a forged one is found by, and what forgetting leaves."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
import rfc8785
from click.testing import CliRunner, Result
from onnx import TensorProto, helper

import certify
from certify.assessment.assessment import profile_of
from certify.assessments.data_use.assessment import DataUse
from certify.assessments.data_use.edition import load_edition
from certify.assessments.data_use.recording import record
from certify.assessments.data_use.records import Records, dump_records, join, withhold, write
from certify.attest.auditor import Access
from certify.attest.keys import new_key
from certify.attest.verify import verify
from certify.cli.main import main
from certify.core.data_use.chain import chained
from certify.core.data_use.folder import MadeModel, UseFolder
from certify.core.data_use.guard import Use, using
from certify.core.data_use.merkle import root_of
from certify.core.data_use.times import now
from certify.core.errors import CertificateError, UsageError
from certify.data import load
from certify.model_file.subject import subject_digests
from certify.testing.assessment import check_assessment
from certify.workflows.use_control import forget, require_absence, subject, why_not_permitted

sys.path.insert(0, str(Path(__file__).parents[2] / "core" / "data_use"))

from governed_data import KEY, LATER, MARKETING, RESEARCH, governed, receipt

USE = Use(RESEARCH, "", KEY)
SIGNER = new_key()
ACTIONS = ("train", "evaluate")


def write_model(path: Path, name: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    ports = [helper.make_tensor_value_info(port, TensorProto.FLOAT, [1, 4]) for port in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], name, ports[:1], ports[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def make(folder: UseFolder, path: Path, seen: list[str], **changed: Any) -> Records:
    """What a job on governed data leaves: a model in the journal, and its records."""
    digests = subject_digests(path)
    model = MadeModel(
        digests["sha256"], digests["leanmarkContent"], "model", str(path), now(), folder.policy().digest, RESEARCH,
        ACTIONS, root_of(seen), tuple(sorted(seen)),
    )  # fmt: skip
    folder.add_model(replace(model, **changed))
    return record(folder, USE, digests, ACTIONS, seen, now(), "0.1.0")


@pytest.fixture
def place(tmp_path: Path) -> tuple[UseFolder, Path, list[str]]:
    """Data that a job has read, the model that it made, and what the model saw."""
    spec, folder, _ = governed(tmp_path)
    with using(USE):
        data = load(spec)
    assert data.train is not None and data.validation is not None
    assert len(data.train.labels) and len(data.validation.labels)
    model = write_model(tmp_path / "out" / "model.onnx", "first")
    return folder, model, [*data.train.identifiers, *data.validation.identifiers]


@pytest.fixture
def honest(place) -> Records:
    return make(*place)


def judged(records: Records) -> tuple[str, set[str]]:
    """The outcome, and the checks that failed."""
    edition = load_edition()
    profile = profile_of(DataUse(), records, edition)
    return DataUse().outcome(profile, edition).text, {one.name for one in profile.guards if one.outcome == "fail"}


def test_assessment_passes_the_battery(honest: Records) -> None:
    check_assessment(DataUse(), dump_records(withhold(honest, KEY)[0]), "2026")
    check_assessment(DataUse(), dump_records(honest), "2026")


def test_claim_holds_with_the_rows_and_is_unknown_without_them(honest: Records) -> None:
    assert judged(honest) == ("used as the stated policy permits", set())
    public, content = withhold(honest, KEY)
    assert judged(public)[0] == "used as the stated policy permits" and join(public, content, KEY).records is not None
    assert not any(one.encode() in dump_records(public) for one in honest.records or ())


def with_entries(records: Records, change: Callable[[dict[str, Any]], None], kind: str) -> Records:
    entries = [json.loads(json.dumps(dict(one))) for one in records.journal.entries]
    for entry in entries:
        if entry["kind"] == kind:
            change(entry)
    log = chained(entries)
    return replace(records, journal=log, header=replace(records.header, journal=log.head))


def rechained(records: Records, entries: tuple[Any, ...]) -> Records:
    log = chained(entries)
    return replace(records, journal=log, header=replace(records.header, journal=log.head))


BOUND_LATER = {"kind": "policy", "time": LATER, "policy": "cd" * 32}

FORGERIES: dict[str, tuple[Callable[[Records], Records], str]] = {
    "a kinder policy": (lambda r: replace(r, policy=replace(r.policy, prohibitions=())), "policy_bound"),
    "a journal cut at its end": (
        lambda r: replace(r, journal=chained(r.journal.entries[:-1])), "journal_unbroken"),
    "a refusal turned": (
        lambda r: with_entries(r, lambda e: e.update(purpose=MARKETING), "decision"), "decisions_follow"),
    "an action that nobody asked for": (
        lambda r: replace(r, header=replace(r.header, actions=("train", "distil"))), "actions_permitted"),
    "another purpose": (lambda r: replace(r, header=replace(r.header, purpose=MARKETING)), "actions_permitted"),
    "a decision after the model": (
        lambda r: with_entries(r, lambda e: e.update(time="2020-01-01T00:00:00Z"), "model"), "actions_permitted"),
    "records left out": (
        lambda r: replace(r, header=replace(r.header, root=root_of((r.records or ())[1:]))),
        "model_entered"),
    "another list": (lambda r: replace(r, records=(r.records or ())[1:]), "records_listed"),
    "a model that was revoked": (
        lambda r: with_entries(
            r, lambda e: e.update(kind="revoked", content=r.header.model["leanmarkContent"]), "policy"
        ),
        "not_revoked"),
    "a journal that binds no policy": (
        lambda r: with_entries(r, lambda e: e.update(kind="note"), "policy"), "policy_bound"),
    "a journal spliced from another job": (
        lambda r: rechained(r, (*r.journal.entries[:1], BOUND_LATER, *r.journal.entries[1:])), "decisions_follow"),
    "lines in another order": (
        lambda r: rechained(r, (r.journal.entries[1], r.journal.entries[0], *r.journal.entries[2:])),
        "decisions_follow"),
    "a register without the receipts of decisions": (
        lambda r: with_entries(r, lambda e: e.update(consent="ab" * 32), "decision"), "consent_covers"),
    "another register": (lambda r: replace(r, header=replace(r.header, consent="ab" * 32)), "consent_covers"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(FORGERIES))
def test_forgery_is_found_by_its_check_when_one_thing_is_changed(honest: Records, name: str) -> None:
    forge, check = FORGERIES[name]
    outcome, failed = judged(forge(honest))
    assert outcome == "refused" and check in failed


def test_auditor_file_is_refused_when_a_receipt_in_it_was_altered(place) -> None:
    folder, model, seen = place
    folder.add([receipt(seen[:2])])
    public, content = withhold(make(folder, model, seen), KEY)
    assert join(public, content, KEY).register is not None
    with pytest.raises(CertificateError, match="do not follow"):
        join(public, content.replace(b"by letter", b"by pigeon"), KEY)


def test_claim_is_refused_when_the_model_saw_what_consent_does_not_cover(tmp_path: Path) -> None:
    spec, folder, parts = governed(tmp_path, consent="required", legal_basis="dpv:Consent")
    every = [one for ones in parts.values() for one in ones]
    folder.add([receipt(every)])
    with using(USE):
        train = load(spec).train
        assert train is not None and len(train.labels)
        validation = load(spec).validation
        assert validation is not None and len(validation.labels)
    model = write_model(tmp_path / "out" / "model.onnx", "first")
    seen = list(train.identifiers)
    assert judged(make(folder, model, seen))[1] == set()
    folder.add([receipt(seen[1:2], purposes=("dpv:Marketing",))])
    assert judged(make(folder, model, seen))[1] == {"consent_covers"}
    folder.add([receipt(seen[:1], "withdrawn", LATER)])
    assert "withdrawn_excluded" in judged(make(folder, model, seen))[1]


def stated(records: Records, model: Path, tmp_path: Path) -> Access:
    write(records, tmp_path / "public.jsonl", tmp_path / "auditor.jsonl", KEY)
    certify.state(model, "data_use", tmp_path / "public.jsonl", edition="2026", signer=SIGNER)
    KEY.write(tmp_path / "data.key") if not (tmp_path / "data.key").exists() else None
    return Access.from_options((tmp_path / "auditor.jsonl",), tmp_path / "data.key")


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


def test_verify_and_gate_end_with_6_when_the_purpose_is_not_permitted(place, honest: Records, tmp_path: Path) -> None:
    _, model, _ = place
    stated(honest, model, tmp_path)
    trust = ["--trust", SIGNER.public.hex]
    told = run("verify", model, "--purpose", "marketing", *trust)
    assert told.exit_code == 6 and "does not cover dpv:Marketing" in told.output.splitlines()[-1]
    gate = ["gate", model, "--require", "data_use", "--auditor-file", tmp_path / "auditor.jsonl", "--auditor-key",
            tmp_path / "data.key", *trust]  # fmt: skip
    assert run(*gate, "--purpose", "academic-research").exit_code == 0
    assert run(*gate, "--purpose", "marketing").exit_code == 6
    assert run(*gate, "--purpose", "research").exit_code == 6  # broader than what it was made for
    assert why_not_permitted(verify(model), RESEARCH, time="2099-01-01T00:00:00Z") is not None
    bare = write_model(tmp_path / "bare" / "model.onnx", "bare")
    stated(make(place[0], bare, place[2]), bare, tmp_path)
    (bare.parent / "statements" / "data_use.json").unlink()
    assert run("verify", bare, "--purpose", "research").exit_code != 0


def test_check_ends_with_0_or_6_and_writes_nothing_when_asked(place, tmp_path: Path) -> None:
    folder, _, _ = place
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    asked = ("policy", "check", f"npz:{tmp_path / 'digits.npz'}", "--purpose", "research", "--action")
    assert run(*asked, "train").exit_code == 0 and run(*asked, "sell").exit_code == 6
    wrong = run(*asked, "trian")
    assert wrong.exit_code == 2 and "train" in wrong.output
    assert before == {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}


READERS = {
    "fairness": ("certify.workflows.group_audit.fairness", ("--groups", "sex")),
    "profile": ("certify.api.profile", ()),
    "robustness": (
        "certify.workflows.robustness_statement.assess",
        ("--baseline", "model.onnx", "--conditions", "corruptions"),
    ),
    "witness check": ("certify.workflows.witness_game.check_witnesses", ()),
}


@pytest.mark.parametrize("name", READERS)
def test_commands_that_read_data_ask_the_policy_when_they_are_run(
    place, tmp_path: Path, monkeypatch, name: str
) -> None:
    def read(*_: Any, data: str, **__: Any) -> None:
        sys.exit(0 if len(load(data).test.labels) else 1)

    function, options = READERS[name]
    monkeypatch.setattr(function, read)
    monkeypatch.chdir(place[1].parent)
    KEY.write(tmp_path / "data.key")
    asked = (*name.split(), place[1], "--data", f"npz:{tmp_path / 'digits.npz'}", *options)
    use = ("--data-key", tmp_path / "data.key", "--purpose")
    assert run(*asked).exit_code == 6
    assert run(*asked, *use, "marketing").exit_code == 6
    allowed = run(*asked, *use, "research")
    assert allowed.exit_code == 0, allowed.output


def test_forgetting_withdraws_names_and_revokes_when_a_record_was_seen(place, honest: Records, tmp_path: Path) -> None:
    folder, model, seen = place
    access = stated(honest, model, tmp_path)
    child = write_model(tmp_path / "child" / "model.onnx", "child")
    make(folder, child, seen[2:], parents=(honest.header.model["sha256"],))
    other = write_model(tmp_path / "other" / "model.onnx", "other")
    make(folder, other, seen[2:])
    found = forget(folder, seen[:1], KEY, SIGNER)
    assert {one.path for one in found.models} == {str(model), str(child)}
    failed = verify(model, access=access).failed
    assert "not_revoked" in {one.name for one in failed}
    assert run("verify", other, "--revocations", folder.path / "revoked.json").exit_code != 0
    with using(USE):
        train = load(f"npz:{tmp_path / 'digits.npz'}").train
        assert train is not None and seen[0] not in train.identifiers


def test_retrained_list_excludes_the_identifier_when_checked_with_the_key(
    place, honest: Records, tmp_path: Path
) -> None:
    folder, model, seen = place
    forget(folder, seen[:1], KEY, SIGNER)
    again = write_model(model, "again")
    with using(USE):
        data = load(f"npz:{tmp_path / 'digits.npz'}")
        assert data.train is not None and len(data.train.labels)
        assert data.validation is not None and len(data.validation.labels)
    left = [*data.train.identifiers, *data.validation.identifiers]
    records = make(folder, again, left)
    access = stated(records, again, tmp_path)
    found = verify(again, access=access)
    assert found.valid and set(left) == set(seen) - {seen[0]}
    claims = {one.name: one.outcome for one in found.certificates[0].audited_claims.findings}
    root = found.certificates[0].predicate["use"]["root"]
    held = subject(folder, seen[:1], KEY)
    proof = held.to_json()["not_seen_by"][0]["proofs"][seen[0]]
    require_absence(proof, seen[0], root)
    with pytest.raises(CertificateError, match="does not show"):
        require_absence(proof, seen[1], root)
    with pytest.raises(CertificateError, match="does not show"):
        require_absence(proof, seen[0], honest.header.root)
    assert held.withdrawn == (seen[0],) and claims["not_revoked"] == "pass"


def test_revocation_by_a_stranger_is_only_noted_when_it_is_next_to_the_model(place, honest, tmp_path: Path) -> None:
    folder, model, seen = place
    access = stated(honest, model, tmp_path)
    forget(folder, seen[:1], KEY, new_key())
    check = verify(model, access=access).check("not_revoked")
    assert check is not None and check.outcome == "note"


@pytest.mark.parametrize("ids", [["nobody"], ["ab" * 32]])
def test_forgetting_writes_nothing_when_nothing_is_held(place, ids: list[str]) -> None:
    folder, _, _ = place
    before = {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}
    with pytest.raises(UsageError, match="Nothing is stored"):
        forget(folder, ids, KEY, SIGNER)
    assert before == {path: path.read_bytes() for path in folder.path.rglob("*") if path.is_file()}


def test_subject_lists_what_is_held_when_a_person_is_known_by_name(place, honest, tmp_path: Path) -> None:
    folder, _, seen = place
    KEY.write(tmp_path / "data.key")
    receipts = tmp_path / "receipts.json"
    one = {**receipt(seen[:2]).to_json(), "pii_principal_id": "ada@example.org"}
    receipts.write_text(json.dumps([one]))
    data, key = f"npz:{tmp_path / 'digits.npz'}", ("--data-key", tmp_path / "data.key")
    assert run("policy", "consent", data, "--receipts", receipts, *key).exit_code == 0
    told = run("subject", "ada@example.org", "--data", data, *key)
    assert told.exit_code == 0 and "2 records" in told.output and "supplied by patients" in told.output
    assert run("subject", "grace", "--data", data, *key).exit_code == 2
    shown = json.loads(run("subject", "ada@example.org", "--data", data, *key, "--json").output)
    assert set(shown["records"]) == set(seen[:2]) and shown["models"][0]["records"] == 2


def test_sheet_withholds_small_counts_when_classes_are_small(place, tmp_path: Path) -> None:
    KEY.write(tmp_path / "data.key")
    asked = ("policy", "sheet", f"npz:{tmp_path / 'digits.npz'}", "--purpose", "research", "--data-key",
             tmp_path / "data.key")  # fmt: skip
    shown = json.loads(run(*asked, "--least", "5").output)
    assert shown["parts"]["train"]["classes"] == {"0": 10, "1": 10} and shown["declared"]["gaps"] == "not declared"
    assert shown["parts"]["validation"]["samples"] == "withheld"
    (tmp_path / "about.yaml").write_text("shoe_size: 43\n")
    assert run(*asked, "--declared", tmp_path / "about.yaml").exit_code == 2


def test_statement_bytes_are_canonical_when_written(honest: Records) -> None:
    for line in dump_records(honest).splitlines():
        assert rfc8785.dumps(json.loads(line)) == line
