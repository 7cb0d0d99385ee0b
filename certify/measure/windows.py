"""Recording windows: the worker runs, the meter and the machine's counters are read around it.

A finished window goes straight into a file, so that the memory taken does not grow with their number and none is lost
where the measurement stops before its time.
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
"""Wait before a window, in which what the one before set going comes to rest (pool threads spin on for a while)."""
WARM_UP_SHARE = 0.5
"""A worker is warm after a run as long as this share of a window; its speed is taken from that run."""


class MeasurementStopped(MeasureError):
    """A measurement that ended before its time; ``windows`` are those that had been finished."""

    def __init__(self, message: str, windows: Iterable[Window]) -> None:
        super().__init__(message)
        self.windows = tuple(windows)


class MeasurementInterrupted(KeyboardInterrupt):
    """A measurement that its user ended, by Ctrl-C or SIGTERM; ``windows`` are those that had been finished."""

    def __init__(self, message: str, windows: Iterable[Window]) -> None:
        super().__init__(message)
        self.windows = tuple(windows)


@dataclass(frozen=True)
class Running:
    """A warm worker.

    Attributes:
        worker: its process.
        threads: intra-op threads of its session.
        inference_s: about how long one inference takes.
        inferences: k of its windows.
    """

    worker: Worker
    threads: int
    inference_s: float
    inferences: int


def warm_up(worker: Worker, threads: int, window_s: float, longest_s: float) -> Running:
    """Run a worker until it is warm, and size its windows.

    Args:
        worker: with its inputs set.
        threads: of its session.
        window_s: about how long a window lasts.
        longest_s: how long it lasts at most, where one inference does not take longer itself.

    Raises:
        ModelError: the model's output is not finite.
    """
    target_s = window_s * WARM_UP_SHARE
    # The first inference alone may outlast the target: a GPU then loads its kernels and tries algorithms out (1.4 s or
    # more, where every further one took 3 ms). It tells nothing of the speed.
    inferences, expected_s = 1, _finite(worker, 1, OPEN_TIMEOUT_S).duration_s
    while True:
        result = _finite(worker, inferences, expected_s)
        inference_s = result.duration_s / inferences
        if result.duration_s >= target_s:
            break
        # The next inferences are slow too, so the number grows by steps instead of being trusted at once.
        inferences = max(inferences + 1, min(8 * inferences, math.ceil(1.1 * target_s / inference_s)))
        expected_s = inferences * inference_s
    wanted = math.ceil(window_s / inference_s)
    return Running(worker, threads, inference_s, max(1, min(wanted, math.floor(longest_s / inference_s))))


def _finite(worker: Worker, inferences: int, expected_s: float) -> WindowResult:
    result = worker.window(inferences, expected_s)
    if not result.finite:
        raise ModelError(f"The {worker.arm} ({worker.model}) gives NaN or infinity on test samples; it is broken.")
    return result


def window_line(window: Window) -> bytes:
    """A window as it stands in an evidence file: one line of canonical JSON, with its line end."""
    return rfc8785.dumps({"kind": "window", **asdict(window)}) + b"\n"


class Recorder:
    """Runs windows one at a time and keeps them in a file.

    Args:
        meter: reads joules; None where there is none.
        host: reads the machine's counters.
        path: file to which finished windows are added; emptied first.
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
        """Run one window and keep it.

        Args:
            running: the worker that runs.
            waiting: the other live workers.
            run: ``settings``, ``null``, ``main`` or ``yardstick``.
            attempt: of the run.
            block: number of the block.
            position: place in the block.
        """
        time.sleep(SETTLE_S)
        pids = [other.worker.pid for other in waiting]
        before = self._host.snapshot()
        own_s, active, idle = time.process_time(), _cpu([running.worker.pid]), _cpu(pids)
        start_s = time.monotonic() - self._began_s
        if self._meter is not None:
            self._meter.start()
        result = running.worker.window(running.inferences, running.inferences * running.inference_s)
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
        with self._path.open("ab") as kept:
            kept.write(window_line(window))
        return window

    def windows(self) -> Iterator[Window]:
        """All windows so far, read back one at a time, in the order in which they ran."""
        with self._path.open("rb") as kept:
            for line in kept:
                fields = json.loads(line)
                del fields["kind"]
                yield Window(**fields)

    def run(self, name: str, models: int = 2) -> Run:
        """The windows of one run so far, in whose blocks so many models take turns."""
        return Run(tuple(window for window in self.windows() if window.run == name), models)


def _cpu(pids: Iterable[int]) -> dict[int, float | None]:
    return {pid: process_cpu_s(pid) for pid in pids}
