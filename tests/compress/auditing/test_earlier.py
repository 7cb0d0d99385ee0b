"""Joules of earlier audits of a lineage are repeated by the next audit, whose statement replaces theirs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

import certify
from certify.assessments.privacy_audit.records import EarlierAudit, dump, parse
from certify.attest.keys import new_key
from certify.core.errors import UsageError
from certify.core.progress import Silent
from certify.model_file.subject import subject_digests
from compress.auditing.audit_folder import Shelf
from compress.auditing.earlier import earlier_audits

sys.path.insert(0, str(Path(__file__).parents[2] / "certify" / "assessments" / "privacy_audit"))

from honest_audit import head, membership_rows, records, steps

SIGNER = new_key()
LINEAGE = "ab" * 32
FIRST = EarlierAudit(None, "2026-11-01T00:00:00Z", None)


@pytest.fixture
def model(onnx_file: Path) -> Path:
    return onnx_file


def stated(model: Path, metered: bool = True, **changed: Any) -> Any:
    statement = head(records([*steps(metered), FIRST, *membership_rows()]), baseline=None)
    digests = type(statement.header.model)(**subject_digests(model))
    statement = head(statement, model=digests, **{"lineage": LINEAGE, **changed})
    (model.parent / "audit.jsonl").write_bytes(dump(statement))
    return certify.state(model, "privacy_audit", model.parent / "audit.jsonl", edition="2026", signer=SIGNER)


def test_statement_counts_itself_and_what_it_counts(model: Path) -> None:
    assert earlier_audits(model.parent, LINEAGE) == ()
    claims = stated(model).claims
    before, own = earlier_audits(model.parent, LINEAGE)
    assert before == FIRST and own.statement == claims.digest and own.created == claims.created
    assert own.energy_j is not None and own.energy_j["value"] == claims.figures["audit_energy"].value
    assert earlier_audits(model.parent, LINEAGE, claims.evidence_digest) == (FIRST,), "an audit does not count itself"
    assert earlier_audits(model.parent, "cd" * 32) == (), "another lineage"


def test_unmetered_audit_counts_as_unknown(model: Path) -> None:
    stated(model, metered=False)
    assert earlier_audits(model.parent, LINEAGE)[-1].energy_j is None


@pytest.mark.parametrize("name", ["privacy_audit.json", "privacy_audit.evidence.jsonl"])
@pytest.mark.parametrize("damage", [b"", b"{}", None])
def test_audit_is_refused_if_the_joules_of_the_earlier_one_would_be_lost(
    model: Path, name: str, damage: bytes | None
) -> None:
    stated(model)
    path = model.parent / "statements" / name
    if damage is None and name.endswith(".jsonl"):
        path.unlink()
    else:
        path.write_bytes(damage or b"\xff")
    with pytest.raises(UsageError, match="cannot be counted") as error:
        earlier_audits(model.parent, LINEAGE)
    assert str(error.value).count(". ") == 0


def test_altered_records_of_the_earlier_audit_are_refused(model: Path) -> None:
    stated(model)
    path = model.parent / "statements" / "privacy_audit.evidence.jsonl"
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"value":50', b'"value":41', 1))
    assert path.read_bytes() != content and parse(path.read_bytes(), "records")
    with pytest.raises(UsageError, match="not the file that it names"):
        earlier_audits(model.parent, LINEAGE)


def cost(value: float) -> dict[str, Any]:
    joules = {"value": value, "low": value, "high": value, "unit": "J", "n": 1, "method": "m", "evidence": "counter"}
    return {"seconds": 1.0, "cpu_s": 1.0, "energy_j": joules}


def test_abandoned_audit_of_the_lineage_is_counted_once(tmp_path: Path) -> None:
    facts = {"lineage": LINEAGE}
    shelf = Shelf(tmp_path, {**facts, "asked": 1}, Silent())
    assert shelf.abandoned == ()
    shelf.finish("begun", "2026-11-01T00:00:00Z")
    shelf.finish("twin-cost", [cost(3.0), cost(4.0)])
    shelf.finish("shadow-0-cost", [cost(5.0)])
    (found,) = Shelf(tmp_path, {**facts, "asked": 2}, Silent()).abandoned
    assert found.statement is None and found.created == "2026-11-01T00:00:00Z"
    assert found.energy_j is not None and found.energy_j["value"] == 12.0
    again = Shelf(tmp_path, {**facts, "asked": 2}, Silent())
    assert again.abandoned == (found,), "a resumed audit still counts it"
    again.finish("twin-cost", [None])  # a process was killed
    first, second = Shelf(tmp_path, {**facts, "asked": 3}, Silent()).abandoned
    assert first == found and second.energy_j is None and second.created == "unknown"
    assert Shelf(tmp_path, {"lineage": "cd" * 32, "asked": 3}, Silent()).abandoned == (), "another lineage"
