"""What verifiers sign after an audit or a measurement of their own."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rfc8785
from click.testing import CliRunner, Result

from certify.assessments.efficiency.remeasurement import compare_measurements
from certify.attest.audit import audit
from certify.attest.countersignature import FOLDER, Countersignature, Remeasured, countersign
from certify.attest.envelope import parse_envelope, sign
from certify.attest.keys import SigningKey, generate, new_key
from certify.attest.trust import TrustStore
from certify.attest.verify import verify
from certify.cli.main import main
from certify.core.errors import UsageError
from certify.core.evidence import Evidence
from certify.core.evidence_file import evidence_bytes, write_evidence

Builder = Callable[..., Evidence]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


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
    assert verify(folder / "model.onnx", trust=[key.public]).exit_code == 0  # a stranger may say anything
    heard = verify(folder / "model.onnx", trust=[key.public, verifier.public])
    assert heard.exit_code == 1 and [check.name for check in heard.failed] == ["countersignature"]
    TrustStore({}, revoked={verifier.public: "bribed"}).save()
    assert verify(folder / "model.onnx", trust=[key.public, verifier.public]).exit_code == 0


def test_audit_finds_a_verifier_who_contradicts_their_own_evidence(folder: Path, certified_evidence: Builder) -> None:
    verifier = new_key()
    honest, dishonest = again(folder, builder=certified_evidence), again(folder, changed=87, builder=certified_evidence)
    countersign(audit(folder / "model.onnx"), verifier, Remeasured(dishonest.evidence, honest.agreement))
    assert verify(folder / "model.onnx").valid  # which measures and compares nothing
    found = audit(folder / "model.onnx")
    assert found.differs == ("countersignature_follows",)
    assert "DISAGREE on accuracy_candidate" in found.countersignatures[0].sentence


def test_countersign_covers_the_certificate_alone_when_the_label_next_to_it_differs(folder: Path) -> None:
    (folder / "label.svg").write_text("<svg/>")
    statement, _ = countersign(audit(folder / "model.onnx"), new_key())
    assert statement.predicate["agrees"]


def test_countersign_disagrees_when_the_figures_do_not_follow(
    folder: Path, key: SigningKey, sign_again: Callable[..., Path]
) -> None:
    def lie(statement: dict[str, Any]) -> None:
        statement["predicate"]["profile"]["estimates"]["energy_ratio"]["value"] = 0.3003

    model = sign_again(folder, lie, key)
    statement, _ = countersign(audit(model), new_key())
    assert not statement.predicate["agrees"] and "energy_ratio" in statement.predicate["differs"]


def test_countersign_refuses_when_there_is_nothing_to_vouch_for(
    folder: Path, key: SigningKey, make_evidence: Builder, certified_evidence: Builder
) -> None:
    with pytest.raises(UsageError, match="someone else"):
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


def test_countersign_refuses_when_the_first_measurement_is_passed_as_the_new_one(folder: Path) -> None:
    found = audit(folder / "model.onnx")
    later = replace(found.evidence, header=replace(found.evidence.header, created="2026-12-24T00:00:00Z"))
    copied = Remeasured(later, compare_measurements(found.evidence, later, found.edition))
    with pytest.raises(UsageError, match="nothing was measured again"):
        countersign(found, new_key(), copied)


def test_audit_finds_a_verifier_who_measured_nothing_when_they_sign_the_first_measurement(
    folder: Path, certified_evidence: Builder
) -> None:
    verifier = new_key()
    statement, written = countersign(audit(folder / "model.onnx"), verifier, again(folder, builder=certified_evidence))
    copied = (folder / "evidence.jsonl").read_bytes()
    predicate = {
        **statement.predicate,
        "evidence": {"sha256": hashlib.sha256(copied).hexdigest(), "bytes": len(copied)},
    }
    payload = json.loads(parse_envelope(statement.content).payload)
    written["countersignature"].write_bytes(
        sign(rfc8785.dumps({**payload, "predicate": predicate}), verifier).to_bytes()
    )
    written["evidence"].write_bytes(copied)
    assert verify(folder / "model.onnx").valid
    found = audit(folder / "model.onnx")
    assert found.differs == ("countersignature_follows",)
    assert "nothing was measured again" in found.countersignatures[0].sentence


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
    write_evidence(certified_evidence(seed=7), tmp_path / "again.jsonl")
    arguments = ("countersign", folder / "model.onnx", "--key", tmp_path / "lab" / "lab.key")
    assert run(*arguments).exit_code == 0
    result = run(*arguments, "--remeasured", tmp_path / "again.jsonl", "--json")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["predicate"]["checked"] == "reproduced"
    secret = key.private.private_bytes_raw().hex()
    assert secret not in result.output
    assert all(secret.encode() not in path.read_bytes() for path in (folder / FOLDER).iterdir())
    shown = run("verify", folder / "model.onnx", "--trust", tmp_path / "lab" / "lab.pub")
    text = " ".join(shown.stdout.split())
    assert shown.exit_code == 4 and "measured it again without fresh data and agrees: reproduced" in text
    (tmp_path / "lab" / "lab.key").chmod(0o644)
    assert "0644" in run(*arguments).stderr
    assert stat.S_IMODE((tmp_path / "lab" / "lab.key").stat().st_mode) == 0o644


@pytest.mark.parametrize(("changed", "code"), [(0, 4), (87, 1)])  # 4: it agrees, by a key that is not trusted
def test_audit_command_measures_again_when_asked(
    folder: Path,
    tmp_path: Path,
    certified_evidence: Builder,
    monkeypatch: pytest.MonkeyPatch,
    changed: int,
    code: int,
) -> None:
    records = again(folder, changed=changed, builder=certified_evidence).evidence
    monkeypatch.setattr("certify.workflows.remeasurement.remeasure", lambda *_, **__: records)
    place = tmp_path / "again.jsonl"
    arguments = ("audit", folder / "model.onnx", "--remeasure", "--data", "mnist5k", "--keep", place)
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert f"candidate: {changed} samples changed their top-1 class" in result.stdout
    assert ("DISAGREE on accuracy_candidate" in result.stdout) == bool(changed)
    assert place.read_bytes() == evidence_bytes(records)
    values = json.loads(run(*arguments, "--json").stdout)["remeasured"]
    assert values["agrees"] is (not changed) and len(values["changed"]["candidate"]) == changed
