"""Sampling of power in a thread, integrated over a window, at bounded cost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from certify.core.errors import MeasureError
from certify.measure.meters.base import Reading, not_started

LARGEST_SHARE = 0.005
"""Largest fraction of a processor's time for a thread; it waits longer if an action costs more."""


class Repeated:
    """A thread that calls an action repeatedly until it is stopped or the action fails.

    Args:
        action: function to call; a MeasureError ends the thread.
        every_s: seconds between two calls, or more if the action's CPU time requires it.
        cpu_clock: clock of the calling thread's CPU seconds.
    """

    def __init__(
        self, action: Callable[[], None], every_s: float, cpu_clock: Callable[[], float] = time.thread_time
    ) -> None:
        self._action = action
        self._every_s = every_s
        self._cpu_clock = cpu_clock
        self._failure: MeasureError | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        wait_s, cpu_s = self._every_s, self._cpu_clock()
        # Waiting on the event instead of sleeping, so that the end of a window does not wait for the next sample.
        while not self._over.wait(wait_s):
            try:
                self._action()
            except MeasureError as error:
                self._failure = error
                return
            # Reading a sensor may cost milliseconds of CPU time, which would appear in the figure that it measures.
            before_s, cpu_s = cpu_s, self._cpu_clock()
            wait_s = max(self._every_s, (cpu_s - before_s) / LARGEST_SHARE)

    def end(self) -> None:
        """End the thread."""
        self._over.set()
        self._thread.join()

    def finish(self) -> None:
        """End the thread.

        Raises:
            MeasureError: the action failed.
        """
        self.end()
        if self._failure is not None:
            raise self._failure


class SampledPower:
    """Power of one meter, sampled in a thread over a window and integrated by the trapezoid rule.

    Args:
        meter: name of the meter, for error messages.
        read_w: function that returns the current power in watts; raises MeasureError if it cannot be read.
        every_s: least number of seconds between two samples.
        clock: clock in seconds.
    """

    def __init__(
        self,
        meter: str,
        read_w: Callable[[], float],
        every_s: float,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._meter = meter
        self._read_w = read_w
        self._every_s = every_s
        self._clock = clock
        self._thread: Repeated | None = None
        self._joules = self._power_w = self._time_s = 0.0
        self._samples = 0

    def start(self) -> None:
        """Take the first sample of a window.

        Raises:
            MeasureError: power cannot be read.
        """
        if self._thread is not None:  # an abandoned window
            self._thread.end()
            self._thread = None
        self._power_w, self._time_s = self._read_w(), self._clock()
        self._joules, self._samples = 0.0, 1
        self._thread = Repeated(self._sample, self._every_s)

    def stop(self) -> Reading:
        """Take the last sample; the reading holds ``integrated_j`` and the number of samples.

        Raises:
            MeasureError: a sample could not be read, or no window was started.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            raise not_started(self._meter)
        thread.finish()
        self._sample()
        return Reading(self._joules, {"integrated_j": self._joules, "power_samples": float(self._samples)})

    def _sample(self) -> None:
        power_w, now_s = self._read_w(), self._clock()
        # Real intervals, not the nominal one: the thread may wake late on a busy machine.
        self._joules += (now_s - self._time_s) * (self._power_w + power_w) / 2
        self._power_w, self._time_s = power_w, now_s
        self._samples += 1
