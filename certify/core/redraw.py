"""The thread that redraws open bars; it does not run during measurements."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

REDRAW_S = 0.2
THREAD = "leanmark-redraw"


class _Redraw:
    def __init__(self) -> None:
        self._drawn: list[Callable[[], None]] = []
        self._held = 0
        self._end = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()  # two arms start in two threads, and each holds the redrawing

    @contextlib.contextmanager
    def keep(self, draw: Callable[[], None]) -> Iterator[None]:
        """Call ``draw`` repeatedly for the duration of a ``with`` block."""
        with self._lock:
            self._drawn.append(draw)
            self._settle()
        try:
            yield
        finally:
            with self._lock:
                self._drawn.remove(draw)
                self._settle()

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Stop the thread for the duration of a ``with`` block."""
        with self._lock:
            self._held += 1
            self._settle()
        try:
            yield
        finally:
            with self._lock:
                self._held -= 1
                self._settle()

    def _settle(self) -> None:
        """Start or stop the thread as needed."""
        wanted = bool(self._drawn) and not self._held
        if wanted and self._thread is None:
            self._end.clear()
            self._thread = threading.Thread(target=self._run, name=THREAD, daemon=True)
            self._thread.start()
        elif not wanted and self._thread is not None:
            self._end.set()
            # _run takes no lock, so joining it with the lock in hand cannot deadlock.
            self._thread.join()
            self._thread = None

    def _run(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # the terminal was closed
            while not self._end.wait(REDRAW_S):
                # Iterate over a copy, because steps may end while their bars are drawn.
                for draw in tuple(self._drawn):
                    draw()


_REDRAW = _Redraw()
moving = _REDRAW.keep
still = _REDRAW.hold
