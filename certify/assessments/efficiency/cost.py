"""Running cost of the models: energy, time, latency, and multiples of the yardstick."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.figures import Figures
from certify.assessments.efficiency.known_meters import counted_level
from certify.core.errors import CertificateError
from certify.core.estimate import Estimate, EvidenceLevel
from certify.core.evidence import ARMS, DEFAULT_RUNTIME, Evidence, MeterFacts
from certify.core.observation import number
from certify.core.run_observations import RuntimeChoice
from certify.core.statistics.batch_means import MeanInterval, mean_interval
from certify.core.statistics.quantiles import quantile_estimate
from certify.core.statistics.ratio import (
    Quantity,
    arm_logs,
    arm_means,
    block_log_ratios,
    duration_per_inference,
    energy_log_ratios,
    energy_per_inference,
    quotient_estimate,
    ratio_estimate,
)
from certify.core.windows import Window

QUANTILES = {Figures.latency_p50_s: 0.5, Figures.latency_p90_s: 0.9, Figures.latency_p99_s: 0.99}
MEAN_METHOD = "mean of block means, batch-means t interval"
NULL_METHOD = "half-width of the null run's interval"
PAIRS_METHOD = "half-width of the ratio's interval between consecutive blocks"


def cost_estimates(evidence: Evidence, edition: Edition) -> dict[str, Estimate]:
    """Return all estimates of energy and time for which the evidence has records.

    Raises:
        CertificateError: the meter's evidence level is unknown.
    """
    energy = _energy(evidence, edition)
    return {
        **energy,
        **_savings(evidence, energy.get(Figures.energy_ratio), edition),
        **_smallest_difference(energy.get(Figures.null_ratio), evidence, edition),
        **_durations(evidence, edition),
        **_latencies(evidence, edition),
    }


def _energy(evidence: Evidence, edition: Edition) -> dict[str, Estimate]:
    """Return the joules of each arm and their ratio, also as multiples of the yardstick's, both per inference."""
    meter = evidence.header.meter
    if meter is None:
        return {}
    level = counted_level(meter)
    ratio = ratio_estimate(energy_log_ratios(evidence, "main"), edition.plan, level, edition.plan.pilot_blocks)
    # No pilot blocks, because the number of blocks of a null run is fixed in advance.
    null = ratio_estimate(energy_log_ratios(evidence, "null"), edition.plan, level)
    found: dict[str, Estimate | None] = {Figures.energy_ratio: ratio, Figures.null_ratio: null}
    # An error of the meter's scale cancels in the ratio but not in joules, so only the joules mention it.
    own, net, yardstick = _own_accuracy(meter), _net_of_idle(meter), _yardstick(evidence, edition)
    for arm in evidence.arms:
        joules = _interval(evidence, arm, energy_per_inference, edition)
        found[Figures.energy_j(arm)] = _mean(joules, "J", MEAN_METHOD + own, level, lowest=0.0)
        if net is not None and evidence.compares:
            above_idle = _interval(evidence, arm, net, edition)
            found[Figures.energy_net_j(arm)] = _mean(above_idle, "J", f"{MEAN_METHOD}, minus idle power{own}", level)
        if joules is not None and yardstick is not None:
            multiple = quotient_estimate(joules, yardstick, edition.plan.confidence, level)
            found[Figures.energy_yardstick(arm)] = multiple
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def _savings(evidence: Evidence, ratio: Estimate | None, edition: Edition) -> dict[str, Estimate]:
    """Return the baseline's saving by a better runtime, and compression's further saving, if runtimes were chosen."""
    if ratio is None or evidence.observed(RuntimeChoice) is None:
        return {}
    found = {Figures.compression_saving: _saving(ratio)}
    logs = block_log_ratios(evidence.run("runtime").last, candidate="baseline", baseline="baseline_default")
    against_default = ratio_estimate(logs, edition.plan, ratio.evidence)
    if evidence.header.workload.runtime == DEFAULT_RUNTIME:
        found[Figures.runtime_saving] = Estimate.exact(0.0, "1", "the default runtime was the cheapest one tried")
    elif against_default is not None:
        found[Figures.runtime_saving] = _saving(against_default)
    return found


def _saving(ratio: Estimate) -> Estimate:
    """Return the share saved at a ratio."""
    # The ends swap: the largest saving belongs to the lowest ratio.
    return replace(ratio, value=1 - ratio.value, low=1 - ratio.high, high=1 - ratio.low)


def _smallest_difference(null: Estimate | None, evidence: Evidence, edition: Edition) -> dict[str, Estimate]:
    """Return the smallest difference detectable on this machine; for a single model, from its own blocks."""
    ratio, method = (null, NULL_METHOD) if evidence.compares else (_between_blocks(evidence, edition), PAIRS_METHOD)
    if ratio is None:
        return {}
    half_width = Estimate.exact((ratio.high - ratio.low) / 2, "1", method)
    return {Figures.smallest_detectable_saving: replace(half_width, n=ratio.n, evidence=ratio.evidence)}


