"""Guards over the machine: was it otherwise idle, and did it stay the same throughout?"""

from __future__ import annotations

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.guards.result import Answer, check, comparing, host_values, mean, percent, unknown
from certify.core.evidence import Evidence
from certify.core.run_observations import WorkerProcesses


def no_throttling(evidence: Evidence, edition: Edition) -> Answer:
    """The processor did not lower its clock because of heat."""
    events = host_values(evidence.run("main").windows, "thermal_throttles")
    if events is None:
        return unknown("The machine does not report thermal throttling")
    throttled = sum(count > 0 for count in events)
    return check(
        throttled <= edition.thresholds.throttled_windows_share * len(events),
        f"Thermal throttling occurred in {throttled} of {len(events)} windows "
        f"(allowed: {percent(edition.thresholds.throttled_windows_share)})",
        "the machine changed its speed during the measurement",
    )


def device_alone(evidence: Evidence, edition: Edition) -> Answer:
    """Other processes used little of the machine."""
    shares = host_values(evidence.run("main").windows, "foreign_cpu_share")
    if shares is None:
        return unknown("The CPU use of other processes could not be read")
    return check(
        mean(shares) <= edition.thresholds.foreign_cpu_share,
        f"Other processes used {percent(mean(shares))} of the processor on average, at most {percent(max(shares))} "
        f"(allowed: {percent(edition.thresholds.foreign_cpu_share)} on average)",
        "the machine was busy with other work",
    )


def steal_low(evidence: Evidence, edition: Edition) -> Answer:
    """Neither a hypervisor nor a CPU quota withheld the processor."""
    main = evidence.run("main")
    steal, throttled = (host_values(main.windows, name) for name in ("steal_share", "throttled_s"))
    if steal is None and throttled is None:
        return unknown("Neither steal time nor throttling by a quota could be read")
    stolen_share = mean(steal) if steal else 0.0
    stopped_share = sum(throttled) / main.duration_s if throttled else 0.0
    found = (
        [
            f"a hypervisor took {percent(stolen_share)} of the CPU time (allowed: "
            f"{percent(edition.thresholds.steal_share)})"
        ]
        if steal
        else []
    )
    if throttled:
        limit = percent(edition.thresholds.throttled_time_share)
        found.append(f"a quota stopped the processes for {percent(stopped_share)} of the time (allowed: {limit})")
    sentence = " and ".join(found)
    return check(
        stolen_share <= edition.thresholds.steal_share and stopped_share <= edition.thresholds.throttled_time_share,
        sentence[0].upper() + sentence[1:],
        "the processor was not available when needed",
    )


def temperature_bounded(evidence: Evidence, edition: Edition) -> Answer:
    """The temperature did not drift far between the coolest and the warmest block."""
    main = evidence.run("main")
    if host_values(main.windows, "temperature_c") is None:
        return unknown("The temperature could not be read")
    # By block: within one, the arms may differ in temperature because one of them works harder.
    blocks = [mean(host_values(block.windows, "temperature_c") or []) for block in main.blocks]
    drift = max(blocks) - min(blocks)
    return check(
        drift <= edition.thresholds.temperature_drift_c,
        f"Blocks differed by {drift:.3g} K in temperature, from {min(blocks):.3g} to {max(blocks):.3g} degrees C "
        f"(allowed: {edition.thresholds.temperature_drift_c:.3g} K)",
        "the machine had not reached a steady temperature, and leakage grows with heat",
    )


@comparing
def sessions_isolated(evidence: Evidence, edition: Edition) -> Answer:
    """Each arm ran in its own process, and the waiting one did not spin."""
    workers = evidence.observed(WorkerProcesses)
    main = evidence.run("main")
    idle = host_values(main.windows, "idle_workers_cpu_s")
    if workers is None or not {"baseline", "candidate"} <= set(workers.pids) or idle is None:
        return unknown("The processes of the models, or the CPU use of waiting ones, were not recorded")
    processes_of = [
        {str(pid) for pid in (listed if isinstance(listed, list) else [listed])} for listed in workers.pids.values()
    ]
    # A process id listed under two arms makes the union smaller than the sum.
    shared = len(set().union(*processes_of)) < sum(map(len, processes_of))
    share = sum(idle) / main.duration_s
    processes = "Models shared a process" if shared else f"{len(workers.pids)} arms ran in separate processes"
    return check(
        not shared and share <= edition.thresholds.idle_workers_cpu_share,
        f"{processes}, and idle workers used {1000 * share:.3g} ms of processor time per second "
        f"(allowed: {1000 * edition.thresholds.idle_workers_cpu_share:.3g} ms)",
        "two live sessions slow each other",
    )
