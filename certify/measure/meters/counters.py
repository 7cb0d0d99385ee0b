"""Energy counters around a window: steps, wraps, resets, and counters that stand still."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from certify.core.errors import MeasureError
from certify.measure.meters.base import Reading, not_started
from certify.measure.meters.sampling import Repeated

MOST_W = 3000.0
"""More than any package, module or board draws; a step that would need more power is a reset and no wrap."""


@dataclass(frozen=True)
class Counter:
    """One counter of joules used since some moment in the past.

    Attributes:
        name: of what it covers.
        unit: of its values, as it stands in the names of a reading (``uj``, ``mj``).
        joules: of one count.
        read: its value now; raises OSError or ValueError where it can't be read, or MeasureError with a sentence.
        turn: number of counts after which it starts again from 0, None where it never does in practice.
    """

    name: str
    unit: str
    joules: float
    read: Callable[[], int]
    turn: int | None = None


def moving(counters: Iterable[Counter], pause: Callable[[float], None], seconds: float) -> tuple[Counter, ...]:
    """Those of the counters that moved during a pause, in their order.

    Raises:
        OSError: one can't be read.
        ValueError: one holds no number.
    """
    before = [(counter, counter.read()) for counter in counters]
    pause(seconds)
    return tuple(counter for counter, value in before if counter.read() != value)


class Counters:
    """Counters of one meter, read together.

    A window that is long against a counter's turn is followed by a thread, so that no turn is missed; it sleeps
    through a window of the usual length.

    Args:
        meter: its name, for error messages.
        counters: whose joules are added up.
        still_s: time in which each of them surely moves.
        clock: seconds.
    """

    def __init__(
        self, meter: str, counters: tuple[Counter, ...], still_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.counters = counters
        self._meter = meter
        self._still_s = still_s
        self._clock = clock
        self._follow_s = min((c.turn * c.joules / MOST_W / 2 for c in counters if c.turn is not None), default=None)
        self._follower: Repeated | None = None
        self._first: dict[str, int] = {}
        self._latest: dict[str, int] = {}
        self._first_s = self._latest_s = 0.0
        self._used_j: dict[str, float] = {}

    def ranges(self) -> dict[str, int]:
        """The turn of each counter that has one, named as a meter's parameters name it."""
        return {f"{c.name}_range_{c.unit}": c.turn for c in self.counters if c.turn is not None}

    def start(self) -> None:
        """Read them at the beginning of a window.

        Raises:
            MeasureError: one can't be read.
        """
        if self._follower is not None:  # a window that was given up
            self._follower.end()
        self._first = self._latest = self._read()
        self._first_s = self._latest_s = self._clock()
        self._used_j = dict.fromkeys(self._first, 0.0)
        self._follower = None if self._follow_s is None else Repeated(self._advance, self._follow_s)

    def stop(self) -> Reading:
        """Read them again.

        Raises:
            MeasureError: one can't be read, was reset, or stood still; or they were not started.
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
            if elapsed_s > self._still_s and not self._used_j[counter.name]:
                raise self._failed(f"the counter {counter.name} stood still at {after} for {elapsed_s:.3g} s")
            raw[f"{counter.name}_before_{counter.unit}"] = float(before)
            raw[f"{counter.name}_after_{counter.unit}"] = float(after)
        return Reading(sum(self._used_j.values()), raw)

    def _read(self) -> dict[str, int]:
        try:
            return {counter.name: counter.read() for counter in self.counters}
        except (OSError, ValueError) as error:
            raise self._failed(str(error)) from error

    def _advance(self) -> None:
        """Add what was used since the latest reading."""
        values, now_s = self._read(), self._clock()
        for counter in self.counters:
            before, after = self._latest[counter.name], values[counter.name]
            self._used_j[counter.name] += self._step_j(counter, before, after, now_s - self._latest_s)
        self._latest, self._latest_s = values, now_s

    def _step_j(self, counter: Counter, before: int, after: int, elapsed_s: float) -> float:
        step = after - before
        if step < 0 and counter.turn is not None:
            step += counter.turn
        joules = step * counter.joules
        # A counter that moves by ticks may show up to one tick of use before the window.
        if 0 <= joules <= MOST_W * (elapsed_s + self._still_s):
            return joules
        raise self._failed(
            f"the counter {counter.name} went from {before} to {after} {counter.unit} in {elapsed_s:.3g} s, which "
            "neither use nor a wrap explains; it was reset or misread"
        )

    def _failed(self, reason: str) -> MeasureError:
        return MeasureError(f"The meter {self._meter} failed midway: {reason}.")
