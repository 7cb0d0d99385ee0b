from __future__ import annotations

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from certify.core.errors import MeasureError
from certify.measure.meters.sampling import LARGEST_SHARE, Repeated, SampledPower

NEVER_S = 1e6


@given(st.floats(0, 1e3), st.floats(0, 1e3), st.floats(0.01, 100))
def test_energy_is_the_trapezoid_of_two_samples(first_w: float, last_w: float, seconds: float) -> None:
    powers, times = iter([first_w, last_w]), iter([0.0, seconds])
    power = SampledPower("fake", lambda: next(powers), NEVER_S, lambda: next(times))
    power.start()
    reading = power.stop()
    assert reading.energy_j == pytest.approx(seconds * (first_w + last_w) / 2)
    assert reading.raw == {"integrated_j": reading.energy_j, "power_samples": 2.0}


def test_energy_follows_the_power_when_it_changes_within_the_window() -> None:
    began = time.perf_counter()
    power = SampledPower("fake", lambda: 100.0 if time.perf_counter() - began > 0.05 else 0.0, 0.005)
    power.start()
    time.sleep(0.25)
    at_both_ends_j = 100.0 * (time.perf_counter() - began) / 2
    assert 1.2 * at_both_ends_j < power.stop().energy_j <= 100.0 * (time.perf_counter() - began)


def test_finish_fails_with_the_reason_when_a_sample_could_not_be_read() -> None:
    powers = iter([1.0])

    def read() -> float:
        try:
            return next(powers)
        except StopIteration:
            raise MeasureError("The meter fake failed midway: gone.") from None

    power = SampledPower("fake", read, 0.001)
    power.start()
    time.sleep(0.05)
    with pytest.raises(MeasureError, match="gone"):
        power.stop()


def test_window_starts_clean_when_the_previous_one_was_abandoned() -> None:
    power = SampledPower("fake", lambda: 100.0, 0.001)
    power.start()
    time.sleep(0.05)
    began_s = time.perf_counter()
    power.start()
    assert power.stop().energy_j <= 100.0 * (time.perf_counter() - began_s)
    with pytest.raises(MeasureError, match="before it was started"):
        power.stop()


def test_thread_waits_longer_when_its_action_costs_more_than_its_share() -> None:
    """Each action takes 1 ms of CPU by the fake clock, so the next may come after 200 ms at the least."""
    calls = []
    cpu = itertools.count()
    thread = Repeated(lambda: calls.append(time.monotonic()), 0.001, cpu_clock=lambda: next(cpu) * 1e-3)
    deadline_s = time.monotonic() + 10
    while len(calls) < 3 and time.monotonic() < deadline_s:
        time.sleep(0.01)
    thread.end()
    assert min(later - earlier for earlier, later in itertools.pairwise(calls)) >= 1e-3 / LARGEST_SHARE
