"""What the models cost to run: energy, time, latency, and multiples of the yardstick."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.guards.result import number
from certify.assessments.efficiency.known_meters import counted_level
from certify.core.errors import CertificateError
from certify.core.estimate import Estimate, EvidenceLevel
from certify.core.evidence import ARMS, Evidence, MeterFacts
from certify.core.statistics.batch_means import MeanInterval, mean_interval
from certify.core.statistics.quantiles import quantile_estimate
from certify.core.statistics.ratio import (
    Quantity,
    arm_interval,
    block_log_ratios,
    duration_per_inference,
    energy_log_ratios,
    energy_per_inference,
    quotient_estimate,
    ratio_estimate,
)
from certify.core.windows import Window

QUANTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
MEAN_METHOD = "mean of block means, batch-means t interval"


def cost_estimates(evidence: Evidence, edition: Edition) -> dict[str, Estimate]:
    """All estimates of energy and time that the evidence has the records for.

    Raises:
        CertificateError: the meter's level is none of the known ones.
    """
    return {
        **_energy(evidence, edition),
        **_yardstick(evidence, edition),
        **_durations(evidence, edition),
        **latency_estimates(evidence, edition),
    }


def _energy(evidence: Evidence, edition: Edition) -> dict[str, Estimate]:
    meter = evidence.header.meter
    if meter is None:
        return {}
    level = counted_level(meter)
    ratio = ratio_estimate(energy_log_ratios(evidence, "main"), edition.plan, level, edition.plan.pilot_blocks)
    null = ratio_estimate(energy_log_ratios(evidence, "null"), edition.plan, level)
    found: dict[str, Estimate | None] = {"energy_ratio": ratio, "null_ratio": null}
    if null is not None:
        half_width = (null.high - null.low) / 2
        method = "half-width of the null run's interval"
        found["smallest_detectable_saving"] = replace(Estimate.exact(half_width, "1", method), n=null.n, evidence=level)
    own = own_accuracy(meter)
    main = evidence.run("main").last
    for arm in ARMS:
        interval = arm_interval(main, arm, energy_per_inference, edition.plan)
        found[f"energy_j_{arm}"] = mean_estimate(interval, "J", MEAN_METHOD + own, level, lowest=0.0)
        if (net := _net_of_idle(meter)) is not None:
            interval = arm_interval(main, arm, net, edition.plan)
            found[f"energy_net_j_{arm}"] = mean_estimate(interval, "J", f"{MEAN_METHOD}, less idle power{own}", level)
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def own_accuracy(meter: MeterFacts) -> str:
    """What a method says of the meter's own accuracy; nothing where its maker states none."""
    error = meter.relative_error
    return "" if error is None else f"; the meter's own accuracy (x or / {error:g}) is not in the interval"


def _net_of_idle(meter: MeterFacts) -> Quantity | None:
    """Joules per inference above what the idle device would have drawn; None where its idle power is not known."""
    idle_w = number(meter.parameters, "idle_w")
    if idle_w is None:
        return None

    def net(window: Window) -> float | None:
        if window.energy_j is None:
            return None
        return (window.energy_j - idle_w * window.duration_s) / window.inferences

    return net


def _yardstick(evidence: Evidence, edition: Edition) -> dict[str, Estimate]:
    """Energy of each arm as a multiple of the yardstick's, both per inference."""
    windows = evidence.run("yardstick").windows
    values = [window.energy_j / window.inferences for window in windows if window.energy_j is not None]
    meter = evidence.header.meter
    if meter is None or len(values) < 2 or len(values) < len(windows):
        return {}
    yardstick = mean_interval(np.array(values, dtype=np.float64), edition.plan)
    estimates = {}
    for arm in ARMS:
        interval = arm_interval(evidence.run("main").last, arm, energy_per_inference, edition.plan)
        if interval is None:
            continue
        estimate = quotient_estimate(interval, yardstick, edition.plan.confidence, counted_level(meter))
        if estimate is not None:
            estimates[f"energy_yardstick_{arm}"] = estimate
    return estimates


def _durations(evidence: Evidence, edition: Edition) -> dict[str, Estimate]:
    main = evidence.run("main").last
    estimates = {}
    log_ratios = block_log_ratios(main, duration_per_inference)
    ratio = ratio_estimate(log_ratios, edition.plan, EvidenceLevel.DIRECT, edition.plan.pilot_blocks)
    if ratio is not None:
        estimates["duration_ratio"] = ratio
    batch = evidence.header.workload.batch
    if batch < 1:
        raise CertificateError(f"Evidence: the workload's batch should be at least 1, found {batch}.")
    for arm in ARMS:
        interval = arm_interval(main, arm, duration_per_inference, edition.plan)
        duration = mean_estimate(interval, "s", MEAN_METHOD, EvidenceLevel.DIRECT, lowest=0.0)
        if duration is None:
            continue
        estimates[f"duration_s_{arm}"] = duration
        estimates[f"throughput_per_s_{arm}"] = throughput_estimate(duration, batch)
    return estimates


def throughput_estimate(duration: Estimate, batch: int) -> Estimate:
    """Samples a second, from the seconds of an inference."""
    high = batch / duration.low if duration.low > 0 else float("inf")
    method = "batch over the mean time of an inference"
    return Estimate(batch / duration.value, batch / duration.high, high, "1/s", duration.n, method)


def latency_estimates(evidence: Evidence, edition: Edition) -> dict[str, Estimate]:
    """Quantiles of the single inferences of each model."""
    return {
        f"latency_{name}_s_{latencies.arm}": quantile_estimate(latencies.seconds, probability, edition.plan.confidence)
        for latencies in evidence.latencies
        if latencies.arm in ARMS and latencies.seconds
        for name, probability in QUANTILES.items()
    }


def mean_estimate(
    interval: MeanInterval | None, unit: str, method: str, level: EvidenceLevel, lowest: float = float("-inf")
) -> Estimate | None:
    """A mean as an estimate that does not reach below ``lowest``; None where there is none."""
    if interval is None:
        return None
    low = min(interval.mean, max(lowest, interval.mean - interval.half_width))
    return Estimate(interval.mean, low, interval.mean + interval.half_width, unit, interval.n, method, level)
