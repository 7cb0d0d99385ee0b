"""Systems that lack calls of Linux: macOS measures as well as it can, and Windows says what it cannot."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from certify.core.errors import UsageError
from certify.core.files import write_text
from certify.measure import attempts, host, machine, own_process, runtimes, worker
from certify.measure.meters.vcpu_watts import VcpuWatts


@pytest.fixture
def macos(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No affinity, no /proc, no CPU clock of another process."""
    for name in ("sched_getaffinity", "sched_setaffinity"):
        monkeypatch.delattr(os, name)
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    monkeypatch.setattr(own_process, "_text", lambda name: "")
    monkeypatch.setattr(worker, "Path", lambda *_: tmp_path / "absent")


@pytest.mark.usefixtures("macos")
def test_measuring_continues_when_linux_calls_are_missing() -> None:
    assert machine.cores_for(2) == (0, 1)
    assert machine.describe()["processors_allowed"] == 3 and machine.thread_numbers() == (1, 3)
    machine.pin([0])
    assert VcpuWatts().facts({}).parameters["vcpus"] == 3
    assert own_process.started()["variables"] == sorted(os.environ) and own_process.loaded() == []
    assert own_process.peak_memory_bytes() > 1 << 20
    assert worker._pinned((0,)) is False


def test_counters_are_unknown_when_the_system_has_no_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sysconf")
    monkeypatch.delattr("time.clock_gettime")
    snapshot = host.Host(tmp_path).snapshot()
    assert (snapshot.steal_s, snapshot.busy_s, snapshot.temperature_c) == (None, None, None)
    assert host.process_cpu_s(os.getpid()) is None


def test_measuring_is_refused_in_one_sentence_when_the_system_is_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.os, "name", "nt")
    with pytest.raises(
        UsageError, match=r"^Measuring requires Linux or macOS .* on Windows leanmark can verify.*WSL 2"
    ):
        runtimes.check("auto")


def test_log_of_attempts_counts_when_files_cannot_be_locked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from certify.core.evidence import Workload

    monkeypatch.setenv("LEANMARK_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(attempts, "flock", None)
    workload = Workload("onnxruntime-cpu", "1", "CPUExecutionProvider", 1, 1, 1)
    assert [attempts.count_attempt(("a",), ("b",), workload, "d", "now") for _ in range(2)] == [1, 2]


def test_file_is_flushed_through_a_writable_descriptor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    flushed = []

    def fsync(descriptor: int) -> None:
        os.write(descriptor, b"")  # refused where the file is open for reading alone
        flushed.append(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write_text(tmp_path / "page.html", "text")
    assert flushed and (tmp_path / "page.html").read_text() == "text"


WITHOUT = """
    import json, os, signal, sys, time
    for name in ("fcntl", "resource"):
        sys.modules[name] = None
    for name in ("sched_getaffinity", "sched_setaffinity", "sysconf", "getpgid", "killpg"):
        if hasattr(os, name):
            delattr(os, name)
    for name in ("setitimer", "SIGALRM", "SIGKILL"):
        delattr(signal, name)
    del time.clock_gettime
    from certify.cli.main import main
    for arguments in json.loads(sys.argv[1]):
        try:
            main(arguments)
        except SystemExit as ended:
            assert ended.code == 0, (arguments, ended.code)
    import certify.api, certify.measure.worker
"""


def test_commands_of_the_referee_run_when_a_system_has_no_linux_calls(
    certify_small: Callable[..., Any], tmp_path: Path
) -> None:
    environment = {**os.environ, "LEANMARK_CONFIG_HOME": str(tmp_path / "config")}
    model, key = certify_small()
    trusting = [[name, str(model), "--trust", key.public.hex] for name in ("verify", "audit", "gate")]
    commands = [["keygen"], *trusting, ["report", str(model), "--out", str(tmp_path / "report.html")]]
    command = [sys.executable, "-c", textwrap.dedent(WITHOUT), json.dumps(commands)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0 and "Traceback" not in done.stderr, done.stderr
    assert (tmp_path / "report.html").is_file()