def _between_blocks(evidence: Evidence, edition: Edition) -> Estimate | None:
    """Return the ratio between consecutive blocks of a single model, taken in pairs."""
    meter = evidence.header.meter
    level = EvidenceLevel.DIRECT if meter is None else counted_level(meter)
    quantity = duration_per_inference if meter is None else energy_per_inference
    logs = arm_logs(evidence.run("main").last, evidence.arms[0], quantity)
    if logs is None:
        return None
    # Disjoint pairs: overlapping ones would share blocks, and their ratios would be correlated.
    paired = len(logs) // 2 * 2
    return ratio_estimate(logs[1:paired:2] - logs[0:paired:2], edition.plan, level)


def _interval(evidence: Evidence, arm: str, quantity: Quantity, edition: Edition) -> MeanInterval | None:
    """Return an arm's mean of a quantity per inference; None with fewer than two blocks or a window without it."""
    means = arm_means(evidence.run("main").last, arm, quantity)
    # For a single model, the pilot fixed the number of blocks from these means; for a comparison, from the ratio.
    pilot = None if evidence.compares else edition.plan.pilot_blocks
    return None if means is None or len(means) < 2 else mean_interval(means, edition.plan, pilot)


def _own_accuracy(meter: MeterFacts) -> str:
    """Return the part of a method about the meter's own accuracy; empty if its maker states none."""
    error = meter.relative_error
    return "" if error is None else f"; the meter's own accuracy (x or / {error:g}) is not in the interval"


def _net_of_idle(meter: MeterFacts) -> Quantity | None:
    """Return the joules per inference above idle power; None if the idle power is unknown."""
    idle_w = number(meter.parameters, "idle_w")
    if idle_w is None:
        return None

    def net(window: Window) -> float | None:
        if window.energy_j is None:
            return None
        return (window.energy_j - idle_w * window.duration_s) / window.inferences

    return net


def _yardstick(evidence: Evidence, edition: Edition) -> MeanInterval | None:
    """Return joules per inference of the yardstick; None with fewer than two windows or an unread one."""
    values = [energy_per_inference(window) for window in evidence.run("yardstick").windows]
    known = [value for value in values if value is not None]
    # One unread window may be the slowest one, so the rest is not a fair sample.
    if len(known) < 2 or len(known) < len(values):
        return None
    return mean_interval(np.array(known, dtype=np.float64), edition.plan)


def _durations(evidence: Evidence, edition: Edition) -> dict[str, Estimate]:
    estimates = {}
    log_ratios = block_log_ratios(evidence.run("main").last, duration_per_inference)
    ratio = ratio_estimate(log_ratios, edition.plan, EvidenceLevel.DIRECT, edition.plan.pilot_blocks)
    if ratio is not None:
        estimates[Figures.duration_ratio] = ratio
    batch = evidence.header.workload.batch
    if batch < 1:
        raise CertificateError(f"Evidence: the workload's batch must be at least 1, got {batch}.")
    for arm in evidence.arms:
        interval = _interval(evidence, arm, duration_per_inference, edition)
        duration = _mean(interval, "s", MEAN_METHOD, EvidenceLevel.DIRECT, lowest=0.0)
        if duration is None:
            continue
        estimates[Figures.duration_s(arm)] = duration
        estimates[Figures.throughput_per_s(arm)] = _throughput(duration, batch)
    return estimates


def _throughput(duration: Estimate, batch: int) -> Estimate:
    """Return samples per second, from seconds per inference."""
    # The ends swap, because throughput falls with duration.
    high = batch / duration.low if duration.low > 0 else float("inf")
    method = "batch size over mean time per inference"
    return Estimate(batch / duration.value, batch / duration.high, high, "1/s", duration.n, method)


def _latencies(evidence: Evidence, edition: Edition) -> dict[str, Estimate]:
    """Return quantiles of each model's single-inference latencies."""
    return {
        name(latencies.arm): quantile_estimate(latencies.seconds, probability, edition.plan.confidence)
        for latencies in evidence.latencies
        if latencies.arm in ARMS and latencies.seconds
        for name, probability in QUANTILES.items()
    }


def _mean(
    interval: MeanInterval | None, unit: str, method: str, level: EvidenceLevel, lowest: float = float("-inf")
) -> Estimate | None:
    """Return a mean as an estimate bounded below by ``lowest``; None if there is no interval."""
    if interval is None:
        return None
    # Joules and seconds cannot be negative, even if the interval of few blocks is; the value itself stays inside.
    low = min(interval.mean, max(lowest, interval.mean - interval.half_width))
    return Estimate(interval.mean, low, interval.mean + interval.half_width, unit, interval.n, method, level)
