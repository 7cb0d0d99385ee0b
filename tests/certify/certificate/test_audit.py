"""The audit, and what verifiers sign after it."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from click.testing import CliRunner, Result

from certify.certificate.agreement import compare_measurements
from certify.certificate.audit import audit
from certify.certificate.countersignature import FOLDER, Countersignature, Remeasured, countersign
from certify.certificate.envelope import parse_envelope, sign
from certify.certificate.keys import SigningKey, generate, new_key
from certify.certificate.seal import seal, unsealed_bytes
from certify.certificate.trust import TrustStore
from certify.certificate.verify import verify
from certify.cli.main import main
from certify.errors import CertificateError, UsageError
from certify.evidence import Evidence

Builder = Callable[..., Evidence]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def resign(folder: Path, change: Callable[[dict[str, Any]], object], key: SigningKey) -> Path:
    """Change the statement and sign it again, as a dishonest maker would."""
    statement = json.loads(parse_envelope((folder / "certificate.json").read_bytes()).payload)
    change(statement["predicate"])
    envelope = sign(rfc8785.dumps(statement), key).to_bytes()
    model, bare = folder / "model.onnx", folder / "bare.onnx"
    bare.write_bytes(model.read_bytes()[: unsealed_bytes(model)])
    seal(bare, model, envelope)
    bare.unlink()
    (folder / "certificate.json").write_bytes(envelope)
    (folder / "label.svg").unlink()
    return model


def test_audit_finds_all_as_signed_when_the_certificate_is_honest(folder: Path, key: SigningKey) -> None:
    found = audit(folder / "model.onnx", trust=[key.public])
    assert found.agrees and found.verification.valid
    assert {row.name for row in found.figures} == set(found.certificate.profile.estimates)
    assert {row.name for row in found.guards} == {guard.name for guard in found.certificate.profile.guards}
    assert all(row.match == "same" and row.difference in (0, None) for row in (*found.figures, *found.guards))
    assert found.grade_text == found.certificate.grade_text


CHANGES: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "value": (lambda p: p["profile"]["estimates"]["energy_ratio"].update(value=0.3003), "energy_ratio"),
    "end": (lambda p: p["profile"]["estimates"]["relative_loss_percent"].update(high=9.5), "relative_loss_percent"),
    "unit": (lambda p: p["profile"]["estimates"]["energy_j_candidate"].update(unit="mJ"), "energy_j_candidate"),
    "left out": (lambda p: p["profile"]["estimates"].pop("mcnemar_p"), "mcnemar_p"),
    "added": (lambda p: p["profile"]["estimates"].update(more=p["profile"]["estimates"]["agreement"]), "more"),
    "guard": (lambda p: p["profile"]["guards"][2].update(outcome="unknown"), "counter_agrees_with_power"),
    "letter": (lambda p: p["grade"].update(letter="A", text="A"), "letter"),
    "score": (lambda p: p["grade"].update(score_db=11.5), "score_db"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_audit_names_the_figure_when_something_else_was_signed(folder: Path, key: SigningKey, what: str) -> None:
    change, name = CHANGES[what]
    model = resign(folder, change, key)
    found = audit(model)
    assert name in found.differs and not found.agrees and name in found.verdict
    result = run("audit", model, "--json")
    assert result.exit_code == 1
    rows = json.loads(result.stdout)
    assert {row["name"] for part in ("figures", "guards", "grade") for row in rows[part] if row["match"] == "differs"}


def test_audit_command_prints_every_comparison_when_run(folder: Path) -> None:
    result = run("audit", folder / "model.onnx")
    assert result.exit_code == 0, result.output
    for name in ("energy_ratio", "null_holds", "score_db", "follow from the evidence, as signed"):
        assert name in result.stdout
    values = json.loads(run("audit", folder / "model.onnx", "--json").stdout)
    assert values["agrees"] and values["remeasured"] is None and values["verification"]["exit_code"] == 4


def test_audit_refuses_when_there_is_no_evidence_to_derive_from(folder: Path) -> None:
    (folder / "evidence.jsonl").write_bytes((folder / "evidence.jsonl").read_bytes()[:-1])
    with pytest.raises(CertificateError, match="not the evidence that was signed"):
        audit(folder / "model.onnx")
    (folder / "evidence.jsonl").unlink()
    with pytest.raises(UsageError, match="--evidence"):
        audit(folder / "model.onnx")
    assert run("audit", folder / "model.onnx", "--remeasure").exit_code == 2
    assert run("audit", folder / "model.onnx", "--keep", folder / "x").exit_code == 2


@pytest.mark.parametrize(
    ("knobs", "text"), [({"ratio": 1.3}, "G"), ({"null_bias": 0.2}, "refused"), ({"level": None}, "refused")]
)
def test_audit_holds_when_the_certificate_is_a_refusal_or_g(
    tmp_path: Path,
    normalised: Path,
    certified_evidence: Builder,
    make_papers: Callable[..., Path],
    key: SigningKey,
    knobs: dict[str, Any],
    text: str,
) -> None:
    model = make_papers(tmp_path / "out", normalised, certified_evidence(**knobs), key)
    found = audit(model, trust=[key.public])
    assert found.agrees and found.grade_text == text == found.certificate.grade_text
    assert found.verification.exit_code == 0
    if text == "refused":
        reasons = found.certificate.predicate["grade"]["reasons"]
        failed = [row.name for row in found.guards if row.derived == "fail"]
        assert reasons and all(any(name in reason for reason in reasons) for name in failed)


def test_countersign_vouches_for_cross_checked_when_nothing_was_measured(folder: Path, key: SigningKey) -> None:
    verifier = new_key()
    statement, written = countersign(audit(folder / "model.onnx"), verifier, remark="looked at it")
    assert statement.predicate["checked"] == "cross-checked" and statement.predicate["agrees"]
    assert list(written) == ["countersignature"]
    stranger = verify(folder / "model.onnx", trust=[key.public])
    assert stranger.exit_code == 0 and stranger.vouched_for == "self-attested"
    check = stranger.check("countersignature")
    assert check is not None and check.outcome == "note" and verifier.public.key_id[:16] in check.sentence
    TrustStore({"lab": verifier.public}).save()
    known = verify(folder / "model.onnx", trust=[key.public])
    assert known.exit_code == 0 and known.vouched_for == "cross-checked"
    assert [(one.role, one.name, one.vouches_for) for one in known.signatures] == [
        ("maker", "given with --trust", "self-attested"),
        ("verifier", "lab", "cross-checked"),
    ]
    assert "cross-checked" in known.verdict
    assert verify(folder / "model.onnx").exit_code == 4  # a verifier's word does not make the maker known


def again(folder: Path, seed: int = 7, changed: int = 0, **knobs: Any) -> Remeasured:
    """A new measurement of the certified pair."""
    found = audit(folder / "model.onnx")
    records = knobs["builder"](seed=seed)
    samples = [
        replace(sample, candidate_top1=(sample.candidate_top1 + 1) % 10) if i < changed else sample
        for i, sample in enumerate(records.predictions)
    ]
    records = replace(records, predictions=tuple(samples))
    return Remeasured(records, compare_measurements(found.evidence, records, found.edition))


def test_countersign_vouches_for_reproduced_when_the_new_measurement_agrees(
    folder: Path, key: SigningKey, certified_evidence: Builder
) -> None:
    verifier = new_key()
    statement, written = countersign(audit(folder / "model.onnx"), verifier, again(folder, builder=certified_evidence))
    assert statement.predicate["checked"] == "reproduced" and statement.predicate["device"]
    assert {figure["name"] for figure in statement.predicate["figures"]} >= {"energy_ratio", "accuracy_candidate"}
    verification = verify(folder / "model.onnx", trust=[key.public, verifier.public])
    assert verification.exit_code == 0 and verification.vouched_for == "reproduced"
    follows = audit(folder / "model.onnx").countersignatures
    assert [(check.name, check.outcome) for check in follows] == [("countersignature_follows", "pass")]
    written["evidence"].write_bytes(written["evidence"].read_bytes()[:-1] + b" ")
    assert {check.name for check in verify(folder / "model.onnx").failed} == {"countersignature"}
    countersign(audit(folder / "model.onnx", trust=[key.public]), new_key())  # the evidence of one key harms no other
    countersign(replace_failed(folder), verifier)  # a later statement by the same key takes the place of the first
    assert not written["evidence"].exists()
    assert verify(folder / "model.onnx", trust=[key.public, verifier.public]).vouched_for == "cross-checked"


def replace_failed(folder: Path) -> Any:
    """The audit as it is without the countersignatures."""
    for path in (folder / FOLDER).iterdir():
        if path.suffix == ".json":
            path.unlink()
    return audit(folder / "model.onnx")


def test_verify_fails_when_a_trusted_verifier_disagrees(
    folder: Path, key: SigningKey, certified_evidence: Builder
) -> None:
    verifier = new_key()
    remeasured = again(folder, changed=87, builder=certified_evidence)
    statement, written = countersign(audit(folder / "model.onnx"), verifier, remeasured)
    assert not statement.predicate["agrees"] and statement.predicate["differs"] == ["accuracy_candidate"]
    subjects = [subject["name"] for subject in statement.subject]
    assert subjects == ["model.onnx", "certificate.json"]
    assert "DISAGREES: accuracy_candidate" in Countersignature(written["countersignature"], statement).sentence
    assert verify(folder / "model.onnx", trust=[key.public]).exit_code == 0  # a stranger may say what he likes
    heard = verify(folder / "model.onnx", trust=[key.public, verifier.public])
    assert heard.exit_code == 1 and [check.name for check in heard.failed] == ["countersignature"]
    TrustStore({}, revoked={verifier.public: "bribed"}).save()
    assert verify(folder / "model.onnx", trust=[key.public, verifier.public]).exit_code == 0


def test_audit_finds_a_verifier_who_contradicts_his_own_evidence_when_it_lies_beside(
    folder: Path, certified_evidence: Builder
) -> None:
    verifier = new_key()
    honest, dishonest = again(folder, builder=certified_evidence), again(folder, changed=87, builder=certified_evidence)
    countersign(audit(folder / "model.onnx"), verifier, Remeasured(dishonest.evidence, honest.agreement))
    assert verify(folder / "model.onnx").valid  # which measures and compares nothing
    found = audit(folder / "model.onnx")
    assert found.differs == ("countersignature_follows",)
    assert "DISAGREE on accuracy_candidate" in found.countersignatures[0].sentence


def test_countersign_speaks_of_the_certificate_alone_when_the_label_beside_it_is_another(folder: Path) -> None:
    (folder / "label.svg").write_text("<svg/>")
    statement, _ = countersign(audit(folder / "model.onnx"), new_key())
    assert statement.predicate["agrees"]


def test_countersign_disagrees_when_the_figures_do_not_follow(folder: Path, key: SigningKey) -> None:
    model = resign(folder, CHANGES["value"][0], key)
    statement, _ = countersign(audit(model), new_key())
    assert not statement.predicate["agrees"] and "energy_ratio" in statement.predicate["differs"]


def test_countersign_refuses_when_there_is_nothing_to_vouch_for(
    folder: Path, key: SigningKey, make_evidence: Builder, certified_evidence: Builder
) -> None:
    with pytest.raises(UsageError, match="somebody else"):
        countersign(audit(folder / "model.onnx"), key)
    loud = certified_evidence(host={"foreign_cpu_share": 0.9})
    found = audit(folder / "model.onnx")
    remeasured = Remeasured(loud, compare_measurements(found.evidence, loud, found.edition))
    with pytest.raises(UsageError, match="energy_ratio"):
        countersign(found, new_key(), remeasured)
    TrustStore({}, revoked={key.public: "stolen"}).save()
    with pytest.raises(UsageError, match="REVOKED"):
        countersign(audit(folder / "model.onnx"), new_key())
    assert not (folder / FOLDER).exists()


def test_verify_finds_the_change_when_a_countersignature_is_altered_or_moved(folder: Path) -> None:
    verifier = new_key()
    _, written = countersign(audit(folder / "model.onnx"), verifier)
    path = written["countersignature"]
    good = path.read_bytes()

    def failed() -> set[str]:
        return {check.name for check in verify(folder / "model.onnx", trust=[verifier.public]).failed}

    (folder / "evidence.jsonl").unlink()
    assert not failed()
    (folder / FOLDER / "folder.json").mkdir()
    assert failed() == {"countersignature"}
    (folder / FOLDER / "folder.json").rmdir()
    for place in range(0, len(good), 97):
        changed = bytearray(good)
        changed[place] ^= 1
        path.write_bytes(changed)
        assert failed() == {"countersignature"}, place
    path.write_bytes(good)
    path.rename(path.with_name("other.json"))
    assert failed() == {"countersignature"}
    path.with_name("other.json").unlink()
    other = json.loads(parse_envelope(good).payload)
    other["subject"][1]["digest"]["sha256"] = "ab" * 32  # of another certificate
    path.write_bytes(sign(rfc8785.dumps(other), verifier).to_bytes())
    assert failed() == {"countersignature"}
    for number in range(65):
        path.with_name(f"{number}.json").write_bytes(good)
    assert failed() == {"countersignature"}


def test_countersign_command_signs_with_the_key_when_given(
    folder: Path, tmp_path: Path, certified_evidence: Builder
) -> None:
    key = generate(tmp_path / "lab" / "lab.key")
    certified_evidence(seed=7).write(tmp_path / "again.jsonl")
    arguments = ("countersign", folder / "model.onnx", "--key", tmp_path / "lab" / "lab.key")
    assert run(*arguments).exit_code == 0
    result = run(*arguments, "--remeasured", tmp_path / "again.jsonl", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["predicate"]["checked"] == "reproduced"
    secret = key.private.private_bytes_raw().hex()
    assert secret not in result.output
    assert all(secret.encode() not in path.read_bytes() for path in (folder / FOLDER).iterdir())
    shown = run("verify", folder / "model.onnx", "--trust", tmp_path / "lab" / "lab.pub")
    assert shown.exit_code == 4 and "measured it again and agrees: reproduced" in shown.stdout
    (tmp_path / "lab" / "lab.key").chmod(0o644)
    assert "0644" in run(*arguments).stderr
    assert stat.S_IMODE((tmp_path / "lab" / "lab.key").stat().st_mode) == 0o644


@pytest.mark.parametrize(("changed", "code"), [(0, 0), (87, 1)])
def test_audit_command_measures_again_when_asked(
    folder: Path,
    tmp_path: Path,
    certified_evidence: Builder,
    monkeypatch: pytest.MonkeyPatch,
    changed: int,
    code: int,
) -> None:
    records = again(folder, changed=changed, builder=certified_evidence).evidence
    monkeypatch.setattr("certify.remeasure.remeasure", lambda *_: records)
    place = tmp_path / "again.jsonl"
    arguments = ("audit", folder / "model.onnx", "--remeasure", "--data", "mnist5k", "--keep", place)
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert f"candidate: {changed} samples have another top-1" in result.stdout
    assert ("DISAGREE on accuracy_candidate" in result.stdout) == bool(changed)
    assert place.read_bytes() == records.to_bytes()
    values = json.loads(run(*arguments, "--json").stdout)["remeasured"]
    assert values["agrees"] is (not changed) and len(values["changed_top1"]["candidate"]) == changed


ALONE = """
import socket, sys

class Refusal:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "torchvision", "compress", "onnxruntime", "pynvml", "sigstore"):
            raise ModuleNotFoundError(name)

def offline(*arguments, **named):
    raise OSError("offline")

sys.meta_path.insert(0, Refusal())
socket.socket.connect = socket.getaddrinfo = offline
from certify.cli.main import main
for command in ("verify", "audit"):
    try:
        main([command, *sys.argv[1:]])
    except SystemExit as done:
        print(command, "ended with", done.code)
"""


def test_verify_and_audit_need_neither_network_nor_the_maker_when_run(folder: Path, key: SigningKey) -> None:
    arguments = [sys.executable, "-c", ALONE, str(folder / "model.onnx"), "--trust", key.public.hex]
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert "verify ended with 0" in done.stdout and "audit ended with 0" in done.stdout, done.stderr
