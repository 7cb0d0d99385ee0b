"""A limit on the time that a piece of Python code may take."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType


class TimeLimitExceeded(Exception):
    """The code inside the ``with`` block took too long."""


@dataclass(frozen=True)
class TimeLimit:
    """Whether the limit can be enforced here."""

    enforced: bool


@contextlib.contextmanager
def time_limit(seconds: float) -> Iterator[TimeLimit]:
    """Raise :class:`TimeLimitExceeded` in the ``with`` block after ``seconds``.

    The limit rests on SIGALRM, which only the main thread of a POSIX system gets; elsewhere the block runs without
    one, and ``enforced`` of what is yielded says so.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield TimeLimit(False)
        return

    def on_alarm(number: int, frame: FrameType | None) -> None:
        raise TimeLimitExceeded(f"took longer than {seconds:g} s")

    began = time.monotonic()
    before = signal.signal(signal.SIGALRM, on_alarm)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield TimeLimit(True)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:  # an alarm that somebody else had set rings when it would have
            signal.setitimer(signal.ITIMER_REAL, max(1e-3, left - (time.monotonic() - began)), interval)
