"""A privacy claim beside an audit whose canaries show more: verified, gated, counted and shown."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper

import certify
from certify.assessment.claims import contradictions
from certify.assessments.privacy.withholding import write as write_privacy
from certify.assessments.privacy_audit.records import dump
from certify.assessments.privacy_audit.withholding import write as write_audit
from certify.attest.auditor import Access
from certify.attest.keys import new_key
from certify.attest.verify import require_derived, verify
from certify.cli.main import main
from certify.model_file.subject import subject_digests
from certify.present.statements import front
from certify.workflows.scoring import score_model, sign_score

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "privacy"))

from honest_audit import KEY, canary_rows, head, records
from honest_privacy import honest, training

SIGNER = new_key()
Lay = Callable[..., Path]
SHOWN, CLAIMED = "epsilon of at least 3", "claims 1."


@pytest.fixture(autouse=True)
def own_config(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEANMARK_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))


@pytest.fixture
def lay(tmp_path: Path) -> Lay:
    """Lays a model with a claim of epsilon 1 and an audit of it into a folder."""

    def make(leak: float, private: bool = False) -> Path:
        model = tmp_path / "out" / "model.onnx"
        model.parent.mkdir()
        ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
        graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ports[:1], ports[1:])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), model)
        digests = subject_digests(model)
        claim = training(honest(digests, claimed_epsilon=1.0, lineage=None), noise_multiplier=14.2)
        write_privacy(claim, tmp_path / "privacy.jsonl", tmp_path / "private.jsonl", KEY)
        evidence = records(canary_rows(leak=leak, claimed_epsilon=None), private=private)
        evidence = head(evidence, model=type(evidence.header.model)(**digests), lineage=None, baseline=None)
        if private:
            write_audit(evidence, tmp_path / "audit.jsonl", tmp_path / "private_audit.jsonl", KEY)
        else:
            (tmp_path / "audit.jsonl").write_bytes(dump(evidence))
        for name, file in (("privacy", "privacy"), ("privacy_audit", "audit")):
            certify.state(model, name, tmp_path / f"{file}.jsonl", edition="2026", signer=SIGNER)
        return model

    return make


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [*map(str, arguments), "--trust", SIGNER.public.hex])


def auditor(folder: Path) -> tuple[object, ...]:
    """Options for a reader who has the auditor file of the claim."""
    key = folder / "data.key"
    KEY.write(key)
    return ("--auditor-file", folder / "private.jsonl", "--auditor-key", key)


def refutations(model: Path, **options: Any) -> list[str]:
    found = verify(model, trust=[SIGNER.public], **options)
    return [check.sentence for check in found.failed if check.name.rpartition(".")[2] == "claim_refuted"]


def test_verification_fails_when_the_canaries_show_more_than_is_claimed(lay: Lay) -> None:
    model = lay(leak=4.0)
    found = verify(model, trust=[SIGNER.public])
    assert found.exit_code == 1 and [check.name for check in found.failed] == ["claim_refuted"], str(found)
    (sentence,) = refutations(model)
    assert SHOWN in sentence and CLAIMED in sentence
    assert not found.others[0].failed, "the audit stands"
    result = run("verify", model)
    assert result.exit_code == 1 and SHOWN in result.output and "NOT VALID" in result.output


def test_gate_on_privacy_stops_when_the_canaries_show_more_than_is_claimed(lay: Lay, tmp_path: Path) -> None:
    result = run("gate", lay(leak=4.0), "--require", "privacy.epsilon<=1", *auditor(tmp_path))
    printed = " ".join(result.output.split())
    assert result.exit_code == 1 and SHOWN in printed and CLAIMED in printed, result.output


def test_gate_on_privacy_passes_when_the_canaries_show_less(lay: Lay, tmp_path: Path) -> None:
    model = lay(leak=0.1)
    assert not refutations(model)
    result = run("gate", model, "--require", "privacy.epsilon<=1", *auditor(tmp_path))
    assert result.exit_code == 0, result.output


def test_claim_earns_no_points_when_the_canaries_show_more(lay: Lay) -> None:
    model = lay(leak=4.0)
    scored = score_model(model, trust=[SIGNER.public])
    line = next(one for one in scored.score.lines if one.name == "D1")
    assert (line.points, line.state) == (0.0, "failed")
    assert SHOWN in line.sentence and CLAIMED in line.sentence
    sign_score(scored, SIGNER)
    names = [check.name for check in verify(model, trust=[SIGNER.public]).failed]
    assert names == ["claim_refuted"], "the count itself holds"


def test_findings_about_private_data_refute_the_claim_for_the_auditor_alone(lay: Lay, tmp_path: Path) -> None:
    model = lay(leak=4.0, private=True)
    assert not refutations(model) and not verify(model, trust=[SIGNER.public]).complete
    files = (tmp_path / "private.jsonl", tmp_path / "private_audit.jsonl")
    (sentence,) = refutations(model, access=Access(files, KEY))
    assert SHOWN in sentence


def test_contradiction_is_shown_with_the_claim_and_once_in_all(lay: Lay) -> None:
    _, found = require_derived(lay(leak=4.0), trust=[SIGNER.public])
    claims = [one.claims for one in found.certificates]
    for one in claims:
        assert front(one, claims).startswith("CONTRADICTED: Canaries show"), one.assessment
    assert len(contradictions(claims)) == 1
