"""Guards over the records themselves: could a clock, a processor and this meter have produced them?

They catch carelessly invented evidence. Carefully invented evidence passes them; only a measurement by someone else
exposes it.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable, Iterator

import numpy as np

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.guards.machine import device_alone, steal_low
from certify.assessments.efficiency.guards.result import (
    NOT_READ,
    Answer,
    check,
    check_none,
    comparing,
    mean,
    metered,
    percent,
    unknown,
)
from certify.assessments.efficiency.known_meters import counted_level, fault, is_plug_in, joules_from_readings
from certify.core.estimate import EvidenceLevel
from certify.core.evidence import Evidence
from certify.core.observation import number
from certify.core.windows import Window

LEAST_LEFT = 0.1
"""Least share of a machine that its neighbours are assumed to leave."""
FEWEST_WINDOWS = 4
"""Minimum windows for a fit: few joule figures always lie close to a line."""


def windows_in_order(evidence: Evidence, edition: Edition) -> Answer:
    """Windows follow each other in time without overlap, in the order of their blocks."""
    if not evidence.windows:
        return unknown("No window was recorded")
    # By time and not as listed: the maker chooses the order in the file.
    windows = sorted(evidence.windows, key=lambda window: window.start_s)
    end_s, overlapping = 0.0, []
    for window in windows:
        if window.start_s < end_s - edition.thresholds.overlap_s:
            overlapping.append(window)
        # The latest end so far: a short window inside a long one would otherwise hide the overlap with the next.
        end_s = max(end_s, window.start_s + window.duration_s)
    places: dict[tuple[str, str], tuple[int, int, int]] = {}
    displaced = []
    for window in windows:
        # In a settings run each arm has its own windows, numbered from 0; in other runs arms share blocks.
        run, place = (window.run, window.arm if window.run == "settings" else ""), _place(window)
        if place <= places.get(run, (-1, 0, 0)):
            displaced.append(window)
        places[run] = place
    faults = {
        f"{len(overlapping)} windows begin before the previous one ends{_first(overlapping)}": bool(overlapping),
        f"{len(displaced)} windows are not in the order of their blocks{_first(displaced)}": bool(displaced),
    }
    return check_none(faults, f"The times of {len(windows)} windows were checked")


def _place(window: Window) -> tuple[int, int, int]:
    return window.attempt, window.block, window.position


def windows_vary(evidence: Evidence, edition: Edition) -> Answer:
    """Windows do not last equally long: clocks resolve nanoseconds, and no machine repeats to the nanosecond."""
    main = evidence.run("main")
    shares = [_repeated(window.duration_s for window in main.of(arm)) for arm in main.arms]
    if not shares:
        return unknown("No window of the main run was recorded")
    return check(
        max(shares) <= edition.thresholds.equal_durations_share,
        f"{percent(max(shares))} of the windows of an arm last exactly as long as another "
        f"(allowed: {percent(edition.thresholds.equal_durations_share)})",
        "no clock repeats the same nanosecond again and again",
    )


def _repeated(durations: Iterable[float]) -> float:
    """Return the share of values that occur more than once."""
    counts = Counter(durations)
    return sum(count for count in counts.values() if count > 1) / counts.total()


def cpu_time_possible(evidence: Evidence, edition: Edition) -> Answer:
    """CPU time is at most what the threads can use, and at least what computing takes."""
    if not evidence.windows:
        return unknown("No window was recorded")
    on_cpu = "CPU" in evidence.header.workload.provider
    processors = number(evidence.header.device, "processors_allowed")
    excess = [window for window in evidence.windows if window.cpu_s > _most_cpu_s(window, on_cpu, processors, edition)]
    least_share = edition.thresholds.least_cpu_share if on_cpu else 0.0
    idle = [arm for arm, share, left in _cpu_shares(evidence.windows) if share <= least_share * left]
    faults = {
        f"{len(excess)} windows have more CPU time than their threads can use{_first(excess)}": bool(excess),
        f"hardly any CPU time was used by {', '.join(idle)}": bool(idle),
    }
    return check_none(
        faults, f"The CPU times of {len(evidence.windows)} windows were checked against their threads and durations"
    )


def _most_cpu_s(window: Window, on_cpu: bool, processors: float | None, edition: Edition) -> float:
    """Return the CPU time of the threads, on at most all processors; of all processors if another device computes."""
    most = math.inf if processors is None else processors
    # Drivers of accelerators start threads of their own, which no setting bounds.
    threads = min(window.threads, most) if on_cpu else most
    return threads * window.duration_s * (1 + edition.thresholds.cpu_time_excess) + edition.thresholds.clock_tick_s


def _cpu_shares(windows: Iterable[Window]) -> Iterator[tuple[str, float, float]]:
    """Yield CPU seconds per second of each arm, and the share of the machine that others left to it."""
    for arm, own in itertools.groupby(sorted(windows, key=lambda window: window.arm), key=lambda window: window.arm):
        recorded = list(own)
        taken = [(w.host.get("foreign_cpu_share") or 0.0) + (w.host.get("steal_share") or 0.0) for w in recorded]
        share = sum(window.cpu_s for window in recorded) / sum(window.duration_s for window in recorded)
        yield arm, share, max(0.0, 1 - mean(taken))


@comparing
def latencies_agree(evidence: Evidence, edition: Edition) -> Answer:
    """Single inferences take about as long as those in windows.

    A busy machine stretches windows, while a single inference fits between its neighbours' time slices. Windows are
    therefore also compared after subtracting the recorded share of neighbours, which other guards check. If one of
    those guards fails, the maker is not to blame: this guard still fails, but its sentence blames the machine.
    """
    notes, holds = [], True
    left = {arm: share for arm, _, share in _cpu_shares(evidence.run("main").windows)}
    for latencies in evidence.latencies:
        windows = [w.duration_s / w.inferences for w in evidence.run("main").of(latencies.arm)]
        if not windows or not latencies.seconds or min(latencies.seconds) <= 0:
            return unknown("Single inferences or windows of a model were not recorded")
        single, longest = float(np.median(latencies.seconds)), float(np.median(windows))
        # The denominator lies between the whole window and its share that neighbours left, whichever is nearest to the
        # single inference.
        ratio = single / min(max(single, longest * max(left[latencies.arm], LEAST_LEFT)), longest)
        holds = holds and 1 / edition.thresholds.latency_factor <= ratio <= edition.thresholds.latency_factor
        notes.append(f"{ratio:.3g} times as long in the {latencies.arm}")
    if not notes:
        return unknown("No single inference was timed")
    busy = any(guard(evidence, edition).outcome == "fail" for guard in (device_alone, steal_low))
    return check(
        holds,
        f"Single inferences take {' and '.join(notes)} as those in windows (allowed: a factor of "
        f"{edition.thresholds.latency_factor:g} either way)",
        "the machine was too busy to time them" if busy else "one of the two was not measured on this model",
    )


def meter_known(evidence: Evidence, edition: Edition) -> Answer:
    """The meter's level, scope, method, error and constants match its name."""
    meter = evidence.header.meter
    if meter is None:
        return NOT_READ
    if (wrong := fault(meter, evidence.header.device)) is not None:
        return Answer("fail", f"{wrong[0].upper()}{wrong[1:]}: the joules are not from the named meter.")
    if is_plug_in(meter):
        code = (meter.code or "")[:16]
        return Answer("pass", f"{meter.name} is a plug-in (code {code}...), so its joules count as sampled at best.")
    return Answer("pass", f"Level, scope, method and error match {meter.name}.")


