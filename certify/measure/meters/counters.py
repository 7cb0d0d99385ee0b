"""Energy counters around a window: steps, wraps, resets, and dead counters."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from certify.core.errors import MeasureError
from certify.measure.meters.base import Reading, not_started
from certify.measure.meters.sampling import Repeated

MOST_W = 3000.0
"""Upper limit on the power of any package, module or board; a step that implies more is a reset, not a wrap."""


@dataclass(frozen=True)
class Counter:
    """A counter of the joules used since some moment in the past.

    Attributes:
        name: name of what it covers.
        unit: unit of its values, as used in the names of a reading (``uj``, ``mj``).
        joules: joules per count.
        read: function that returns its current value; raises OSError, ValueError or MeasureError if it cannot be read.
        turn: number of counts after which it wraps to 0, None if it never does in practice.
    """

    name: str
    unit: str
    joules: float
    read: Callable[[], int]
    turn: int | None = None


def moving(counters: Iterable[Counter], pause: Callable[[float], None], seconds: float) -> tuple[Counter, ...]:
    """Return the counters that moved during a pause, in their order.

    Raises:
        OSError: one cannot be read.
        ValueError: one does not hold a number.
    """
    before = [(counter, counter.read()) for counter in counters]
    pause(seconds)
    return tuple(counter for counter, value in before if counter.read() != value)


class Counters:
    """The counters of one meter, read together.

    In windows that are long compared with a counter's wrap period, a thread follows the counter, so that no wrap is
    missed; in windows of normal length it only sleeps.

    Args:
        meter: name of the meter, for error messages.
        counters: counters whose joules are added up.
        still_s: time in seconds within which each live counter moves.
        clock: clock in seconds.
    """

    def __init__(
        self, meter: str, counters: tuple[Counter, ...], still_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.counters = counters
        self._meter = meter
        self._still_s = still_s
        self._clock = clock
        # Half of the shortest wrap at the highest power, so that no two wraps fall between two readings.
        self._follow_s = min((c.turn * c.joules / MOST_W / 2 for c in counters if c.turn is not None), default=None)
        self._follower: Repeated | None = None
        self._first: dict[str, int] = {}
        self._latest: dict[str, int] = {}
        self._first_s = self._latest_s = 0.0
        self._used_j: dict[str, float] = {}

    def ranges(self) -> dict[str, int]:
        """Return the wrap range of each counter that has one, named as in the meter's parameters."""
        return {f"{c.name}_range_{c.unit}": c.turn for c in self.counters if c.turn is not None}

    def start(self) -> None:
        """Read the counters at the start of a window.

        Raises:
            MeasureError: one cannot be read.
        """
        if self._follower is not None:  # an abandoned window
            self._follower.end()
        self._first = self._latest = self._read()
        self._first_s = self._latest_s = self._clock()
        self._used_j = dict.fromkeys(self._first, 0.0)
        self._follower = None if self._follow_s is None else Repeated(self._advance, self._follow_s)

    def stop(self) -> Reading:
        """Read the counters at the end of a window.

        Raises:
            MeasureError: a counter cannot be read, was reset, or did not move; or the window was not started.
        """
        first, self._first = self._first, {}
        if not first:
            raise not_started(self._meter)
        if self._follower is not None:
            self._follower.finish()
            self._follower = None
        self._advance()
        elapsed_s = self._latest_s - self._first_s
        raw = {}
        for counter in self.counters:
            before, after = first[counter.name], self._latest[counter.name]
            # A live counter moves within still_s, so no step means that it died during the window.
            if elapsed_s > self._still_s and not self._used_j[counter.name]:
                raise self._failed(f"the counter {counter.name} did not move from {after} in {elapsed_s:.3g} s")
            raw[f"{counter.name}_before_{counter.unit}"] = float(before)
            raw[f"{counter.name}_after_{counter.unit}"] = float(after)
        return Reading(sum(self._used_j.values()), raw)

    def _read(self) -> dict[str, int]:
        try:
            return {counter.name: counter.read() for counter in self.counters}
        except (OSError, ValueError) as error:
            raise self._failed(str(error)) from error

    def _advance(self) -> None:
        """Add the joules used since the latest reading."""
        values, now_s = self._read(), self._clock()
        for counter in self.counters:
            before, after = self._latest[counter.name], values[counter.name]
            self._used_j[counter.name] += self._step_j(counter, before, after, now_s - self._latest_s)
        self._latest, self._latest_s = values, now_s

    def _step_j(self, counter: Counter, before: int, after: int, elapsed_s: float) -> float:
        step = after - before
        if step < 0 and counter.turn is not None:
            # One turn at most: the follower reads more often than a counter can wrap twice.
            step += counter.turn
        joules = step * counter.joules
        # A counter that moves in ticks may include up to one tick from before the window.
        if 0 <= joules <= MOST_W * (elapsed_s + self._still_s):
            return joules
        raise self._failed(
            f"the counter {counter.name} went from {before} to {after} {counter.unit} in {elapsed_s:.3g} s, which "
            "neither consumption nor a wrap explains; it was reset or misread"
        )

    def _failed(self, reason: str) -> MeasureError:
        return MeasureError(f"The meter {self._meter} failed during a window: {reason}.")
