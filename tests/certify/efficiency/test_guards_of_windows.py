"""Guards that judge the windows: each is tripped alone by windows that were changed, left out or never read."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.guards import judge_guards
from certify.assessments.efficiency.guards.meter import windows_too_short
from certify.assessments.efficiency.profile import derive
from certify.core.evidence import Evidence, MeterFacts
from certify.core.windows import Window

Maker = Callable[..., Evidence]


def tripped(evidence: Evidence, edition: Edition) -> dict[str, str]:
    """Guards that did not pass, with their outcomes."""
    return {result.name: result.outcome for result in judge_guards(evidence, edition) if result.outcome != "pass"}


def _sentence(evidence: Evidence, name: str, edition: Edition) -> str:
    return next(result.sentence for result in judge_guards(evidence, edition) if result.name == name)


def change_window(evidence: Evidence, index: int, **values: Any) -> Evidence:
    windows = list(evidence.windows)
    windows[index] = dataclasses.replace(windows[index], **values)
    return dataclasses.replace(evidence, windows=tuple(windows))


def main_index(evidence: Evidence, block: int, position: int = 0) -> int:
    return next(i for i, w in enumerate(evidence.windows) if (w.run, w.block, w.position) == ("main", block, position))


def without(evidence: Evidence, drop: Callable[[Window], bool]) -> Evidence:
    return dataclasses.replace(evidence, windows=tuple(w for w in evidence.windows if not drop(w)))


def test_counter_moved_fails_alone_when_a_window_reads_nothing(evidence: Evidence, edition: Edition) -> None:
    index = main_index(evidence, 3)
    before = evidence.windows[index].reading["package-0_before_uj"]
    stopped = {"package-0_before_uj": before, "package-0_after_uj": before}
    still = change_window(evidence, index, energy_j=0.0, reading=stopped)
    assert tripped(still, edition) == {"counter_moved": "fail"}
    assert _sentence(still, "joules_not_modelled", edition).startswith("1 of 92 windows have no joules")
    assert "energy_ratio" not in derive(still, edition).estimates


def test_counter_moved_fails_alone_when_the_joules_are_replayed(evidence: Evidence, edition: Edition) -> None:
    meter = evidence.header.meter
    assert meter is not None
    method = f"replay of a recorded trace: {meter.method}"
    replayed = dataclasses.replace(meter, name=f"replay:{meter.name}", method=method)
    header = dataclasses.replace(evidence.header, meter=replayed)
    assert tripped(dataclasses.replace(evidence, header=header), edition) == {"counter_moved": "fail"}


def test_counter_moved_fails_when_windows_were_not_read(evidence: Evidence, edition: Edition) -> None:
    missed = change_window(evidence, main_index(evidence, 3), energy_j=None)
    assert tripped(missed, edition)["counter_moved"] == "fail"


def counting(evidence: Evidence, ranges: Mapping[str, float], turn: float | None = None) -> Evidence:
    """Evidence whose windows hold the readings of one counter in uJ, which starts again from 0 at ``turn``."""
    windows, total = [], 0.0
    for window in evidence.windows:
        before, total = total, total + 1e6 * (window.energy_j or 0.0)
        after = total
        if turn is not None:
            before, after = before % turn, after % turn
        windows.append(
            dataclasses.replace(window, reading={"package-0_before_uj": before, "package-0_after_uj": after})
        )
    method = "sum of the counters package-0, modulo their ranges"
    meter = MeterFacts("rapl-powercap", "counter", "package", method, None, {}, dict(ranges))
    header = dataclasses.replace(evidence.header, meter=meter)
    return dataclasses.replace(evidence, windows=tuple(windows), header=header)


def test_counter_monotonic_passes_when_a_wrap_has_a_known_range(evidence: Evidence, edition: Edition) -> None:
    assert "counter_monotonic" not in tripped(counting(evidence, {}), edition)
    wrapped = counting(evidence, {"package-0_range_uj": 1e8}, turn=1e8)
    assert tripped(wrapped, edition) == {}


def test_counter_monotonic_fails_alone_when_the_counter_steps_back(evidence: Evidence, edition: Edition) -> None:
    assert tripped(counting(evidence, {}, turn=1e8), edition)["counter_monotonic"] == "fail"
    assert tripped(_reset_between_windows(evidence), edition) == {"counter_monotonic": "fail"}


def _reset_between_windows(evidence: Evidence) -> Evidence:
    """Evidence whose counter starts from 0 again before the last window, as after a restart of the machine."""
    counted = counting(evidence, {})
    joules = 1e6 * (counted.windows[-1].energy_j or 0.0)
    return change_window(counted, -1, reading={"package-0_before_uj": 0.0, "package-0_after_uj": joules})


def test_counter_monotonic_fails_when_energy_is_negative(evidence: Evidence, edition: Edition) -> None:
    negative = change_window(evidence, main_index(evidence, 3), energy_j=-1.0)
    assert tripped(negative, edition)["counter_monotonic"] == "fail"


def test_temperature_bounded_fails_alone_when_the_machine_heats_up(evidence: Evidence, edition: Edition) -> None:
    host = {**evidence.windows[main_index(evidence, 9)].host, "temperature_c": 90.0}
    hot = evidence
    for position in range(4):
        hot = change_window(hot, main_index(evidence, 9, position), host=host)
    assert tripped(hot, edition) == {"temperature_bounded": "fail"}


@pytest.mark.parametrize(
    "drop",
    [
        lambda w: w.run == "main" and w.block == 4,
        lambda w: w.run == "main" and (w.block, w.position) == (4, 2),
        lambda w: w.run == "main" and w.block == 0,
    ],
    ids=["a block", "a window", "the first block"],
)
def test_enough_windows_fails_alone_when_windows_are_left_out(
    drop: Callable[[Window], bool], make_evidence: Maker, edition: Edition
) -> None:
    evidence = make_evidence(blocks=12, noise=0.025, null_noise=0.01, header={"wanted_half_width": 0.03})
    assert tripped(without(evidence, drop), edition) == {"enough_windows": "fail"}


def test_enough_windows_fails_when_a_run_stops_before_its_count_and_its_time(
    make_evidence: Maker, edition: Edition
) -> None:
    knobs: dict[str, Any] = {"blocks": 14, "noise": 0.1, "null_noise": 0.01}
    long = make_evidence(**knobs, header={"time_limit_s": 1000.0, "wanted_half_width": 0.01})
    assert tripped(long, edition) == {"enough_windows": "fail"}
    later = dataclasses.replace(
        long, windows=tuple(dataclasses.replace(w, start_s=w.start_s + 5000.0) for w in long.windows)
    )
    assert tripped(later, edition) == {"enough_windows": "fail"}, "what counts is how long the run took"
    short = make_evidence(**knobs, header={"time_limit_s": 30.0, "wanted_half_width": 0.01})
    assert tripped(short, edition) == {}


def test_enough_windows_passes_when_the_last_block_was_cut_short(make_evidence: Maker, edition: Edition) -> None:
    evidence = make_evidence(blocks=14, noise=0.1, null_noise=0.01, header={"time_limit_s": 30.0})
    cut = without(evidence, lambda w: w.run == "main" and w.block == 13 and w.position > 1)
    assert tripped(cut, edition) == {}


def test_enough_windows_fails_alone_when_a_window_is_too_short_for_the_meter(
    evidence: Evidence, edition: Edition
) -> None:
    short = change_window(evidence, main_index(evidence, 5), duration_s=0.01, cpu_s=0.01)
    assert tripped(short, edition) == {"enough_windows": "fail"}


@pytest.mark.parametrize(
    ("meter", "duration_s", "too_short"),
    [(None, 0.05, False), (None, 0.019, True), ("rapl-powercap", 0.05, True), ("rapl-powercap", 0.1, False),
     ("nvml", 2.4, True), ("nvml", 2.5, False)],
)  # fmt: skip
def test_window_is_too_short_by_the_resolution_of_its_meter(
    evidence: Evidence, edition: Edition, meter: str | None, duration_s: float, too_short: bool
) -> None:
    windows = [dataclasses.replace(window, duration_s=duration_s) for window in evidence.run("main").windows[:3]]
    assert windows_too_short(windows, edition, meter) == 3 * too_short
