"""Recording of windows: the worker runs while the meter and the machine's counters are read around it.

Each finished window is written to a file immediately, so that memory does not grow with the number of windows and none
are lost if the measurement stops early.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import rfc8785

from certify.core.errors import MeasureError, ModelError
from certify.core.redraw import still
from certify.core.windows import Run, Window
from certify.measure.client import OPEN_TIMEOUT_S, WindowResult, Worker
from certify.measure.host import Host, around, cpu_since, process_cpu_s
from certify.measure.meters.base import Meter, Usage

SETTLE_S = 0.05
"""Settle time before a window, so that spinning pool threads of the previous window have stopped."""
WARM_UP_SHARE = 0.5
"""Length of the warm-up run as a fraction of a window; the worker's speed is estimated from it."""


class MeasurementStopped(MeasureError):
    """A measurement that ended early; ``windows`` are the finished ones."""

    def __init__(self, message: str, windows: Iterable[Window]) -> None:
        super().__init__(message)
        self.windows = tuple(windows)


class MeasurementInterrupted(KeyboardInterrupt):
    """A measurement that the user ended by Ctrl-C or SIGTERM; ``windows`` are the finished ones."""

    def __init__(self, message: str, windows: Iterable[Window]) -> None:
        super().__init__(message)
        self.windows = tuple(windows)


@dataclass(frozen=True)
class Running:
    """A warm worker.

    Attributes:
        worker: its process.
        threads: intra-op threads of its session.
        inference_s: approximate time of one inference in seconds.
        inferences: number of inferences k per window.
    """

    worker: Worker
    threads: int
    inference_s: float
    inferences: int


def warm_up(worker: Worker, threads: int, window_s: float, longest_s: float) -> Running:
    """Warm up a worker and determine the size of its windows.

    Args:
        worker: worker with its inputs set.
        threads: intra-op threads of its session.
        window_s: target length of a window in seconds.
        longest_s: maximum length of a window in seconds, unless a single inference takes longer.

    Raises:
        ModelError: the model's output is not finite.
    """
    target_s = window_s * WARM_UP_SHARE
    # The first inference alone may exceed the target: a GPU loads kernels and tries algorithms (1.4 s or more, compared
    # with 3 ms later). It does not indicate the speed.
    inferences, expected_s = 1, _finite(worker, 1, OPEN_TIMEOUT_S).duration_s
    while True:
        # The time limit follows the last estimate, so a model that hangs is found within seconds.
        result = _finite(worker, inferences, expected_s)
        inference_s = result.duration_s / inferences
        if result.duration_s >= target_s:
            break
        # The next inferences are slow, too, so the number grows in steps.
        inferences = max(inferences + 1, min(8 * inferences, math.ceil(1.1 * target_s / inference_s)))
        expected_s = inferences * inference_s
    # Rounded up for the target and down for the maximum, so that a window is never shorter than the meter needs.
    wanted = math.ceil(window_s / inference_s)
    return Running(worker, threads, inference_s, max(1, min(wanted, math.floor(longest_s / inference_s))))


def _finite(worker: Worker, inferences: int, expected_s: float) -> WindowResult:
    result = worker.window(inferences, expected_s)
    if not result.finite:
        raise ModelError(
            f"The {worker.arm} ({worker.model}) outputs NaN or infinity for test samples; repair the model."
        )
    return result


def window_line(window: Window) -> bytes:
    """Return a window as a line of an evidence file: canonical JSON with a line end."""
    return rfc8785.dumps({"kind": "window", **asdict(window)}) + b"\n"


class Recorder:
    """Runs windows one at a time and writes them to a file.

    Args:
        meter: energy meter, or None.
        host: reader of the machine's counters.
        path: file for the finished windows; emptied first.
    """

    def __init__(self, meter: Meter | None, host: Host, path: Path) -> None:
        self._meter = meter
        self._host = host
        self._path = path
        self._began_s = time.monotonic()
        path.write_bytes(b"")

    @still()
    def record(
        self, running: Running, waiting: Iterable[Running], run: str, attempt: int, block: int, position: int
    ) -> Window:
        """Run one window and record it.

        Args:
            running: worker that runs.
            waiting: other live workers.
            run: ``settings``, ``null``, ``main`` or ``yardstick``.
            attempt: attempt of the run.
            block: number of the block.
            position: position in the block.
        """
        time.sleep(SETTLE_S)
        # Waiting workers must stay idle; their CPU time is recorded, so that one that spins cannot pass for a
        # neighbour.
        pids = [other.worker.pid for other in waiting]
        before = self._host.snapshot()
        # Read within the two snapshots, whose busy time must contain all that is subtracted from it.
        own_s, active, idle = time.process_time(), _cpu([running.worker.pid]), _cpu(pids)
        # Relative to the start: absolute times would reveal when the machine was booted.
        start_s = time.monotonic() - self._began_s
        if self._meter is not None:
            self._meter.start()
        result = running.worker.window(running.inferences, running.inferences * running.inference_s)
        # Stopped before anything else is read: whatever comes first after the window would be added to its energy.
        reading = None
        if self._meter is not None:
            reading = self._meter.stop(Usage(result.duration_s, result.cpu_s))
        worker_s, idle_s = cpu_since(active), cpu_since(idle)
        after = self._host.snapshot()
        window = Window(
            run=run,
            attempt=attempt,
            block=block,
            position=position,
            arm=running.worker.arm,
            threads=running.threads,
            inferences=running.inferences,
            start_s=start_s,
            duration_s=result.duration_s,
            cpu_s=result.cpu_s,
            energy_j=None if reading is None else reading.energy_j,
            reading={} if reading is None else dict(reading.raw),
            host=around(before, after, time.process_time() - own_s, worker_s, idle_s),
        )
        # Opened per window, so that a crash of this process loses no finished window.
        with self._path.open("ab") as stream:
            stream.write(window_line(window))
        return window

    def windows(self) -> Iterator[Window]:
        """Yield all windows so far, read back from the file one at a time, in order of execution."""
        with self._path.open("rb") as stream:
            for line in stream:
                fields = json.loads(line)
                # Lines are those of the evidence file, whose kind is not a field of the record.
                del fields["kind"]
                yield Window(**fields)

    def run(self, name: str, models: int = 2) -> Run:
        """Return the windows of one run so far, with ``models`` models taking turns in each block."""
        return Run(tuple(window for window in self.windows() if window.run == name), models)


def _cpu(pids: Iterable[int]) -> dict[int, float | None]:
    return {pid: process_cpu_s(pid) for pid in pids}
