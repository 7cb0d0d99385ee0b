"""What a data-protection officer does: look up records, record consent, withdraw it, and record it again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from certify.cli.main import main
from certify.core.data_use.folder import UseFolder
from certify.core.private_data import DataKey
from certify.data import load
from certify.workflows import use_control

KEY = DataKey(bytes(range(32)))
TERMS = """\
name: clinic
controller: Clinic
contact: privacy@example.org
permissions:
  - {actions: [train, calibrate, evaluate], purposes: ["dpv:ResearchAndDevelopment"]}
legal_basis: dpv:Consent
consent: required
withdrawal: by e-mail
"""
GIVEN, LATER = "2026-01-01T00:00:00Z", "2098-01-01T00:00:00Z"


@pytest.fixture
def data(tmp_path: Path) -> str:
    """Governed data in a CSV file."""
    lines = [f"patient {i},{20 + i / 2},{('low', 'high')[i % 3 == 0]}" for i in range(60)]
    (tmp_path / "people.csv").write_text("\n".join(["id,age,income", *lines]) + "\n")
    (tmp_path / "terms.yaml").write_text(TERMS)
    KEY.write(tmp_path / "data.key")
    spec = f"csv:{tmp_path / 'people.csv'},label=income,drop=id"
    assert run("policy", "bind", spec, "--terms", tmp_path / "terms.yaml", folder=tmp_path).exit_code == 0
    return spec


def run(*arguments: object, folder: Path) -> Result:
    result = CliRunner().invoke(main, [*map(str, arguments), "--data-key", str(folder / "data.key")])
    assert "Traceback" not in result.output
    return result


def consent(spec: str, folder: Path, *receipts: dict[str, Any]) -> Result:
    (folder / "receipts.json").write_text(json.dumps(receipts))
    return run("policy", "consent", spec, "--receipts", folder / "receipts.json", folder=folder)


def given(record: str, name: str = "r-1", time: str = GIVEN, person: str = "ada@example.org") -> dict[str, Any]:
    return {
        "record_id": name, "pii_principal_id": person, "pii_records": [record], "event_type": "explicit",
        "event_state": "given", "event_time": time, "purposes": ["dpv:ResearchAndDevelopment"],
        "processing": ["train", "calibrate", "evaluate"],
    }  # fmt: skip


def found(spec: str, line: int, folder: Path) -> str:
    """The keyed identifier of the record on a line."""
    listed = json.loads(run("policy", "records", spec, "--json", folder=folder).stdout)["records"]
    (record,) = [one for one in listed if one["place"].endswith(f"people.csv, line {line}")]
    return str(record["identifier"])


def withdrawn(spec: str, folder: Path) -> int:
    shown = run("subject", "ada@example.org", "--data", spec, "--json", folder=folder)
    return len(json.loads(shown.stdout)["withdrawn"])


def test_records_are_listed_with_the_place_that_stores_them(data: str, tmp_path: Path) -> None:
    result = run("policy", "records", data, folder=tmp_path)
    lines = result.stdout.splitlines()
    assert result.exit_code == 0 and len(lines) == 60 and len(set(lines)) == 60
    identifiers = {line.split()[0] for line in lines}
    assert identifiers == set((tmp_path / "people.csv.use" / "records.txt").read_text().split())
    assert {int(line.rpartition(" ")[2]) for line in lines} == set(range(2, 62))


def test_records_of_arrays_and_images_have_an_index_or_a_file(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.arange(40, dtype=np.float32)[:, None], y=np.arange(40) % 2)
    test = load(f"npz:{tmp_path / 'a.npz'}").test
    assert test.places() == [f"index {test.arrays(i)['x'][0]:.0f}" for i in range(len(test))]


def test_records_are_not_listed_for_another_key_or_without_a_policy(data: str, tmp_path: Path) -> None:
    (tmp_path / "data.key").unlink()
    DataKey.new().write(tmp_path / "data.key")
    result = run("policy", "records", data, folder=tmp_path)
    assert result.exit_code == 2 and "was written with another data key" in result.stderr
    free = data.replace("people.csv", "free.csv")
    (tmp_path / "free.csv").write_text((tmp_path / "people.csv").read_text())
    result = run("policy", "records", free, folder=tmp_path)
    assert result.exit_code == 2 and "have no use policy" in result.stderr


def test_subject_names_each_receipt(data: str, tmp_path: Path) -> None:
    record = found(data, 7, tmp_path)
    assert consent(data, tmp_path, given(record)).exit_code == 0
    shown = run("subject", "ada@example.org", "--data", data, folder=tmp_path).stdout
    assert shown.startswith("1 record, 0 withdrawn\n") and f"receipt r-1: given {GIVEN} for dpv:Research" in shown


def test_old_consent_does_not_undo_forgetting(data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = found(data, 7, tmp_path)
    assert consent(data, tmp_path, given(record)).exit_code == 0
    done = run("forget", "ada@example.org", "--data", data, folder=tmp_path)
    assert done.exit_code == 0 and "1 record is withdrawn; no loader yields it" in done.stdout
    register = UseFolder.beside(tmp_path / "people.csv").consent_path
    before = register.read_bytes()
    for again, words in ((given(record), "'r-1' is already recorded"), (given(record, "r-2"), "is not later than the")):
        result = consent(data, tmp_path, given(record, "r-0", person="grace"), again)
        assert result.exit_code == 2 and "receipt 2: " in result.stderr and words in result.stderr, result.output
        assert register.read_bytes() == before and withdrawn(data, tmp_path) == 1
    assert consent(data, tmp_path, given(record, "r-3", LATER)).exit_code == 0, "a new consent counts"
    assert withdrawn(data, tmp_path) == 1, "but only from its time"
    monkeypatch.setattr(use_control, "now", lambda: LATER)
    assert withdrawn(data, tmp_path) == 0


def test_receipts_in_one_file_are_refused_when_a_withdrawal_comes_first(data: str, tmp_path: Path) -> None:
    record = found(data, 7, tmp_path)
    gone = {**given(record, "w"), "event_type": "withdrawal", "event_state": "withdrawn", "event_time": LATER}
    gone |= {"purposes": [], "processing": []}
    result = consent(data, tmp_path, gone, given(record))
    assert result.exit_code == 2 and "is not later than the withdrawal" in result.stderr
    assert consent(data, tmp_path, given(record), gone).exit_code == 0 and withdrawn(data, tmp_path) == 1


def test_error_names_the_receipt_that_is_malformed(data: str, tmp_path: Path) -> None:
    result = consent(data, tmp_path, given(found(data, 7, tmp_path)), given("zz", "r-2"))
    assert result.exit_code == 2 and "receipts.json, receipt 2: " in result.stderr


@pytest.mark.parametrize("content", ["[1", "\xff", "[" * 100_000, '{"a": 1}', "[]", "null"])
def test_receipts_that_are_not_a_list_are_refused_in_one_sentence(data: str, tmp_path: Path, content: str) -> None:
    before = {path.name: path.read_bytes() for path in (tmp_path / "people.csv.use").iterdir()}
    (tmp_path / "receipts.json").write_bytes(content.encode("latin-1"))
    result = run("policy", "consent", data, "--receipts", tmp_path / "receipts.json", folder=tmp_path)
    assert result.exit_code == 2 and isinstance(result.exception, SystemExit), result.exception
    assert {path.name: path.read_bytes() for path in (tmp_path / "people.csv.use").iterdir()} == before


def test_expired_policy_permits_nothing(data: str, tmp_path: Path) -> None:
    folder, out = UseFolder.beside(tmp_path / "people.csv"), tmp_path / "sheet.json"
    policy = folder.policy()
    folder.bind(replace(policy, retention="2026-01-02T00:00:00Z"), folder.records(policy), GIVEN)
    result = run("policy", "sheet", data, "--purpose", "research", "--out", out, folder=tmp_path)
    assert result.exit_code == 6 and "ended at 2026-01-02" in result.stderr and not out.exists(), result.output


def test_sheet_ends_with_6_when_nobody_consented(data: str, tmp_path: Path) -> None:
    out = tmp_path / "sheet.json"
    result = run("policy", "sheet", data, "--purpose", "research", "--out", out, folder=tmp_path)
    assert result.exit_code == 6 and "covered by consent" in result.stderr and not out.exists(), result.output


def test_consent_says_so_when_a_withdrawal_under_another_identifier_stands(data: str, tmp_path: Path) -> None:
    record = found(data, 2, tmp_path)
    assert run("forget", record, "--data", data, folder=tmp_path).exit_code == 0
    told = consent(data, tmp_path, given(record, time=LATER))
    assert told.exit_code == 0 and f"stands: see leanmark subject {record}." in told.output
    again = consent(data, tmp_path, given(record, "r-2", time=LATER, person=record))
    assert again.exit_code == 0 and "stands" not in again.output
