from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import subprocess
import sys
import termios
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import nbclient
import nbformat
import pytest

from certify.core.errors import UsageError
from certify.core.progress import Bars, Progress, Silent, job, shown
from certify.core.redraw import THREAD, moving, still


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


def test_interrupted_task_is_not_reported_as_done(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), Bars().task("Calibrating"):
        raise KeyboardInterrupt
    assert capsys.readouterr().err.splitlines()[-1].startswith("Calibrating: stopped after ")


def test_library_calls_draw_nothing_when_progress_is_false_or_there_is_no_terminal() -> None:
    assert isinstance(shown(False), Silent)
    assert isinstance(shown(None), Silent)
    assert isinstance(shown(True), Bars)


def test_job_says_what_the_next_start_does_when_interrupted(capsys: pytest.CaptureFixture[str]) -> None:
    @job("Compressing", when_stopped="The same command resumes.")
    def run(progress: Progress | bool | None = None) -> None:
        assert isinstance(progress, Bars)
        raise KeyboardInterrupt("Two windows are kept.")

    with pytest.raises(KeyboardInterrupt, match=r"^Two windows are kept\. The same command resumes\.$"):
        run(progress=True)
    assert capsys.readouterr().err.splitlines()[0] == "Compressing ..."


def test_job_inside_another_leaves_it_to_the_outer_one_to_say_what_the_next_start_does() -> None:
    @job("Compressing", when_stopped="It resumes after the last pass.")
    def inner(progress: Progress | bool | None = None) -> None:
        raise KeyboardInterrupt("Two windows are kept.")

    @job("Searching", when_stopped="It continues with the finished trials.")
    def outer(progress: Progress | bool | None = None) -> None:
        inner(progress=progress)

    @job("Auditing")
    def silent(progress: Progress | bool | None = None) -> None:
        inner(progress=progress)

    for run, words in ((outer, "continues with the finished trials"), (silent, "resumes after the last pass")):
        with pytest.raises(KeyboardInterrupt, match=rf"^Two windows are kept\. It {words}\.$"):
            run(progress=False)


def test_wrong_argument_of_a_job_is_reported_with_the_name_of_the_function() -> None:
    @job("Compressing")
    def run(progress: Progress | bool | None = None) -> None:
        """Do nothing."""

    with pytest.raises(TypeError, match=r"^run\(\) got an unexpected keyword argument 'mean'"):
        run(mean=0.5)  # type: ignore[call-arg]


def test_job_is_silent_when_progress_is_false() -> None:
    @job("Compressing")
    def run(progress: Progress | bool | None = None) -> object:
        return progress

    assert isinstance(run(progress=False), Silent)


def on_terminal(script: str, columns: int = 72) -> str:
    """What a script writes to a terminal of that width."""
    leader, follower = os.openpty()
    fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=follower, stdout=follower, stderr=follower,
        env={**os.environ, "TERM": "xterm", "COLUMNS": str(columns)},
    ) as process:  # fmt: skip
        os.close(follower)
        written = b""
        with contextlib.suppress(OSError):  # the other end was closed
            while part := os.read(leader, 1 << 16):
                written += part
        assert process.wait() == 0
    os.close(leader)
    return written.decode()


def test_bar_moves_when_the_step_runs_and_standard_error_is_discarded() -> None:
    written = on_terminal(
        "import os, time\n"
        "from certify.core.progress import Bars\n"
        "bars = Bars()\n"
        "with bars.task('Exporting model.onnx') as task:\n"
        "    task.advance(0, note='dynamo')\n"
        "    kept = os.dup(2)\n"
        "    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)\n"
        "    time.sleep(1.3)\n"
        "    os.dup2(kept, 2)\n"
    )
    assert "0:00:01" in written
    assert written.count("Exporting model.onnx") >= 5


def test_bar_is_readable_when_the_terminal_has_72_columns() -> None:
    written = on_terminal(
        "from certify.core.progress import Bars\n"
        "with Bars().task('Scoring the baseline on 10000 test samples', 10) as task:\n"
        "    task.advance(5, note='epoch 12, loss 0.123, validation 97.0%')\n"
    )
    assert "0:00:00" in written and " 50%" in written
    assert "epoch 12, loss 0.123, validation 97.0%" in written


def test_redraw_thread_runs_only_when_bars_are_open_and_nothing_is_measured() -> None:
    def alive() -> bool:
        return any(thread.name == THREAD for thread in threading.enumerate())

    with moving(lambda: None):
        assert alive()
        with still(), still():
            assert not alive()
        assert alive()
        with still(), moving(lambda: None):
            assert not alive()
    assert not alive()


def test_redrawing_can_be_held_while_another_thread_starts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    started, starting = threading.Thread.start, threading.Event()

    def start_slowly(thread: threading.Thread) -> None:
        if thread.name == THREAD:
            starting.set()
            time.sleep(0.05)
        started(thread)

    def hold_meanwhile() -> None:
        assert starting.wait(timeout=10)
        with still():
            pass

    with moving(lambda: None), ThreadPoolExecutor(1) as pool:
        with still():
            monkeypatch.setattr(threading.Thread, "start", start_slowly)
            other = pool.submit(hold_meanwhile)
        other.result()
    assert not any(thread.name == THREAD for thread in threading.enumerate())


def test_notebook_draws_moving_bars_when_there_are_no_widgets() -> None:
    cell = nbformat.v4.new_code_cell(
        "import time\n"
        "from certify.core.progress import shown\n"
        "bars = shown(None)\n"
        "bars.say('Reading.')\n"
        "opened = bars.task('Training', 4)\n"
        "opened.__enter__().advance(3, note='epoch <1>')\n"
        "time.sleep(1.3)\n"
    )
    nbclient.NotebookClient(nbformat.v4.new_notebook(cells=[cell]), timeout=60).execute()
    (drawn,) = (output["data"]["text/html"] for output in cell["outputs"])
    assert "Reading." in drawn
    assert "Training<br>epoch &lt;1&gt;" in drawn
    assert '<progress value="3" max="4">' in drawn
    assert "<td>1 s</td>" in drawn


def test_step_omits_its_time_when_it_fails(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError), Bars().task("Calibrating"):
        raise UsageError("No such layer.")
    assert "Calibrating: " not in capsys.readouterr().err
