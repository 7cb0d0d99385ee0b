"""The script that disables findings: it must try every one; and a slice of it, with the checks of files."""

from __future__ import annotations

from pathlib import Path

from findings import Forger, cases, table
from graded import own_folders

from certify.assessments.efficiency.guards import GUARDS

FILE_CHECKS = {"derived", "created", "baseline_facts", "baseline_origin", "observed_facts"}
SLICE = frozenset(
    {*FILE_CHECKS, "windows_vary", "metric_bound", "holds_on_fresh", "cost_counted", "baseline_not_padded"}
)


def test_every_finding_has_a_forgery(tmp_path: Path) -> None:
    with own_folders(tmp_path / "user"):
        assert {case.finding for case in cases(Forger(tmp_path))} == {*GUARDS, *FILE_CHECKS}


def test_each_check_refuses_its_forgery_and_nothing_else_does() -> None:
    rows = {case.finding: (standing, disabled, why) for case, standing, disabled, why in table(SLICE)}
    assert set(rows) == SLICE
    assert {name: row[:2] for name, row in rows.items()} == dict.fromkeys(SLICE, (False, True))
    assert all(name in why for name, (_, _, why) in rows.items() if name != "derived")
