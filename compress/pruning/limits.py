"""Limits on the time and memory of a piece of Python code."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from compress.core.free_memory import free_bytes

LOOK_S = 0.5
"""Interval between two checks of the memory."""
SHARE = 0.5
"""Share of the memory that was free at the start; more would leave no room for other processes."""
STATUS = Path("/proc/self/statm")


class LimitExceeded(Exception):
    """The code inside the ``with`` block took too long or too much memory; the message says which."""


def enforceable() -> bool:
    """Return whether a limit can be enforced here: SIGALRM only reaches the main thread, on a POSIX system."""
    return hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def limits(seconds: float, cpu_seconds: float = math.inf) -> Iterator[None]:
    """Raise :class:`LimitExceeded` in the ``with`` block after ``seconds``, if that is :func:`enforceable`.

    Likewise after ``cpu_seconds`` of CPU time, however busy the machine is; on Linux also if the process has grown by
    more than half of the memory that was free.
    """
    if not enforceable():
        yield
        return
    began, began_cpu = time.monotonic(), time.process_time()
    largest = _resident() + SHARE * free_bytes()

    def on_alarm(number: int, frame: FrameType | None) -> None:
        late = time.monotonic() >= began + seconds
        busy = time.process_time() >= began_cpu + cpu_seconds
        if late or busy or _resident() > largest:
            signal.setitimer(signal.ITIMER_REAL, 0)  # it fires once, so that unwinding is not interrupted
            over = f"took longer than {seconds if late else cpu_seconds:g} s" if late or busy else None
            raise LimitExceeded(over or "took more than half of the free memory")

    every = min(LOOK_S, seconds, cpu_seconds)
    before = signal.signal(signal.SIGALRM, on_alarm)
    left, interval = signal.setitimer(signal.ITIMER_REAL, every, every)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:  # restore an alarm that was already set
            signal.setitimer(signal.ITIMER_REAL, max(1e-3, left - (time.monotonic() - began)), interval)


def _resident() -> float:
    """Return the bytes that this process holds (statm of proc(5)), or 0 if unknown."""
    return int(STATUS.read_text().split()[1]) * float(os.sysconf("SC_PAGE_SIZE")) if STATUS.is_file() else 0.0
