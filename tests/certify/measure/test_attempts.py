from __future__ import annotations

import json
from pathlib import Path

import pytest

from certify.core.errors import MeasureError
from certify.core.folders import state_folder
from certify.measure.attempts import LOG_NAME, count_attempt


def test_attempts_count_up_for_the_same_files_and_workload_only() -> None:
    assert [count_attempt("a", "b", "w", "now") for _ in range(3)] == [1, 2, 3]
    assert count_attempt("a", "c", "w", "now") == 1
    assert count_attempt("a", "b", "v", "now") == 1
    assert count_attempt("a", "b", "w", "now") == 4


def test_log_holds_one_line_for_each_measurement() -> None:
    count_attempt("a", "b", "w", "2026-01-01T00:00:00Z")
    (line,) = (state_folder() / LOG_NAME).read_text().splitlines()
    assert json.loads(line) == {"baseline": "a", "candidate": "b", "workload": "w", "created": "2026-01-01T00:00:00Z"}


def test_error_names_the_log_when_it_can_not_be_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("LEANMARK_STATE_HOME", str(tmp_path / "file"))
    with pytest.raises(MeasureError, match="LEANMARK_STATE_HOME"):
        count_attempt("a", "b", "w", "now")


def test_error_names_the_log_when_a_line_is_damaged() -> None:
    count_attempt("a", "b", "w", "now")
    with (state_folder() / LOG_NAME).open("a") as log:
        log.write("{half a li\n")
    with pytest.raises(MeasureError, match="damaged line"):
        count_attempt("a", "b", "w", "now")
