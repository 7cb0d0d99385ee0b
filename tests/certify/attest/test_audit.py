"""The audit: everything derived again from the evidence."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from certify.attest.audit import audit
from certify.attest.keys import SigningKey
from certify.cli.main import main
from certify.core.errors import CertificateError, NotDerivedError
from certify.core.evidence import Evidence

Builder = Callable[..., Evidence]
Resign = Callable[[Path, Callable[[dict[str, Any]], object], SigningKey], Path]


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_audit_matches_everything_signed_when_the_certificate_is_honest(folder: Path, key: SigningKey) -> None:
    found = audit(folder / "model.onnx", trust=[key.public])
    assert found.agrees and found.verification.valid
    assert {row.name for row in found.figures} == set(found.certificate.profile.estimates)
    assert {row.name for row in found.guards} == {guard.name for guard in found.certificate.profile.guards}
    assert all(row.match == "same" and row.difference in (0, None) for row in (*found.figures, *found.guards))
    assert found.outcome_text == found.certificate.outcome_text


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
def test_audit_names_the_figure_when_something_else_was_signed(
    folder: Path, key: SigningKey, sign_again: Resign, what: str
) -> None:
    change, name = CHANGES[what]
    model = sign_again(folder, lambda statement: change(statement["predicate"]), key)
    found = audit(model)
    assert name in found.differs and not found.agrees and name in found.verdict
    result = run("audit", model, "--json")
    assert result.exit_code == 1
    rows = json.loads(result.stdout)
    assert {row["name"] for part in ("figures", "guards", "grade") for row in rows[part] if row["match"] == "differs"}


def test_audit_command_prints_every_comparison_when_run(folder: Path, key: SigningKey) -> None:
    short = run("audit", folder / "model.onnx")
    assert short.exit_code == 4 and short.stdout.startswith("All "), short.output
    assert "energy_ratio" not in short.stdout and len(short.stdout.splitlines()) < 12
    result = run("audit", folder / "model.onnx", "--verbose")
    assert result.exit_code == 4 and "a key you do not trust" in result.stdout, result.output
    assert run("audit", folder / "model.onnx", "--trust", key.public.hex).exit_code == 0
    for name in ("energy_ratio", "null_holds", "score_db", "follow from the evidence, as signed"):
        assert name in result.stdout
    values = json.loads(run("audit", folder / "model.onnx", "--json").stdout)
    assert values["agrees"] and values["remeasured"] is None and values["verification"]["exit_code"] == 4


def test_audit_refuses_when_there_is_no_evidence_to_derive_from(folder: Path) -> None:
    (folder / "evidence.jsonl").write_bytes((folder / "evidence.jsonl").read_bytes()[:-1])
    with pytest.raises(CertificateError, match="not the evidence that was signed"):
        audit(folder / "model.onnx")
    (folder / "evidence.jsonl").unlink()
    with pytest.raises(NotDerivedError, match="--evidence"):
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
    assert found.agrees and found.outcome_text == text == found.certificate.outcome_text
    assert found.verification.exit_code == 0
    if text == "refused":
        reasons = found.certificate.predicate["grade"]["reasons"]
        failed = [row.name for row in found.guards if row.derived == "fail"]
        assert reasons and all(any(name in reason for reason in reasons) for name in failed)


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
