"""The process that runs one model, started as described in :mod:`certify.measure.surroundings`.

It reads one JSON object per line from standard input and answers each with one line. It imports only NumPy and the
runtime, builds one session, and runs no threads between commands. It ends when its standard input closes, and thus with
its parent.

Commands (``do``): ``open``, ``inputs``, ``window``, ``predict``, ``latency``, ``nodes``, ``peak_memory``, ``exit``. A
model that cannot be loaded is answered with ``error`` (a sentence); any other failure ends the process, and the parent
reads the reason from its standard error.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from certify.core.errors import ModelError
from certify.core.files import sha256_file
from certify.measure import own_process, runtimes
from certify.measure.runtimes.base import Session, SessionOptions

NS = 1e-9
PINNED_WITHIN_S = 0.5


class Worker:
    """State of one worker: its session and the batches that it cycles through."""

    def __init__(self) -> None:
        self._session: Session | None = None
        self._feeds: list[Any] = []
        self._next = 0

    def open(
        self, model: str, runtime: str, weights: Sequence[str] = (), folders: Sequence[str] = (), **settings: Any
    ) -> dict[str, Any]:
        """Build the session.

        Args:
            model: the model file.
            runtime: name of the runtime adapter.
            weights: sidecar files with the model's weights.
            folders: where to look for the module of a third-party runtime, after installed packages.
            settings: fields of :class:`SessionOptions`.
        """
        # Appended, so that a file in the working folder cannot replace an installed module.
        sys.path.extend(folders)
        path = Path(model)
        optimised = settings.pop("optimised", None)
        files = [path, *map(Path, weights)]
        cores = tuple(settings.pop("cores"))
        for name in ("input_names", "input_shape"):  # JSON has no tuples
            if settings.get(name) is not None:
                settings[name] = tuple(settings[name])
        options = SessionOptions(cores=cores, optimised=Path(optimised) if optimised else None, **settings)
        # Hashed before and after: a file swapped during loading would be measured under another's digest.
        before = sha256_file(*files)
        self._session = runtimes.get(runtime).open(path, options)
        if sha256_file(*files) != before:
            raise ModelError(
                f"{path} was changed while it was being loaded; make sure that no other process writes to it."
            )
        gc.collect()
        gc.freeze()  # existing objects stay; the collections before each window can skip them
        described = {"started": own_process.started(), "libraries": own_process.loaded()}
        return {"sha256": before, "pid": os.getpid(), "pinned": _pinned(cores), **described, **self._session.facts()}

    def inputs(self, path: str, batch: int, first: int = 0, most: int | None = None) -> dict[str, Any]:
        """Load batches of an array file, (n, ...), where n is a multiple of the batch.

        Args:
            path: the array file.
            batch: number of samples in a batch.
            first: index of the first batch.
            most: maximum number of batches; None for all from the first on.
        """
        array = np.load(path, mmap_mode="r")[first * batch :]
        array = np.array(
            array if most is None else array[: most * batch]
        )  # copied, so that no window waits for pages of a file
        session = self._opened()
        self._feeds = [session.prepare(array[i : i + batch]) for i in range(0, len(array), batch)]
        self._next = 0
        return {"batches": len(self._feeds)}

    def window(self, inferences: int) -> dict[str, Any]:
        """Run a number of inferences without interruption, continuing after the last batch of the previous window."""
        session, feeds = self._opened(), self._feeds[self._next :] + self._feeds[: self._next]
        # Bound outside the loop, since attribute look-ups would count as inference time of small models.
        run, count = session.run, len(feeds)
        # Windows continue where the last one stopped, so that every arm sees every sample equally often.
        self._next = (self._next + inferences) % count
        gc.collect()
        # A collection inside the loop would hit one arm's window by chance.
        gc.disable()
        session.synchronize()
        # CPU before wall and, below, wall before CPU: the wall clock encloses only the inferences.
        cpu, wall = time.process_time_ns(), time.perf_counter_ns()
        for i in range(inferences):
            output = run(feeds[i % count])
        session.synchronize()
        wall, cpu = time.perf_counter_ns() - wall, time.process_time_ns() - cpu
        gc.enable()
        # Only the last output is checked: checking each would cost as much as a small model.
        return {"duration_s": wall * NS, "cpu_s": cpu * NS, "finite": bool(np.isfinite(output).all())}

    def latency(self, calls: int, seconds: float) -> dict[str, Any]:
        """Time single inferences until there are ``calls`` of them or ``seconds`` have passed."""
        run, feeds = self._opened().run, self._feeds
        count = len(feeds)
        taken: list[float] = []
        end = time.perf_counter_ns() + round(seconds / NS)
        now = time.perf_counter_ns()
        # Both clocks are read for each inference: here the single latency counts, and its overhead is part of every
        # one.
        while len(taken) < calls and now < end:
            began = time.perf_counter_ns()
            run(feeds[len(taken) % count])
            now = time.perf_counter_ns()
            taken.append((now - began) * NS)
        return {"seconds": taken}

    def predict(self, inputs: str, outputs: str, batch: int) -> dict[str, Any]:
        """Write the outputs of all samples of an array file, float32 (n, ...); the last batch is padded."""
        session = self._opened()
        array = np.load(inputs, mmap_mode="r")
        parts = []
        for start in range(0, len(array), batch):
            part = array[start : start + batch]
            short = batch - len(part)
            if short:
                # Some files have a fixed batch; repeated samples keep their answers, and the padding is cut off below.
                part = np.concatenate([part, np.repeat(part[-1:], short, axis=0)])
            parts.append(np.asarray(session.run(session.prepare(part)), dtype=np.float32)[: batch - short])
        whole = np.concatenate(parts)
        np.save(outputs, whole)
        return {"shape": list(whole.shape), "finite": bool(np.isfinite(whole).all())}

    def nodes(self, inferences: int) -> dict[str, Any]:
        """Run a first inference and ``inferences`` more, and report the time of every node in all of them."""
        session, feeds = self._opened(), self._feeds
        for i in range(inferences + 1):
            session.run(feeds[i % len(feeds)])
        return {"nodes": [asdict(node) for node in session.nodes()]}

    def peak_memory(self) -> dict[str, Any]:
        """Report the peak resident memory of the process in bytes."""
        return {"bytes": own_process.peak_memory_bytes()}

    def _opened(self) -> Session:
        if self._session is None:
            raise ModelError("The worker must open a model before any other command.")
        return self._session


def _pinned(cores: tuple[int, ...]) -> bool:
    """Return whether every core has a thread of this process pinned to it; False if pinning is not possible."""
    end = time.monotonic() + PINNED_WITHIN_S
    # A thread pins itself once it runs, which on a busy machine is after the session was opened.
    while (found := _pinned_to()) is not None and found != set(cores) and time.monotonic() < end:
        time.sleep(PINNED_WITHIN_S / 50)
    return found == set(cores)


def _pinned_to() -> set[int] | None:
    """Return the cores that have a thread of this process pinned to them; None if the system does not say."""
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        return None
    # Per thread: the process's own mask says nothing about the pool threads of the runtime.
    allowed = [os.sched_getaffinity(int(task.name)) for task in tasks.iterdir()]
    return set().union(*(each for each in allowed if len(each) == 1))


def serve(requests: BinaryIO, replies: BinaryIO) -> None:
    """Answer commands until the input ends or the command ``exit``."""
    worker = Worker()
    commands: dict[str, Callable[..., dict[str, Any]]] = {
        name: getattr(worker, name)
        for name in ("open", "inputs", "window", "predict", "latency", "nodes", "peak_memory")
    }
    for line in requests:
        request = json.loads(line)
        name = request.pop("do")
        if name == "exit":
            return
        try:
            reply = commands[name](**request)
        except ModelError as error:
            reply = {"error": str(error)}
        replies.write(json.dumps(reply).encode() + b"\n")
        replies.flush()


def main() -> None:
    """Serve on the original standard streams, then end the process; output of libraries goes to standard error."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent ends this process
    # Runtimes print to standard output, which would break the protocol; it becomes standard error below.
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    with contextlib.suppress(BrokenPipeError):
        serve(sys.stdin.buffer, replies)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(0)  # exits without cleanup, which would take as long as a good part of a start


if __name__ == "__main__":
    main()
