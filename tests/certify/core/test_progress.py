from __future__ import annotations

import pytest

from certify.core.progress import Bars, Silent


def test_plain_lines_are_written_when_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    bars = Bars()
    with bars.task("Training", 10) as outer:
        outer.advance(5, note="epoch 1")
        with bars.task("Checking") as inner:
            inner.advance()
        bars.say("Half of it is done.")
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert lines[0] == "Training ..."
    assert lines[1] == "Checking ..."
    assert lines[2].startswith("Checking: ")
    assert lines[3] == "Half of it is done."
    assert lines[4].startswith("Training: ") and lines[4].endswith("epoch 1")


def test_bar_closes_when_the_job_fails(capsys: pytest.CaptureFixture[str]) -> None:
    bars = Bars()
    with pytest.raises(ValueError), bars.task("Training"):
        raise ValueError
    assert "Training: " in capsys.readouterr().err


def test_silent_progress_writes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    silent = Silent()
    with silent.task("Training", 1) as task:
        task.advance()
    silent.say("done")
    captured = capsys.readouterr()
    assert captured.out == captured.err == ""
