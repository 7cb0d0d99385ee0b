"""Verification of honest files: valid for good reasons, and never a false alarm."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from certify.attest.keys import SigningKey, new_key, signing_key
from certify.attest.verify import verify
from certify.core.errors import CertificateError, UsageError
from certify.core.evidence import Evidence
from certify.model_file.onnx_file.content import SEAL_KEY
from certify.model_file.onnx_file.seal import read_seal
from certify.present.label.sidecars import label_of

Builder = Callable[..., Evidence]


def outcomes(path: Path, key: SigningKey) -> dict[str, str]:
    return {check.name: check.outcome for check in verify(path, trust=[key.public]).checks}


def test_verify_passes_every_check_when_all_sidecars_are_there(folder: Path, key: SigningKey) -> None:
    verification = verify(folder / "model.onnx", trust=[key.public])
    assert {c.name: c.outcome for c in verification.checks} == {
        **dict.fromkeys(
            [
                "sidecar_identical",
                "envelope_canonical",
                "schema",
                "signature",
                "key_trusted",
                "file_digest",
                "content_digest",
                "preprocess_matches",
                "subject_facts",
                "edition_digest",
                "evidence_digest",
                "evidence_header_matches",
                "test_set_matches",
                "profile_follows",
                "outcome_follows",
                "created",
                "names_of_one_script",
                "contracts_match",
                "baseline_facts",
                "baseline_origin",
                "observed_facts",
                "lineage_digest",
                "companions",
                "signer_key",
                "label",
            ],
            "pass",
        ),
        "label_picture": "skipped",
    }
    assert verification.valid and verification.trusted and verification.derived and not verification.refused
    assert verification.exit_code == 0
    assert "valid: grade D on made up, 2 threads, edition 2026" in str(verification)
    assert json.loads(json.dumps(verification.to_json()))["valid"] is True


def test_verify_is_valid_but_not_trusted_when_the_key_is_not_known(folder: Path) -> None:
    verification = verify(folder / "model.onnx")
    assert verification.valid and not verification.trusted
    assert verification.exit_code == 4
    assert "signed by a key you do not trust" in verification.verdict


def test_verify_trusts_the_users_own_key_when_none_is_given(
    tmp_path: Path, normalised: Path, certified_evidence: Builder, make_papers: Callable[..., Path]
) -> None:
    model = make_papers(tmp_path / "out", normalised, certified_evidence(), signing_key())
    assert verify(model).exit_code == 0


def test_verify_says_that_nothing_was_derived_when_the_evidence_is_missing(folder: Path, key: SigningKey) -> None:
    for name in ("evidence.jsonl", "lineage.json", "label.svg", "baseline.onnx", "certificate.json"):
        (folder / name).unlink()
    verification = verify(folder / "model.onnx", trust=[key.public])
    assert verification.exit_code == 0 and not verification.derived
    assert verification.strict_exit_code == 5
    assert "NOT DERIVED (evidence.jsonl is missing" in verification.verdict
    skipped = {c.name for c in verification.checks if c.outcome == "skipped"}
    assert skipped >= {"evidence_digest", "profile_follows", "lineage_digest", "companions", "label"}


def test_verify_finds_evidence_and_certificate_when_they_are_named(
    folder: Path, key: SigningKey, tmp_path: Path
) -> None:
    shutil.copyfile(folder / "model.onnx", tmp_path / "alone.onnx")
    verification = verify(tmp_path / "alone.onnx", folder / "certificate.json", folder / "evidence.jsonl", [key.public])
    assert verification.exit_code == 0 and verification.derived


@pytest.mark.parametrize("level, text", [("modelled", "~"), ("counter", "")])
def test_verify_states_the_letter_when_energy_is_modelled_or_metered(
    tmp_path: Path,
    normalised: Path,
    certified_evidence: Builder,
    make_papers: Callable[..., Path],
    key: SigningKey,
    level: str,
    text: str,
) -> None:
    model = make_papers(tmp_path / "out", normalised, certified_evidence(level=level), key)
    verification = verify(model, trust=[key.public])
    assert verification.exit_code == 0
    assert verification.certificate is not None
    assert verification.certificate.outcome_text[1:] == text


def test_verify_states_a_refusal_when_there_is_no_letter(
    tmp_path: Path, normalised: Path, certified_evidence: Builder, make_papers: Callable[..., Path], key: SigningKey
) -> None:
    model = make_papers(tmp_path / "out", normalised, certified_evidence(null_bias=0.2), key)
    verification = verify(model, trust=[key.public])
    assert verification.valid and verification.refused and verification.exit_code == 0
    assert "refused (" in verification.verdict and "null_holds" in verification.verdict
    assert verification.to_json()["verdict"] == verification.verdict
    assert verification.certificate is not None
    printed, reasons = str(verification), verification.certificate.displayed["grade"]["reasons"]
    assert all(len(line) <= 80 or len(line.split()) == 1 for line in printed.splitlines())
    listed = printed.partition("Reasons of the refusal:\n")[2]
    assert listed.startswith("- ") and listed.count("\n- ") == len(reasons) - 1
    assert all(f"- {reason}" in " ".join(listed.split()) for reason in reasons)
    assert listed.splitlines()[-1].startswith(("valid: refused, edition", "  "))


def test_verify_says_re_serialised_when_onnx_saved_the_file_again(folder: Path, key: SigningKey) -> None:
    path = folder / "model.onnx"
    onnx.save(onnx.load(path), path)
    verification = verify(path, trust=[key.public])
    assert verification.exit_code == 0
    check = verification.check("file_digest")
    assert check is not None and check.outcome == "note" and "Re-serialised" in check.sentence
    assert [c.name for c in verification.checks if c.outcome == "note"] == ["file_digest"]


def test_verify_is_valid_when_the_weights_were_moved_outside(folder: Path, key: SigningKey) -> None:
    path = folder / "model.onnx"
    onnx.save(onnx.load(path), path, save_as_external_data=True, size_threshold=0, location="weights.bin")
    assert verify(path, trust=[key.public]).exit_code == 0
    weights = bytearray((folder / "weights.bin").read_bytes())
    weights[40] ^= 1
    (folder / "weights.bin").write_bytes(weights)
    assert outcomes(path, key)["content_digest"] == "fail"


def without_metadata(path: Path, keys: list[str]) -> None:
    model = onnx.load(path)
    for entry in [entry for entry in model.metadata_props if entry.key in keys]:
        model.metadata_props.remove(entry)
    onnx.save(model, path)


@pytest.mark.parametrize(
    "keys", [[SEAL_KEY], [SEAL_KEY, "leanmark.preprocess"], [SEAL_KEY, "leanmark.preprocess", "author"]]
)
def test_verify_uses_the_sidecar_when_metadata_was_stripped(folder: Path, key: SigningKey, keys: list[str]) -> None:
    path = folder / "model.onnx"
    without_metadata(path, keys)
    assert read_seal(path) is None
    verification = verify(path, trust=[key.public])
    assert verification.exit_code == 0
    assert verification.check("sidecar_identical").outcome == "note"  # type: ignore[union-attr]
    assert "metadata was stripped" in str(verification.check("content_digest")) or keys == [SEAL_KEY]


@pytest.mark.parametrize("keys", [["author"], [SEAL_KEY, "author"]])
def test_verify_calls_the_model_altered_when_only_the_makers_metadata_is_gone(
    folder: Path, key: SigningKey, keys: list[str]
) -> None:
    without_metadata(folder / "model.onnx", keys)
    assert outcomes(folder / "model.onnx", key)["content_digest"] == "fail"


def test_verify_calls_a_stripped_model_altered_when_it_computes_something_else(folder: Path, key: SigningKey) -> None:
    path = folder / "model.onnx"
    without_metadata(path, [SEAL_KEY, "leanmark.preprocess", "author"])
    model = onnx.load(path)
    model.graph.node[0].name = "another"
    onnx.save(model, path)
    assert outcomes(path, key)["content_digest"] == "fail"


def test_verify_redraws_the_image_when_it_is_next_to_the_model(folder: Path, key: SigningKey) -> None:
    from certify.attest.certificate import Certificate
    from certify.present.label import render

    image = render(label_of(Certificate.read(folder / "certificate.json")))
    (folder / "label.png").write_bytes(image)
    assert outcomes(folder / "model.onnx", key)["label_picture"] == "pass"
    (folder / "label.png").write_bytes(image[:-1] + b"x")
    assert outcomes(folder / "model.onnx", key)["label_picture"] == "fail"


def test_verify_refuses_when_there_is_nothing_to_verify(normalised: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CertificateError, match="No certificate was found in"):
        verify(normalised)
    with pytest.raises(UsageError, match="does not exist"):
        verify(tmp_path / "absent.onnx")
    with pytest.raises(UsageError, match="is not a model"):
        verify(folder / "certificate.json")
    with pytest.raises(UsageError, match="evidence"):
        verify(folder / "model.onnx", evidence=tmp_path / "absent.jsonl")
    with pytest.raises(UsageError, match="cannot be read"):
        verify(folder / "model.onnx", certificate=tmp_path / "absent.json")


OPENED = """
import sys
from certify.attest.verify import verify
opened = []
sys.addaudithook(lambda event, arguments: opened.append(str(arguments[0])) if event == "open" else None)
assert verify(sys.argv[1]).derived
print(sum(name == sys.argv[1] for name in opened), *{"torch", "pynvml", "scipy.stats"} & set(sys.modules))
"""


def test_verify_opens_the_model_once_and_loads_nothing_that_takes_long(folder: Path) -> None:
    model = folder / "model.onnx"
    done = subprocess.run([sys.executable, "-c", OPENED, str(model)], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1"]


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN PUBLIC KEY-----"])
def test_verify_fails_when_the_key_next_to_the_certificate_did_not_sign_it(folder: Path, content: bytes | None) -> None:
    (folder / "signer.pub").write_bytes(new_key().public.to_pem() if content is None else content)
    assert [check.name for check in verify(folder / "model.onnx").failed] == ["signer_key"]
    (folder / "signer.pub").unlink()
    assert verify(folder / "model.onnx").valid
