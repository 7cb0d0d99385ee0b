"""The federation statement next to its model: verified with its lineage, and with the receipts of a client."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
from click.testing import CliRunner, Result
from onnx import TensorProto, helper

from certify.assessments.federation.recording import record
from certify.assessments.federation.records import Central
from certify.attest.keys import SigningKey, new_key
from certify.cli.main import main
from certify.core.federation import FederatedRun, Receipt, ReceiptFile, sign
from certify.core.files import sha256_file
from certify.model_file.subject import subject_digests
from certify.workflows.statements import state
from tests.certify.assessments.federation.honest_records import CENTRAL, ROOM, lineage, policy, run_with
from tests.certify.core.federation.honest_run import IDS, SERVER


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "out" / "model.onnx"
    path.parent.mkdir()
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ports[:1], ports[1:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def stated(model: Path, run: FederatedRun, central: Central | None = None, **options: Any) -> Path:
    """State a run beside a model, with its lineage."""
    digests = subject_digests(model)
    history = {**lineage(run), "artifacts": {"model.onnx": digests["sha256"]}, **options}
    path = model.with_name("lineage.json")
    path.write_text(json.dumps(history))
    made = record([run], digests, history, sha256_file(path), "0.1.0", [policy()], central)
    (model.parent / "federation.jsonl").write_bytes(ROOM.dump(made))
    state(model, "federation", model.parent / "federation.jsonl", edition="2026", signer=new_key())
    return model


def run_command(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments], catch_exceptions=False)


def test_statement_is_verified_and_derived_again_when_it_is_next_to_its_model(model: Path) -> None:
    stated(model, run_with())
    done = run_command("verify", model)
    assert "6 clients, 3 rounds" in done.output
    assert done.exit_code == 4, done.output  # all holds, and nobody trusts the new key


@pytest.mark.parametrize("what", ["lineage", "artifact"])
def test_verify_fails_when_the_lineage_beside_the_model_is_another(model: Path, what: str) -> None:
    artifacts = {"artifacts": {"model.onnx": "00" * 32}} if what == "artifact" else {}
    stated(model, run_with(), **artifacts)
    if what == "lineage":
        model.with_name("lineage.json").write_text(json.dumps(lineage(run_with())))
    done = run_command("verify", model)
    assert done.exit_code == 1 and "runs_match_lineage" in done.output


def test_verify_fails_when_the_central_run_was_scored_on_other_samples_than_the_lineage_has(model: Path) -> None:
    data = {"name": "d", "spec": "d", "digests": {"test": CENTRAL.test_digest}, "counts": {}}
    assert run_command("verify", stated(model, run_with(), CENTRAL, data=data)).exit_code == 4
    done = run_command("verify", stated(model, run_with(), CENTRAL))
    assert done.exit_code == 1 and "scored on a different test part" in " ".join(done.output.split())


@pytest.fixture
def receipts(tmp_path: Path) -> Callable[..., Path]:
    """Receipts of the first client for all rounds, as the server of an honest run gave them."""

    def write(run: FederatedRun, server: SigningKey = SERVER) -> Path:
        path = tmp_path / "receipts.jsonl"
        for signed in run.entries:
            one = signed.message
            if one.client == IDS[0]:
                receipt = sign(Receipt(one.run, one.number, one.nonce, one.client, signed.digest), server)
                ReceiptFile(path, server.public).keep(signed, receipt.line)
        return path

    return write


def test_verify_tells_a_client_with_receipts_that_its_entries_are_in_the_log(
    model: Path, receipts: Callable[..., Path]
) -> None:
    run = run_with()
    done = run_command("verify", stated(model, run), "--receipts", receipts(run))
    assert done.exit_code == 4 and "All 3 entries with a receipt are in the log." in done.output
    assert "Not detectable by receipts: clients and a server that collude" in " ".join(done.output.split())


def test_verify_fails_when_a_client_with_a_receipt_was_left_out(model: Path, receipts: Callable[..., Path]) -> None:
    path = receipts(run_with())
    done = run_command("verify", stated(model, run_with(away={(2, 0)})), "--receipts", path)
    assert done.exit_code == 1 and "NOT VALID" in done.output
    assert "1 of 3 entries were dropped silently" in " ".join(done.output.split())


def test_verify_fails_with_receipts_when_the_log_or_the_statement_is_missing_or_they_are_malformed(
    model: Path, receipts: Callable[..., Path]
) -> None:
    run = run_with()
    path = receipts(run)
    stated(model, run)
    (model.parent / "statements" / "federation.evidence.jsonl").unlink()
    done = run_command("verify", model, "--receipts", path)
    assert done.exit_code == 1 and "cannot be read, so its entries were not found" in " ".join(done.output.split())
    path.write_text("x\n")
    assert run_command("verify", model, "--receipts", path).exit_code == 1
    assert run_command("verify", model, "--receipts", model.with_name("none")).exit_code == 2
