from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.core.errors import MeasureError
from certify.measure.meters.counters import MOST_W, Counter, Counters, moving

TURN = 1_000_000


class Source:
    """A counter and a clock that a test sets."""

    def __init__(self) -> None:
        self.value, self.now_s = 0, 0.0

    def counters(self, turn: int | None = None, joules: float = 1.0, still_s: float = 0.05) -> Counters:
        counter = Counter("zone", "j", joules, lambda: self.value, turn)
        return Counters("fake", (counter,), still_s, lambda: self.now_s)


@given(before=st.integers(0, TURN - 1), used=st.integers(1, TURN // 2))
def test_step_is_modular_when_the_counter_wraps(before: int, used: int) -> None:
    source = Source()
    source.value = before
    counters = source.counters(TURN, joules=1e-3)
    counters.start()
    source.value, source.now_s = (before + used) % TURN, 1.0
    assert counters.stop().energy_j == pytest.approx(used * 1e-3)


@given(before=st.integers(1, 10**12), back=st.integers(1, 10**12))
def test_step_back_is_a_reset_when_the_counter_does_not_wrap(before: int, back: int) -> None:
    source = Source()
    source.value = before
    counters = source.counters()
    counters.start()
    source.value, source.now_s = before - min(back, before), 1.0
    with pytest.raises(MeasureError, match="reset"):
        counters.stop()


def test_step_is_a_reset_when_it_exceeds_any_plausible_power() -> None:
    source = Source()
    counters = source.counters(still_s=0.0)
    counters.start()
    source.value, source.now_s = round(MOST_W * 2), 2.0
    assert counters.stop().energy_j == MOST_W * 2
    counters.start()
    source.value, source.now_s = source.value + round(MOST_W * 2) + 1, 4.0
    with pytest.raises(MeasureError, match="neither consumption nor a wrap"):
        counters.stop()


def test_stop_fails_when_the_counter_did_not_move_for_too_long() -> None:
    source = Source()
    counters = source.counters()
    counters.start()
    source.now_s = 0.04
    assert counters.stop().energy_j == 0.0
    counters.start()
    source.now_s = 1.0
    with pytest.raises(MeasureError, match="zone did not move from 0"):
        counters.stop()


def test_no_wrap_is_missed_when_a_window_lasts_many_wraps() -> None:
    """At 3,000 W a turn of 300 J would take 0.1 s, so the thread looks every 0.05 s; here it takes 0.5 s."""
    began_s = time.monotonic()
    turn_mj, power_mw = 300_000, 600_000
    counter = Counter("zone", "mj", 1e-3, lambda: int((time.monotonic() - began_s) * power_mw) % turn_mj, turn_mj)
    counters = Counters("fake", (counter,), still_s=0.05)
    counters.start()
    time.sleep(1.2)
    assert 700 < counters.stop().energy_j <= 600 * (time.monotonic() - began_s)


def test_failure_of_the_thread_is_raised_when_the_window_ends() -> None:
    values = iter([0, 1])

    def read() -> int:
        try:
            return next(values)
        except StopIteration:
            raise OSError("gone") from None

    counters = Counters("fake", (Counter("zone", "mj", 1e-3, read, 30_000),), still_s=0.05)
    counters.start()
    time.sleep(0.05)
    with pytest.raises(MeasureError, match="fake failed during a window: gone"):
        counters.stop()


def test_moving_distinguishes_live_counters_from_dead_ones() -> None:
    values = {"live": 1, "dead": 1}

    def reader(name: str) -> Callable[[], int]:
        return lambda: values[name]

    counters = [Counter(name, "j", 1.0, reader(name)) for name in values]
    found = moving(counters, lambda _: values.update(live=2), 0.1)
    assert [counter.name for counter in found] == ["live"]
