"""Several processes at one study: they share its trials, and one that is killed loses the one that it was at."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from certify.core.errors import MeasureError, UsageError
from certify.core.progress import Silent
from compress.search import worker_pool
from compress.search.optional import optuna
from compress.search.study import Study
from compress.search.trial import Objective
from compress.search.turns import Turns, claimed
from tests.compress.search.numbers_bench import JOB

ROOT = Path(__file__).resolve().parents[3]
SCRIPT = Path(__file__).with_name("worker_script.py")


def start(out: Path, trials: int, seconds: float) -> subprocess.Popen:
    out.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(SCRIPT), str(out), str(trials), str(seconds)]
    return subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT)


def begun(out: Path) -> int:
    file = out / "begun.txt"
    return len(file.read_text().splitlines()) if file.is_file() else 0


def wait_until(true, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_two_processes_share_the_trials_when_they_start_at_once(question, bench):
    both = [start(question.out, 8, 0.2) for _ in range(2)]
    assert [each.wait(120) for each in both] == [0, 0]
    study = Study(dataclasses.replace(question, trials=8), bench.space, JOB)
    assert study.count() == 8
    assert begun(question.out) == 8


def test_last_trial_runs_once_when_two_ask_for_it_at_the_same_time(question, bench, turns, monkeypatch):
    ask, both = optuna().study.Study.ask, threading.Barrier(2)

    def ask_slowly(study, *args):
        with contextlib.suppress(threading.BrokenBarrierError):  # the other one has counted too, unless it has to wait
            both.wait(timeout=1)
        return ask(study, *args)

    monkeypatch.setattr(optuna().study.Study, "ask", ask_slowly)
    single = dataclasses.replace(question, trials=1)
    studies = [Study(single, bench.space, JOB) for _ in range(2)]
    with ThreadPoolExecutor(2) as pool:
        objective = Objective(bench, single.max_loss_percent, turns)
        for each in [pool.submit(study.work, objective, float("inf")) for study in studies]:
            each.result()
    assert studies[0].count() == 1


def test_one_trial_is_lost_and_tried_again_when_a_process_is_killed(question, bench):
    doomed = start(question.out, 5, 600.0)
    wait_until(lambda: begun(question.out) == 1)
    other = start(question.out, 5, 0.1)
    wait_until(lambda: begun(question.out) >= 2)
    doomed.send_signal(signal.SIGKILL)
    doomed.wait()
    assert other.wait(120) == 0
    study = Study(dataclasses.replace(question, trials=5), bench.space, JOB)
    assert study.count() == 5
    every = study._study.get_trials(deepcopy=False)
    (lost,) = [each for each in every if each.state.name == "FAIL"]
    again = [each for each in every if lost.number in each.system_attrs.get("retry_history", [])]
    assert [each.state.name for each in again] in (["COMPLETE"], ["PRUNED"])
    assert again[0].params == lost.params


def test_measuring_is_exclusive_when_others_work(turns):
    working, log = threading.Event(), []

    def work() -> None:
        with turns.working():
            working.set()
            time.sleep(0.3)
            log.append("worked")

    thread = threading.Thread(target=work)
    thread.start()
    working.wait()
    with turns.measuring():
        log.append("measured")
    thread.join()
    assert log == ["worked", "measured"]


def test_workers_run_in_parallel_when_none_measures(tmp_path):
    turns = Turns(tmp_path)
    with turns.working(), turns.working():
        pass


def test_waiting_work_starts_after_a_waiting_measurement(turns):
    working, log = threading.Event(), []

    def work(name: str) -> None:
        with turns.working():
            working.set()
            time.sleep(0.3)
            log.append(name)

    def measure() -> None:
        with turns.measuring():
            log.append("measured")

    threads = [threading.Thread(target=work, args=("first",))]
    threads[0].start()
    working.wait()
    for each in (threading.Thread(target=measure), threading.Thread(target=work, args=("second",))):
        each.start()
        threads.append(each)
        time.sleep(0.1)
    for each in threads:
        each.join()
    assert log == ["first", "measured", "second"]


def test_locks_are_open_for_reading_as_a_network_file_system_demands(turns):
    with turns._open("floor") as floor:
        assert floor.readable()


def test_lock_is_claimed_by_one_process_at_a_time(tmp_path):
    with claimed(tmp_path / "one.lock") as first, claimed(tmp_path / "one.lock") as second:
        assert first and not second
    with claimed(tmp_path / "one.lock") as again:
        assert again


def ends(question, until_s) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def ends_once(question, until_s) -> None:
    marker = question.out / "started"
    if not marker.exists():
        question.out.mkdir(parents=True, exist_ok=True)
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def breaks(question, until_s) -> None:
    raise RuntimeError("a shape does not fit")


def fills_the_disk(question, until_s) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "step.json")


def refuses(question, until_s) -> None:
    raise UsageError("The data have no validation part.")


def busy_until_end(worker) -> None:
    while worker.is_busy():
        time.sleep(0.05)


def test_worker_is_started_again_when_it_was_killed(question):
    worker = worker_pool.Worker(ends_once, question, 0.0)
    busy_until_end(worker)
    assert worker._starts == 2


def test_search_ends_with_an_error_when_a_worker_is_killed_again_and_again(question, monkeypatch):
    monkeypatch.setattr(worker_pool, "RESTARTS", 1)
    worker = worker_pool.Worker(ends, question, 0.0)
    with pytest.raises(MeasureError, match=r"ended 2 times \(exit code -9\)"):
        busy_until_end(worker)


def test_search_ends_at_once_when_a_worker_fails_by_an_error_of_its_own(question):
    worker = worker_pool.Worker(breaks, question, 0.0)
    with pytest.raises(MeasureError, match=r"failed \(exit code 1\), for the reason printed above"):
        busy_until_end(worker)
    assert worker._starts == 1


def test_full_disk_of_a_worker_reaches_the_user_as_such(question):
    worker = worker_pool.Worker(fills_the_disk, question, 0.0)
    with pytest.raises(OSError, match="No space left") as raised:
        busy_until_end(worker)
    assert raised.value.errno == errno.ENOSPC and raised.value.filename == "step.json"


def test_error_of_a_worker_reaches_the_user_unchanged(question):
    worker = worker_pool.Worker(refuses, question, 0.0)
    with pytest.raises(UsageError, match="no validation part"):
        busy_until_end(worker)


def test_model_is_refused_when_it_cannot_be_sent_to_another_process(question):
    away = dataclasses.replace(question, model=lambda: None)
    with pytest.raises(UsageError, match="can be sent to another process"):
        worker_pool.work_apart(ends, away, 0.0, 2, None, Silent())
