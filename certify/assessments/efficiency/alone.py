"""The profile of one model that was compared with nothing: joules, time, latency, accuracy, size.

A block holds windows of one arm only. The figures are means over the blocks; blocks that follow each other, taken in
pairs, tell what this machine could tell apart.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from certify.assessments.efficiency.cost import (
    MEAN_METHOD,
    latency_estimates,
    mean_estimate,
    own_accuracy,
    throughput_estimate,
)
from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.guards import GUARDS
from certify.assessments.efficiency.known_meters import counted_level
from certify.assessments.efficiency.profile import Profile
from certify.assessments.efficiency.size import size_estimates
from certify.core.estimate import Estimate, EvidenceLevel
from certify.core.evidence import ALONE, Evidence
from certify.core.finding import Finding
from certify.core.statistics.batch_means import MeanInterval, mean_interval
from certify.core.statistics.proportions import wilson_interval
from certify.core.statistics.ratio import (
    Quantity,
    block_logs,
    block_means,
    check_windows,
    duration_per_inference,
    energy_per_inference,
    quotient_estimate,
    ratio_estimate,
)
from certify.core.windows import Run

GUARDS_ALONE = (
    "counter_moved",
    "counter_monotonic",
    "no_throttling",
    "device_alone",
    "steal_low",
    "temperature_bounded",
    "inputs_real",
    "windows_in_order",
    "windows_vary",
    "cpu_time_possible",
    "meter_known",
    "joules_follow",
    "joules_not_modelled",
    "energy_above_idle",
)
"""Guards that ask nothing about a second model."""
PAIRS_METHOD = "half-width of the ratio's interval between blocks that follow each other"


def derive_alone(evidence: Evidence, edition: Edition) -> Profile:
    """Compute the profile of a model alone: a pure function of its evidence.

    Args:
        evidence: of the one arm ``candidate``, as :func:`certify.measure.alone.measure_alone` returns it.
        edition: constants to judge it by.

    Raises:
        CertificateError: a record holds a value that can't have been observed.
    """
    check_windows(evidence.windows)
    main = evidence.run("main")
    found = {**_costs(evidence, main, edition), **_smallest_difference(evidence, main, edition)}
    found |= {**latency_estimates(evidence, edition), **_accuracy(evidence, edition), **size_estimates(evidence)}
    guards = (GUARDS[name](evidence, edition) for name in GUARDS_ALONE)
    results = (Finding(name, one.outcome, one.sentence) for name, one in zip(GUARDS_ALONE, guards, strict=True))
    return Profile(found, tuple(results))


def _costs(evidence: Evidence, main: Run, edition: Edition) -> dict[str, Estimate]:
    meter = evidence.header.meter
    found: dict[str, Estimate | None] = {}
    seconds = _interval(main, duration_per_inference, edition)
    duration = mean_estimate(seconds, "s", MEAN_METHOD, EvidenceLevel.DIRECT, lowest=0.0)
    if duration is not None:
        found[f"duration_s_{ALONE}"] = duration
        found[f"throughput_per_s_{ALONE}"] = throughput_estimate(duration, evidence.header.workload.batch)
    if meter is not None:
        level, method = counted_level(meter), MEAN_METHOD + own_accuracy(meter)
        joules = _interval(main, energy_per_inference, edition)
        found[f"energy_j_{ALONE}"] = mean_estimate(joules, "J", method, level, lowest=0.0)
        yardstick = _yardstick(evidence.run("yardstick"), edition)
        if joules is not None and yardstick is not None:
            multiple = quotient_estimate(joules, yardstick, edition.plan.confidence, level)
            found[f"energy_yardstick_{ALONE}"] = multiple
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def _interval(main: Run, quantity: Quantity, edition: Edition) -> MeanInterval | None:
    means = block_means(main, quantity)
    return None if means is None or len(means) < 2 else mean_interval(means, edition.plan, edition.plan.pilot_blocks)


def _yardstick(run: Run, edition: Edition) -> MeanInterval | None:
    values = [energy_per_inference(window) for window in run.windows]
    known = [value for value in values if value is not None]
    if len(known) < 2 or len(known) < len(values):
        return None
    return mean_interval(np.array(known, dtype=np.float64), edition.plan)


def _smallest_difference(evidence: Evidence, main: Run, edition: Edition) -> dict[str, Estimate]:
    """Half-width of the interval that a model compared with itself in these blocks would have had."""
    meter = evidence.header.meter
    logs = block_logs(main, duration_per_inference if meter is None else energy_per_inference)
    if logs is None or len(logs) < 4:
        return {}
    pairs = logs[1 : len(logs) // 2 * 2 : 2] - logs[0 : len(logs) // 2 * 2 : 2]
    level = EvidenceLevel.DIRECT if meter is None else counted_level(meter)
    ratio = ratio_estimate(pairs, edition.plan, level)
    if ratio is None:
        return {}
    half_width = Estimate.exact((ratio.high - ratio.low) / 2, "1", PAIRS_METHOD)
    return {"smallest_detectable_saving": replace(half_width, n=ratio.n, evidence=level)}


def _accuracy(evidence: Evidence, edition: Edition) -> dict[str, Estimate]:
    scored = evidence.observation("scored")
    if scored is None:
        return {}
    correct, samples = scored["correct"], scored["samples"]
    interval = wilson_interval(correct, samples, edition.plan.confidence)
    value = correct / samples
    low, high = min(interval.low, value), max(interval.high, value)
    return {f"accuracy_{ALONE}": Estimate(value, low, high, "1", samples, "Wilson score interval")}
