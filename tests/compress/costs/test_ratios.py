"""Shares of costs that were measured in turn."""

from __future__ import annotations

from dataclasses import replace

import pytest

from certify.core.estimate import Estimate, EvidenceLevel
from certify.core.statistics.quantiles import quantile_estimate
from compress.costs.ratios import SHARE_METHOD, share_of
from compress.costs.timing import Cost


def cost(seconds: list[float], watts: float | None = 10.0) -> Cost:
    """The cost of a file from its windows, as the timer computes it."""
    duration = quantile_estimate(seconds, 0.1, 0.95)
    joules = () if watts is None else tuple(watts * each for each in seconds)
    energy = (
        replace(quantile_estimate(joules, 0.1, 0.95), unit="J", evidence=EvidenceLevel.MODELLED) if joules else None
    )
    return Cost(duration, energy, tuple(seconds), joules)


@pytest.mark.parametrize("quantity", ["latency", "energy"])
def test_share_includes_load_that_slows_down_one_file_more_than_the_other(quantity):
    """Most of the time a neighbour doubles the time of the large file and adds half to that of the small one."""
    rounds = [index % 4 > 0 for index in range(24)]
    small, large = cost([1.5 if busy else 1.0 for busy in rounds]), cost([4.0 if busy else 2.0 for busy in rounds])
    assert small.duration_s.value / large.duration_s.value == 0.5, "on an idle machine"
    share = share_of(small, large, quantity)
    assert share.value == pytest.approx(0.375)
    assert (share.unit, share.n, share.method) == ("1", 24, SHARE_METHOD)
    assert share.evidence == (EvidenceLevel.DIRECT if quantity == "latency" else EvidenceLevel.MODELLED)


def test_slow_phase_of_the_machine_cancels():
    phases = [1.0 + index / 10 for index in range(24)]
    share = share_of(cost([0.3 * each for each in phases]), cost(phases), "latency")
    assert (share.low, share.value, share.high) == pytest.approx((0.3, 0.3, 0.3))


def test_interval_is_that_of_the_median_ratio():
    small = cost([0.4] * 6 + [0.5] * 12 + [0.6] * 6)
    share = share_of(small, cost([1.0] * 24), "latency")
    assert (share.low, share.value, share.high) == (0.5, 0.5, 0.5)
    wider = share_of(cost([0.4] * 10 + [0.5] * 4 + [0.6] * 10), cost([1.0] * 24), "latency")
    assert (wider.low, wider.value, wider.high) == (0.4, 0.5, 0.6)


def test_window_in_which_the_counter_did_not_advance_decides_nothing():
    share = share_of(cost([0.3] * 24), cost([0.0] + [1.0] * 23), "energy")
    assert share.value == pytest.approx(0.3)


def test_share_needs_the_joules_of_every_window():
    with pytest.raises(ValueError, match="stopped reporting"):
        share_of(cost([1.0] * 24), cost([1.0] * 24, watts=None), "energy")
    with pytest.raises(ValueError, match="stopped reporting"):
        share_of(cost([1.0] * 24, watts=None), cost([1.0] * 24), "energy")
    whole = cost([1.0] * 24)
    with pytest.raises(ValueError, match="stopped reporting"):
        share_of(replace(whole, windows_j=whole.windows_j[1:]), whole, "energy")


def test_cost_from_the_cache_has_no_windows():
    read = Cost.from_json(cost([1.0, 2.0, 3.0]).to_json())
    assert (read.windows_s, read.windows_j) == ((), ())
    assert read.duration_s == Estimate(1.0, read.duration_s.low, read.duration_s.high, "s", 3, read.duration_s.method)