def joules_follow(evidence: Evidence, edition: Edition) -> Answer:
    """Joules follow from the meter's readings or its model."""
    meter, read = metered(evidence)
    if meter is None:
        return NOT_READ
    derived = [(window, window.energy_j or 0.0, joules_from_readings(meter, window)) for window in read]
    missing = [window for window, _, joules in derived if joules is None]
    if missing:
        return Answer("fail", f"{len(missing)} of {len(read)} windows lack the meter's readings{_first(missing)}.")
    tolerance = edition.thresholds.joules_tolerance
    wrong = [
        window
        for window, stated, joules in derived
        # The tolerance is relative for large figures and absolute near 0.
        if joules is not None and abs(stated - joules) > tolerance * max(abs(stated), abs(joules)) + tolerance
    ]
    return check(
        not wrong,
        f"{len(wrong)} of {len(read)} windows state joules that differ from their readings{_first(wrong)}",
        "they did not come from this meter",
    )


def joules_not_modelled(evidence: Evidence, edition: Edition) -> Answer:
    """Metered joules are not a linear function of time and CPU time, as those of a model are."""
    meter, read = metered(evidence)
    if meter is None:
        return NOT_READ
    # Joules that are stated as modelled may be linear; the test is for those that claim more.
    if counted_level(meter).rank >= EvidenceLevel.MODELLED.rank:
        return Answer("pass", f"The joules are stated as {meter.level}.")
    if len(read) < FEWEST_WINDOWS:
        return unknown(f"{len(read)} windows are too few to distinguish a meter from a model")
    without = sum((window.energy_j or 0.0) <= 0 for window in read)
    if without:
        return Answer("pass", f"{without} of {len(read)} windows have no joules; a model assigns some to every window.")
    stray = _stray_from_line(read)
    return check(
        stray > edition.thresholds.linear_joules_tolerance,
        f"Joules deviate from a linear function of time and CPU time by {percent(stray)} "
        f"(required of a meter: more than {percent(edition.thresholds.linear_joules_tolerance)})",
        "they come from a model and not from a meter",
    )


def _stray_from_line(windows: list[Window]) -> float:
    """Return the root mean square residual of joules fitted on wall and CPU seconds, relative to the joules."""
    joules = np.array([window.energy_j for window in windows], dtype=np.float64)
    times = np.array([(window.duration_s, window.cpu_s) for window in windows], dtype=np.float64)
    scaled = times / joules[:, None]
    line = np.linalg.lstsq(scaled, np.ones(len(windows)), rcond=None)[0]
    # Divided by the joules beforehand, so that long windows do not decide the fit.
    return float(np.sqrt(np.mean((scaled @ line - 1) ** 2)))


def energy_above_idle(evidence: Evidence, edition: Edition) -> Answer:
    """No window draws less power than the idle device."""
    meter = evidence.header.meter
    idle_w = None if meter is None else number(meter.parameters, "idle_w")
    if idle_w is None:
        return Answer("pass", "No idle power is stated, so no figure is net of it.")
    read = [window for window in evidence.windows if window.energy_j is not None]
    below = [w for w in read if (w.energy_j or 0.0) < idle_w * w.duration_s * (1 - edition.thresholds.idle_tolerance)]
    return check(
        not below,
        f"{len(below)} of {len(read)} windows draw less than the {idle_w:.4g} W of the idle device{_first(below)}",
        "no device draws less power when working",
    )


def _first(windows: list[Window]) -> str:
    """Return the location of the first of these windows, in parentheses."""
    if not windows:
        return ""
    first = windows[0]
    return f" (first: {first.run}/{first.attempt}/{first.block}/{first.position}, {first.arm})"
