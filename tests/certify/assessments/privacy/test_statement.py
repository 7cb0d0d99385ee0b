"""A privacy statement beside a model: signed, verified, judged by an auditor, and found out where it was forged."""

from __future__ import annotations

import hashlib
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
from certify.assessments.privacy.assessment import Privacy
from certify.assessments.privacy.record_file import dump_records
from certify.assessments.privacy.records import Records, touches_of
from certify.assessments.privacy.withholding import withhold, write
from certify.attest.auditor import Access
from certify.attest.envelope import parse_envelope, sign
from certify.attest.keys import SigningKey, new_key
from certify.attest.verify import verify
from certify.cli.main import main
from certify.core.files import sha256_file
from certify.core.private_data import DataKey
from certify.model_file.subject import subject_digests

sys.path.insert(0, str(Path(__file__).parent))

from honest_privacy import KEY, LINEAGE, head, honest, pate, training

SIGNER = new_key()
State = Callable[..., Path]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "out" / "model.onnx"
    path.parent.mkdir()
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ports[:1], ports[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.fixture
def state(model: Path, tmp_path: Path) -> State:
    """Lays a statement beside the model, and its auditor file elsewhere."""

    def make(make_records: Callable[..., Records] = honest, **header: Any) -> Path:
        lineage = model.parent / "lineage.json"
        lineage.write_text(json.dumps(LINEAGE))
        records = make_records(subject_digests(model), lineage=sha256_file(lineage), **header)
        records = replace(records, touches=touches_of(LINEAGE)) if records.sgd else records
        write(records, tmp_path / "privacy.jsonl", tmp_path / "private.jsonl", KEY)
        certify.state(model, "privacy", tmp_path / "privacy.jsonl", edition="2026", signer=SIGNER)
        return model.parent / "statements" / "privacy.json"

    return make


@pytest.fixture
def access(tmp_path: Path) -> Access:
    return Access((tmp_path / "private.jsonl",), KEY)


def key_file(folder: Path, key: DataKey = KEY) -> Path:
    path = folder / "data.key"
    path.unlink(missing_ok=True)
    key.write(path)
    return path


def run(command: str, *arguments: object) -> Result:
    return CliRunner().invoke(main, [command, *map(str, arguments), "--trust", SIGNER.public.hex])


def test_statement_holds_in_public_and_leaves_the_rest_to_an_auditor(model: Path, state: State) -> None:
    state()
    found = verify(model, trust=[SIGNER.public])
    assert (found.exit_code, found.strict_exit_code) == (0, 5), str(found)
    assert found.derived and not found.complete and "epsilon_within_claim" in found.waiting
    check = found.check("touches_match_lineage")
    assert check is not None and check.outcome == "pass"
    assert found.certificate is not None and "as stated" in found.verdict
    shown = found.certificate.claims
    assert any("do not include shadow models and canary twins" in limit for limit in shown.limits)
    assert shown.headlines["epsilon_stated"] == "stated epsilon" and any("coin" in note for note in shown.notes)


def test_sampling_rate_does_not_follow_from_public_figures(model: Path, state: State) -> None:
    from scipy.optimize import brentq

    from certify.core.accounting import SubsampledGaussian, spent

    def excess(rate: float) -> float:
        return spent([(SubsampledGaussian(2.385, rate, 300), 1)], 1e-5, "add-remove").epsilon - 8.0

    assert brentq(excess, 1e-3, 1) == pytest.approx(0.2, rel=1e-2), "anybody who knows the noise solves for q"
    statement = state()
    payload = parse_envelope(statement.read_bytes()).payload
    (mechanism,) = json.loads(payload)["predicate"]["mechanisms"]
    assert mechanism["noise_multiplier"] is mechanism["sampling"]["rate"] is None
    records = (model.parent / "statements" / "privacy.evidence.jsonl").read_bytes()
    assert b"2.385" not in payload + records


def test_gate_resolves_unknowns_when_given_the_auditor_file(model: Path, state: State, tmp_path: Path) -> None:
    state()
    asked = ("gate", model, "--require", "privacy.epsilon<=8")
    assert run(*asked).exit_code == 5
    given = ("--auditor-file", tmp_path / "private.jsonl", "--auditor-key", key_file(tmp_path))
    result = run(*asked, *given)
    assert result.exit_code == 0, result.output
    assert run("gate", model, "--require", "privacy.epsilon<=7.9", *given).exit_code == 3
    assert run("verify", model, "--strict", *given).exit_code == 0
    audited = run("audit", model, "--verbose", *given)
    assert audited.exit_code == 0 and "checked with them" in " ".join(audited.output.split()), audited.output


def test_auditor_sees_a_failure_when_file_or_key_differs(model: Path, state: State, tmp_path: Path) -> None:
    state()
    private, other = tmp_path / "private.jsonl", tmp_path / "other.jsonl"
    other.write_bytes(private.read_bytes().replace(b'"run":0', b'"run":1'))
    wrong_file = run("gate", model, "--auditor-file", other, "--auditor-key", key_file(tmp_path))
    assert wrong_file.exit_code == 1 and "is the one that was signed" in " ".join(wrong_file.output.split())
    wrong_key = run("gate", model, "--auditor-file", private, "--auditor-key", key_file(tmp_path, DataKey.new()))
    assert wrong_key.exit_code == 1 and "not the one under which the identifiers" in " ".join(wrong_key.output.split())
    assert run("gate", model, "--auditor-file", private).exit_code == 2
    assert run("gate", model, "--auditor-file", private, "--auditor-key", private).exit_code == 2


def test_epsilon_is_derived_in_public_when_one_record_is_replaced(model: Path, state: State) -> None:
    state(adjacency="replace-one", claimed_epsilon=30.0)
    result = run("gate", model, "--require", "privacy.epsilon<=30")
    assert result.exit_code == 5 and "sampler_is_poisson" in result.output  # for the batch sizes alone
    found = verify(model, trust=[SIGNER.public])
    assert found.certificate is not None and found.certificate.profile["epsilon"].value < 30


def test_votes_need_no_auditor_file_for_epsilon(model: Path, state: State) -> None:
    state(pate, claimed_epsilon=6.5)
    found = verify(model, trust=[SIGNER.public])
    assert found.certificate is not None and found.certificate.profile["epsilon"].value == pytest.approx(
        6.425, abs=1e-3
    )
    assert {check.name for check in found.failed} == {"touches_match_lineage"}  # this lineage has no votes


def resign(statement: Path, change: Callable[[Any], object], signer: SigningKey = SIGNER) -> None:
    signed = json.loads(parse_envelope(statement.read_bytes()).payload)
    change(signed["predicate"])
    statement.write_bytes(sign(rfc8785.dumps(signed), signer).to_bytes())


def bump(predicate: Any, factor: float) -> None:
    epsilon = predicate["profile"]["estimates"]["epsilon"]
    for end in ("value", "low", "high"):
        epsilon[end] *= factor


SIGNED: dict[str, tuple[str, Callable[[Any], object]]] = {
    "a smaller epsilon": ("profile_follows", lambda p: bump(p, 0.5)),
    "an epsilon off by a hundred-millionth": ("profile_follows", lambda p: bump(p, 1 - 1e-8)),
    "a finding turned": ("profile_follows", lambda p: p["profile"]["guards"][5].update(outcome="unknown")),
    "another claim": ("evidence_header_matches", lambda p: p["claim"].update(claimed_epsilon=1.0)),
    "another text": ("outcome_follows", lambda p: p["result"].update(text="epsilon at most 1 at delta 1e-05")),
    "kinder words": ("evidence_header_matches", lambda p: p["statement"].__setitem__(0, "Nothing can leak.")),
    "less noise in words": ("evidence_header_matches", lambda p: p["mechanisms"][0].update(noise_multiplier=99.0)),
    "another auditor file": ("evidence_header_matches", lambda p: p["auditor"].update(sha256="00" * 32)),
    "do not have an auditor file": ("evidence_header_matches", lambda p: p.pop("auditor")),
}


@pytest.mark.parametrize("what", SIGNED)
def test_forged_statement_is_found_when_signed_by_the_signer(model: Path, state: State, what: str) -> None:
    name, change = SIGNED[what]
    resign(state(adjacency="replace-one", claimed_epsilon=30.0), change)
    assert name in {check.name for check in verify(model, trust=[SIGNER.public]).failed}


def restate(statement: Path, records: Records) -> None:
    """The signer alters public records and signs their new digest with what follows from them."""
    path = statement.with_name("privacy.evidence.jsonl")
    path.write_bytes(dump_records(records))
    certify.state(statement.parent.parent / "model.onnx", "privacy", path, edition="2026", signer=SIGNER)


LEDGERS: dict[str, Callable[[Records], Records]] = {
    "without a raw reading": lambda r: replace(r, touches=r.touches[:1]),
    "under another mechanism": lambda r: replace(r, touches=(replace(r.touches[0], how=("raw",)), *r.touches[1:])),
    "with a reading more": lambda r: replace(r, touches=(*r.touches, replace(r.touches[0], step="9 x"))),
}


@pytest.mark.parametrize("what", LEDGERS)
def test_forged_ledger_is_found_when_the_lineage_is_next_to_the_model(
    model: Path, state: State, access: Access, what: str
) -> None:
    statement = state()
    public, _ = withhold(records_of(model), KEY)
    restate(statement, LEDGERS[what](public))
    assert {check.name for check in verify(model, trust=[SIGNER.public]).failed} == {"touches_match_lineage"}
    failed = {check.name for check in verify(model, trust=[SIGNER.public], access=access).failed}
    assert failed == {"touches_match_lineage", "private_rows"}


def records_of(model: Path) -> Records:
    lineage = model.parent / "lineage.json"
    whole = honest(subject_digests(model), lineage=sha256_file(lineage))
    return replace(whole, touches=touches_of(LINEAGE))


TOLD: dict[str, tuple[str, Callable[[Any], object]]] = {
    "the seed": ("states the seed", lambda v: v.update(seed=0)),
    "a digest of the private part": ("digest of train", lambda v: v["data"]["digests"].update(train="00" * 32)),
    "a sampling rate": ("states a sampling rate", lambda v: v["rows"][0]["config"].update(sampling_rate=0.2)),
    "the noise": ("states the noise", lambda v: v["rows"][0]["done"].update(mechanism="dp-sgd#0", noise=2.385)),
    "its number of samples": ("number of samples in train", lambda v: v["data"]["counts"].update(train=3000)),
}


@pytest.mark.parametrize("what", TOLD)
def test_claim_does_not_hold_when_the_lineage_next_to_it_contradicts_it(
    model: Path, state: State, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    sentence, change = TOLD[what]
    values = json.loads(json.dumps(LINEAGE))
    change(values)
    monkeypatch.setattr(sys.modules[__name__], "LINEAGE", values)
    state()
    (failed,) = verify(model, trust=[SIGNER.public]).failed
    assert failed.name == "beside_private" and sentence in failed.sentence


def test_number_of_samples_may_be_public_when_one_record_is_replaced(
    model: Path, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = {**LINEAGE, "data": {**LINEAGE["data"], "counts": {"train": 3000}}}  # type: ignore[dict-item]
    monkeypatch.setattr(sys.modules[__name__], "LINEAGE", values)
    state(adjacency="replace-one", claimed_epsilon=30.0)
    assert not verify(model, trust=[SIGNER.public]).failed


@pytest.mark.parametrize(("header", "holds"), [
    ({"seed": 0, "auditor": None}, False), ({"seed": None, "auditor": {"key": "k"}}, True), ([], False),
])  # fmt: skip
def test_claim_about_test_data_does_not_hold_when_evidence_names_them(
    model: Path, state: State, header: Any, holds: bool
) -> None:
    state(private_parts=("train", "test"))
    (model.parent / "evidence.jsonl").write_text(json.dumps(header) + "\n")
    failed = {check.name for check in verify(model, trust=[SIGNER.public]).failed}
    assert ("beside_private" in failed) != holds


def test_lineage_of_another_model_is_found(model: Path, state: State) -> None:
    state()
    path = model.parent / "lineage.json"
    path.write_text(path.read_text().replace('"made here"', '"found"'))  # its ledger is the same
    assert {check.name for check in verify(model, trust=[SIGNER.public]).failed} == {"touches_match_lineage"}


LIES: dict[str, tuple[str, Callable[[Records], Records]]] = {
    "a claim that the rate does not give": ("epsilon_within_claim", lambda r: training(r, noise_multiplier=1.0)),
    "a delta above 1 / N": ("delta_below_one_over_n", lambda r: head(r, delta=1e-3, claimed_epsilon=8.0)),
    "shuffled batches": (
        "sampler_is_poisson", lambda r: replace(r, batches=(replace(r.batches[0], sizes=(600,) * 300),)),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", LIES)
def test_lie_hidden_by_public_records_is_found_by_the_auditor(
    model: Path, state: State, tmp_path: Path, access: Access, what: str
) -> None:
    name, change = LIES[what]
    statement = state()
    public, content = withhold(change(records_of(model)), KEY)
    (tmp_path / "private.jsonl").write_bytes(content)
    restate(statement, public)
    assert not verify(model, trust=[SIGNER.public]).failed
    found = verify(model, trust=[SIGNER.public], access=access)
    check = found.check("private_rows")
    assert check is not None and check.outcome == "fail" and name in check.sentence
    assert found.exit_code == 1


def test_state_refuses_a_raw_touch_and_signs_the_refusal(model: Path, state: State, tmp_path: Path) -> None:
    state()
    raw = replace(records_of(model), touches=(replace(records_of(model).touches[0], how=("raw",)),))
    write(raw, tmp_path / "privacy.jsonl", tmp_path / "private.jsonl", KEY)
    issued = certify.state(model, "privacy", tmp_path / "privacy.jsonl", edition="2026", signer=SIGNER)
    assert issued.claims.refused and any("0 dp_head read train (raw)" in reason for reason in issued.claims.reasons)


def test_refusal_that_only_rows_show_is_found(
    model: Path, state: State, access: Access, monkeypatch: pytest.MonkeyPatch
) -> None:
    state()
    judged = Privacy.outcome

    def outcome(self: Privacy, profile: Any, edition: Any) -> Any:
        found = judged(self, profile, edition)
        return replace(found, reasons=("by epsilon alone",)) if "epsilon" in profile.estimates else found

    monkeypatch.setattr(Privacy, "outcome", outcome)
    check = verify(model, trust=[SIGNER.public], access=access).check("private_rows")
    assert check is not None and check.outcome == "fail" and "contradict what was signed: result" in check.sentence


def test_auditor_file_is_bound_by_digest_and_not_by_its_size(state: State, tmp_path: Path) -> None:
    signed = json.loads(parse_envelope(state().read_bytes()).payload)["predicate"]["auditor"]
    content = (tmp_path / "private.jsonl").read_bytes()
    assert signed == {"sha256": hashlib.sha256(content).hexdigest(), "key": KEY.id}
