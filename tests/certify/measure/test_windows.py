from __future__ import annotations

import gc
import os
import threading
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import pytest

from certify.core.evidence import Evidence
from certify.core.evidence_file import evidence_bytes, parse_evidence
from certify.core.redraw import THREAD, moving
from certify.core.windows import Window
from certify.measure import windows
from certify.measure.client import WindowResult, Worker
from certify.measure.host import Host
from certify.measure.windows import Recorder, Running, warm_up, window_line


class _Worker:
    """Takes no time for a window, and says that it took a second."""

    arm, pid = "baseline", os.getpid()

    def window(self, inferences: int, expected_s: float) -> WindowResult:
        return WindowResult(1.0, 0.9, True)


class _Timed:
    """Says that its first inference took ``first_s``, and every further one ``each_s``."""

    arm, model = "candidate", Path("net.pt2")

    def __init__(self, first_s: float, each_s: float) -> None:
        self.first_s, self.each_s = first_s, each_s
        self.asked: list[int] = []

    def window(self, inferences: int, expected_s: float) -> WindowResult:
        duration_s = inferences * self.each_s + (0.0 if self.asked else self.first_s - self.each_s)
        self.asked.append(inferences)
        return WindowResult(duration_s, duration_s, True)


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorder:
    monkeypatch.setattr(windows, "SETTLE_S", 0.0)
    meter = SimpleNamespace(start=lambda: None, stop=lambda usage: SimpleNamespace(energy_j=2.0, raw={"a_j": 0.1}))
    return Recorder(meter, Host(tmp_path), tmp_path / "windows.jsonl")  # type: ignore[arg-type]


def _record(recorder: Recorder, count: int, run: str = "main") -> list[Window]:
    running = Running(_Worker(), 1, 0.1, 10)  # type: ignore[arg-type]
    return [recorder.record(running, (), run, 0, number, 0) for number in range(count)]


def test_windows_read_back_as_recorded(recorder: Recorder) -> None:
    recorded = [*_record(recorder, 3, "null"), *_record(recorder, 2)]
    assert list(recorder.windows()) == recorded
    assert list(recorder.run("main").windows) == recorded[3:]


def test_no_thread_redraws_when_a_window_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[tuple[str, bool]] = []

    def note(place: str, result: object = None) -> object:
        alive.append((place, any(thread.name == THREAD for thread in threading.enumerate())))
        return result

    monkeypatch.setattr(windows.time, "sleep", lambda seconds: note("settling"))
    meter = SimpleNamespace(
        start=lambda: note("start"), stop=lambda usage: note("stop", SimpleNamespace(energy_j=2.0, raw={"a_j": 0.1}))
    )
    answers = {"window": {"duration_s": 1.0, "cpu_s": 0.9, "finite": True}, "latency": {"seconds": []}}
    worker = object.__new__(Worker)
    worker.arm, worker._process = "baseline", SimpleNamespace(pid=os.getpid())  # type: ignore[assignment]
    monkeypatch.setattr(worker, "call", lambda command, *_, **__: note(command, answers.get(command, {"nodes": []})))
    recorder = Recorder(meter, Host(tmp_path), tmp_path / "windows.jsonl")  # type: ignore[arg-type]
    with moving(lambda: None):
        note("before")
        recorder.record(Running(worker, 1, 0.1, 10), (), "main", 0, 0, 0)
        worker.window(1, 0.1), worker.latency(1, 0.1), worker.nodes(1, 0.1)
        note("after")
    measured = [(place, False) for place in ("settling", "start", "window", "stop", "window", "latency", "nodes")]
    assert alive == [("before", True), *measured, ("after", True)]


def test_kept_window_is_a_line_of_evidence(recorder: Recorder, evidence: Evidence) -> None:
    window = _record(recorder, 1)[0]
    content = evidence_bytes(evidence) + window_line(window)
    assert parse_evidence(content).windows[-1] == window


def test_memory_stays_flat_when_there_are_thousands_of_windows(recorder: Recorder) -> None:
    running = Running(_Worker(), 1, 0.1, 10)  # type: ignore[arg-type]

    def record(count: int) -> int:
        for number in range(count):
            recorder.record(running, (), "main", 0, number, 0)
        gc.collect()
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        before = record(200)
        after = record(2000)
    finally:
        tracemalloc.stop()
    assert after - before < 20_000  # bytes; a kept window takes about 1,500
    assert sum(1 for _ in recorder.windows()) == 2200


@pytest.mark.parametrize("first_s", [0.003, 1.0, 1.5, 9.0])
def test_windows_are_sized_by_later_inferences_when_the_first_is_slow(first_s: float) -> None:
    worker = _Timed(first_s, each_s=0.003)
    running = warm_up(worker, 1, window_s=2.85, longest_s=60.0)  # type: ignore[arg-type]
    assert running.inferences == 950
    assert running.inference_s == pytest.approx(0.003)


def test_warming_takes_two_inferences_when_each_fills_a_window() -> None:
    worker = _Timed(first_s=20.0, each_s=16.0)
    running = warm_up(worker, 1, window_s=5.0, longest_s=60.0)  # type: ignore[arg-type]
    assert worker.asked == [1, 1]
    assert (running.inferences, running.inference_s) == (1, 16.0)
