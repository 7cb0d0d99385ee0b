"""Forks workers: ``python -I -S worker_server.py START_WORKER PACKAGE FOLDER...``, with a socket as standard input.

Each message is JSON with the environment and the working folder of a worker; its standard streams, and a pipe for its
exit code, come with it as descriptors. The answer is its process id.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import socket
import sys
import traceback
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

LARGEST = 1 << 16
DESCRIPTORS = 4


def imported(start: str, package: str, *folders: str) -> ModuleType:
    """Import what a worker of ONNX Runtime imports, as a started one does."""
    spec = spec_from_file_location("start_worker", start)
    assert spec is not None and spec.loader is not None
    started = module_from_spec(spec)
    spec.loader.exec_module(started)
    worker = started.worker(package, folders)
    importlib.import_module("certify.measure.runtimes.onnxruntime_cpu")
    return worker


def become(worker: ModuleType, asked: dict, streams: list[int]) -> None:
    """Turn this fork into a worker; it does not return."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        for number, descriptor in enumerate(streams):
            os.dup2(descriptor, number)
        os.closerange(len(streams), LARGEST)
        os.environ.clear()
        os.environ.update(asked["env"])
        os.chdir(asked["cwd"])
        worker.main()
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def main() -> None:
    """Serve until the other end of the socket closes."""
    worker = imported(*sys.argv[1:])
    with socket.socket(fileno=os.dup(0)) as channel:
        exits: dict[int, int] = {}

        def reap(*_: object) -> None:
            while exits and (found := os.waitpid(-1, os.WNOHANG))[0]:
                pipe = exits.pop(found[0])
                with contextlib.suppress(BrokenPipeError):  # nobody waits for it any more
                    os.write(pipe, str(os.waitstatus_to_exitcode(found[1])).encode())
                os.close(pipe)

        signal.signal(signal.SIGCHLD, reap)
        channel.send(b"ready")
        while True:
            message, descriptors, _, _ = socket.recv_fds(channel, LARGEST, DESCRIPTORS)
            if not message:
                return
            *streams, ended = descriptors
            signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # a worker may end before it is entered
            if not (pid := os.fork()):
                become(worker, json.loads(message), streams)
            exits[pid] = ended
            channel.send(str(pid).encode())
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
            for descriptor in streams:
                os.close(descriptor)


if __name__ == "__main__":
    main()
