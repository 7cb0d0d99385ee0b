"""Guards over the energy meter: does the counter work, and can it be believed?"""

from __future__ import annotations

import itertools
from collections.abc import Iterable

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.guards.result import NOT_READ, Answer, check, comparing, metered, percent, unknown
from certify.assessments.efficiency.known_meters import PLAYED_BACK
from certify.core.evidence import Evidence
from certify.core.observation import number
from certify.core.run_observations import PowerCheck
from certify.core.windows import Window


def counter_moved(evidence: Evidence, edition: Edition) -> Answer:
    """Every window read more than 0 J here, not from a stopped counter or a recording."""
    meter = evidence.header.meter
    if meter is None or not evidence.windows:
        return NOT_READ
    if meter.name.startswith(PLAYED_BACK):
        return check(False, f"The joules come from a recording ({meter.name})", "they were not measured here")
    still = [window for window in evidence.windows if window.energy_j is None or window.energy_j <= 0]
    return check(
        not still,
        f"{len(evidence.windows) - len(still)} of {len(evidence.windows)} windows read energy above 0 J",
        "the counter did not move or was not read, so its joules are meaningless",
    )


def counter_monotonic(evidence: Evidence, edition: Edition) -> Answer:
    """No counter stepped back, within or between windows, except where it wraps around."""
    meter, read = metered(evidence)
    if meter is None:
        return NOT_READ
    back = sum(window.energy_j is not None and window.energy_j < 0 for window in read)
    for zone, unit in _counters(read):
        if number(meter.parameters, f"{zone}_range_{unit}") is None:
            back += _steps_back(read, zone, unit)
    return check(
        back == 0,
        f"{back} negative steps of the counter in {len(read)} windows",
        "it was reset or misread during the measurement",
    )


def _counters(windows: list[Window]) -> set[tuple[str, str]]:
    """Return zone and unit of the counters read, from the names ``<zone>_before_<unit>``."""
    names = {name for window in windows for name in window.reading if "_before_" in name}
    return {(zone, unit) for zone, _, unit in (name.rpartition("_before_") for name in names)}


def _steps_back(windows: list[Window], zone: str, unit: str) -> int:
    ordered = sorted(windows, key=lambda window: window.start_s)
    names = (f"{zone}_before_{unit}", f"{zone}_after_{unit}")
    values = [window.reading[name] for window in ordered for name in names if name in window.reading]
    return sum(later < earlier for earlier, later in itertools.pairwise(values))


@comparing
def counter_agrees_with_power(evidence: Evidence, edition: Edition) -> Answer:
    """The energy counter and the integrated power of the same period agree."""
    found = evidence.observed(PowerCheck)
    if found is None or found.integrated_j <= 0:
        return unknown("There was no second source to check the meter against")
    difference = found.counter_j / found.integrated_j - 1
    return check(
        abs(difference) <= edition.thresholds.power_tolerance,
        f"The counter gave {found.counter_j:.4g} J and integrated power {found.integrated_j:.4g} J "
        f"({percent(difference, '+')}; allowed: {percent(edition.thresholds.power_tolerance)})",
        "one of the two is wrong",
    )


def windows_too_short(windows: Iterable[Window], edition: Edition, meter: str | None) -> int:
    """Return how many windows are too short for the meter's resolution."""
    return sum(window.duration_s < edition.plan.shortest_window_seconds(meter) for window in windows)
