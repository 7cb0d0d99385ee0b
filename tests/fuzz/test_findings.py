"""The script that disables findings: a slice of it, with the checks that look at files."""

from __future__ import annotations

from findings import table

FILE_CHECKS = frozenset({"derived", "created", "baseline_facts", "observed_facts", "windows_vary"})


def test_each_check_refuses_its_forgery_and_nothing_else_does() -> None:
    rows = {case.finding: (standing, disabled, why) for case, standing, disabled, why in table(FILE_CHECKS)}
    assert set(rows) == FILE_CHECKS
    assert {name: row[:2] for name, row in rows.items()} == dict.fromkeys(FILE_CHECKS, (False, True))
    assert all(name in why for name, (_, _, why) in rows.items() if name != "derived")
