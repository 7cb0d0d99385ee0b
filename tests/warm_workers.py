"""Workers of measurements, forked from a process that has imported NumPy and ONNX Runtime: that takes half their time.

The process is started as a worker is, with the same options, variables and search path. Workers that are to be started
in any other way are started so. A measurement of the user never forks: workers that share the addresses of their
memory would say nothing about those of a new process.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import pytest

from certify.measure import client, surroundings

SERVER = Path(__file__).with_name("worker_server.py")


class Forked:
    """A forked worker with the members of ``subprocess.Popen`` that are used."""

    def __init__(self, server: Server, cwd: str, env: Mapping[str, str], stderr: IO[bytes]) -> None:
        theirs_in, ours_in = os.pipe()
        ours_out, theirs_out = os.pipe()
        self._ended, theirs_ended = os.pipe()
        given = (theirs_in, theirs_out, stderr.fileno(), theirs_ended)
        self.pid = server.fork({"cwd": cwd, "env": dict(env)}, given)
        for descriptor in (theirs_in, theirs_out, theirs_ended):
            os.close(descriptor)
        self.stdin, self.stdout = os.fdopen(ours_in, "wb", 0), os.fdopen(ours_out, "rb", 0)
        self.returncode: int | None = None

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            if not select.select([self._ended], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("worker", timeout or 0.0)
            self.returncode = int(os.read(self._ended, 16) or -signal.SIGKILL)
            os.close(self._ended)
        return self.returncode

    def poll(self) -> int | None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self.wait(0.0)
        return None

    def kill(self) -> None:
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it ended in between
                os.kill(self.pid, signal.SIGKILL)


class Server:
    """The process that forks workers of one command line and one set of variables."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        end = 1 + len(surroundings.ISOLATED)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [*command[:end], str(SERVER), *command[end:]], stdin=theirs, env=dict(environment)
            )
        self._channel, self._turn = ours, threading.Lock()
        assert ours.recv(16) == b"ready", "the process that forks workers ended"
        atexit.register(self.close)

    def fork(self, asked: Mapping[str, Any], descriptors: Sequence[int]) -> int:
        with self._turn:  # several threads start workers
            socket.send_fds(self._channel, [json.dumps(asked).encode()], descriptors)
            return int(self._channel.recv(16))

    def close(self) -> None:
        self._channel.close()
        self._process.wait()


@functools.cache
def _server(command: tuple[str, ...], variables: tuple[tuple[str, str], ...]) -> Server:
    return Server(command, dict(variables))


@contextlib.contextmanager
def forked_workers() -> Iterator[None]:
    """Workers like those of most tests are forked."""
    if sys.platform != "linux":
        yield
        return
    usual = surroundings.command()

    def start(command: Sequence[str], **how: Any) -> Any:
        if list(command) != usual:
            return subprocess.Popen(command, **how)
        # A worker states the names of the variables that its process began with, which are those of the server.
        names = tuple((name, "" if name in {"HOME", "TMPDIR"} else value) for name, value in sorted(how["env"].items()))
        return Forked(_server(tuple(command), names), how["cwd"], how["env"], how["stderr"])

    forking = SimpleNamespace(Popen=start, PIPE=subprocess.PIPE, TimeoutExpired=subprocess.TimeoutExpired)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "subprocess", forking)
        yield


@pytest.fixture(scope="session", autouse=True)
def warm_workers() -> Iterator[None]:
    """Workers of all tests are forked where they can be."""
    with forked_workers():
        yield


@pytest.fixture
def started_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers are started as in a measurement of the user, and inherit what this process has."""
    monkeypatch.setattr(client, "subprocess", subprocess)
