"""Guards over the runs: enough windows by the plan, a null run near 1, and a baseline at its best."""

from __future__ import annotations

import math

from certify.assessments.efficiency.device_class import on_accelerator
from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.guards.meter import windows_too_short
from certify.assessments.efficiency.guards.result import Answer, check, check_none, comparing, mean, percent, unknown
from certify.assessments.efficiency.guards.runtime import runtime_fault
from certify.core.errors import CertificateError
from certify.core.estimate import EvidenceLevel
from certify.core.evidence import ARMS, Evidence
from certify.core.observation import number
from certify.core.run_observations import SessionFacts
from certify.core.statistics.batch_means import Series
from certify.core.statistics.blocks import blocks_needed
from certify.core.statistics.ratio import (
    duration_per_inference,
    energy_log_ratios,
    energy_per_inference,
    ratio_estimate,
)
from certify.core.windows import Window


@comparing
def enough_windows(evidence: Evidence, edition: Edition) -> Answer:
    """The main run has the blocks that the pilot fixed, with none missing and each window long enough."""
    main, ratios = evidence.run("main"), energy_log_ratios(evidence, "main")
    blocks, complete = main.blocks, main.complete
    meter = evidence.header.meter.name if evidence.header.meter else None
    short = windows_too_short(main.windows, edition, meter)
    sentence = (
        f"{len(complete)} complete blocks of four windows were recorded{_width_reached(ratios, evidence, edition)}"
    )
    # A run that was cut short may end in an incomplete block; an earlier gap means that windows were left out.
    gaps = [block.number for block in blocks] != list(range(len(blocks))) or blocks[:-1] != complete[: len(blocks) - 1]
    faults = {
        f"at least {edition.plan.minimum_blocks} are needed": len(complete) < edition.plan.minimum_blocks,
        "windows are missing within the run": gaps,
        f"{short} windows are too short for the meter": short > 0,
        **_departure(ratios, evidence, edition),
    }
    return check_none(faults, sentence)


def _width_reached(ratios: Series | None, evidence: Evidence, edition: Edition) -> str:
    ratio = ratio_estimate(ratios, edition.plan, EvidenceLevel.DIRECT, edition.plan.pilot_blocks)
    if ratio is None:
        return ""
    reached, wanted = ratio.high / ratio.value - 1, evidence.header.wanted_half_width
    return f", and the ratio is known to ±{percent(reached)}, with a target of ±{percent(wanted)}"


def _departure(ratios: Series | None, evidence: Evidence, edition: Edition) -> dict[str, bool]:
    """Return whether the run was shorter or longer than fixed by the pilot and the time limit."""
    if ratios is None or len(ratios) < max(2, edition.plan.pilot_blocks):
        return {}
    wanted = evidence.header.wanted_half_width
    if not wanted > 0:
        raise CertificateError(f"Evidence: wanted_half_width must be above 0, got {wanted}.")
    pilot = ratios[: edition.plan.pilot_blocks]
    fixed = blocks_needed(pilot, wanted, edition.plan.minimum_blocks, edition.plan.maximum_blocks, edition.plan)
    main = evidence.run("main")
    # From the windows alone: a stated duration could be chosen to excuse a run that stopped early.
    took = max(w.start_s + w.duration_s for w in main.windows) - min(w.start_s for w in main.windows)
    complete = len(main.complete)
    had_time = took < edition.thresholds.time_limit_used * evidence.header.time_limit_s
    return {
        f"the pilot fixed {fixed}, but more were run": complete > fixed,
        f"the pilot fixed {fixed}, but the run stopped before its time limit": complete < fixed and had_time,
    }


@comparing
def null_holds(evidence: Evidence, edition: Edition) -> Answer:
    """The baseline compared with itself gives 1, within the edition's tolerance."""
    ratio = ratio_estimate(energy_log_ratios(evidence, "null"), edition.plan, EvidenceLevel.DIRECT)
    if ratio is None:
        return unknown("No null run with energy readings was recorded")
    attempts, tolerance = evidence.run("null").attempts, edition.plan.null_tolerance
    sentence = (
        f"The baseline compared with itself gave {ratio.value:.4f}, interval {ratio.low:.4f} to {ratio.high:.4f} "
        f"(allowed: 1 ± {percent(tolerance)}), in attempt {attempts}"
    )
    within = 1 - tolerance <= ratio.low and ratio.high <= 1 + tolerance
    return check(
        within and attempts <= 1 + edition.plan.null_retries,
        sentence,
        "more attempts than the edition allows"
        if within
        else "this machine cannot distinguish a saving from noise now",
    )


@comparing
def baseline_at_best_settings(evidence: Evidence, edition: Edition) -> Answer:
    """The baseline was not slowed down: graph optimisation was on, with the best runtime and threads tried."""
    sessions = [session for session in evidence.observed_by_arm(SessionFacts) or () if session is not None]
    threads = evidence.header.workload.threads
    costs = _cost_by_threads(evidence.run("settings").of("baseline"))
    if len(sessions) < len(ARMS) or threads not in costs:
        return unknown("The baseline's settings were not recorded")
    head = evidence.header
    # With one processor, or on an accelerator, there is no other number of threads to try.
    alone = number(head.device, "processors_allowed") == 1 or on_accelerator(head.device, head.workload.runtime)
    if len(costs) == 1 and not alone:
        return unknown(f"The baseline was only tried with {threads} threads")
    if any(session.graph_optimization != "all" for session in sessions):
        return Answer("fail", "Graph optimisation was off in a session: the baseline ran slower than necessary.")
    if (fault := runtime_fault(evidence)) is not None:
        return Answer("fail", fault)
    chosen = dict(zip(ARMS, (threads, evidence.header.workload.candidate_threads), strict=True))
    used = {(arm, session.threads) for arm, session in zip(ARMS, sessions, strict=True)}
    used |= {(window.arm, window.threads) for window in evidence.run("main").windows}
    if used != set(chosen.items()):
        return Answer("fail", f"A session did not run with the workload's {chosen} threads.")
    best = min(costs, key=lambda tried: costs[tried])
    excess = costs[threads] / costs[best] - 1
    return check(
        excess <= edition.thresholds.settings_tolerance,
        f"With {threads} threads the baseline cost {percent(excess)} more than with the best of {sorted(costs)} "
        f"threads, {best} (allowed: {percent(edition.thresholds.settings_tolerance)})",
        "the baseline was slower than necessary, which flatters the candidate",
    )


def _cost_by_threads(windows: list[Window]) -> dict[int, float]:
    """Return the baseline's mean joules per inference (seconds without joules) by thread number."""
    # One quantity for all settings, or joules would be compared with seconds.
    has_energy = bool(windows) and all(window.energy_j is not None and window.energy_j > 0 for window in windows)
    quantity = energy_per_inference if has_energy else duration_per_inference
    costs: dict[int, list[float]] = {}
    for window in windows:
        # A window without a reading makes its setting infinitely expensive instead of free.
        costs.setdefault(window.threads, []).append(quantity(window) or math.inf)
    return {threads: mean(values) for threads, values in costs.items()}
