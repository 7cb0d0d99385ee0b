"""What the models cost to run: energy, time, latency, and multiples of the yardstick."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from certify.assessments.efficiency.edition import Edition
from certify.assessments.efficiency.figures import Figures
from certify.assessments.efficiency.known_meters import counted_level
from certify.core.errors import CertificateError
from certify.core.estimate import Estimate, EvidenceLevel
from certify.core.evidence import ARMS, DEFAULT_RUNTIME, Evidence, MeterFacts
from certify.core.observed import number
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
PAIRS_METHOD = "half-width of the ratio's interval between blocks that follow each other"


def cost_estimates(evidence: Evidence, edition: Edition) -> dict[str, Estimate]:
    """All estimates of energy and time that the evidence has the records for.

    Raises:
        CertificateError: the meter's level is none of the known ones.
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
    """Joules of each arm and their ratio, also as multiples of the yardstick's, both per inference."""
    meter = evidence.header.meter
    if meter is None:
        return {}
    level = counted_level(meter)
    ratio = ratio_estimate(energy_log_ratios(evidence, "main"), edition.plan, level, edition.plan.pilot_blocks)
    null = ratio_estimate(energy_log_ratios(evidence, "null"), edition.plan, level)
    found: dict[str, Estimate | None] = {Figures.energy_ratio: ratio, Figures.null_ratio: null}
    own, net, yardstick = _own_accuracy(meter), _net_of_idle(meter), _yardstick(evidence, edition)
    for arm in evidence.arms:
        joules = _interval(evidence, arm, energy_per_inference, edition)
        found[Figures.energy_j(arm)] = _mean(joules, "J", MEAN_METHOD + own, level, lowest=0.0)
        if net is not None and evidence.compares:
            above_idle = _interval(evidence, arm, net, edition)
            found[Figures.energy_net_j(arm)] = _mean(above_idle, "J", f"{MEAN_METHOD}, less idle power{own}", level)
        if joules is not None and yardstick is not None:
            multiple = quotient_estimate(joules, yardstick, edition.plan.confidence, level)
            found[Figures.energy_yardstick(arm)] = multiple
    return {name: estimate for name, estimate in found.items() if estimate is not None}


def _savings(evidence: Evidence, ratio: Estimate | None, edition: Edition) -> dict[str, Estimate]:
    """Where runtimes were chosen: what the untouched original saves by a better one, and what compression adds."""
    if ratio is None or evidence.observed(RuntimeChoice) is None:
        return {}
    found = {Figures.compression_saving: _saving(ratio)}
    logs = block_log_ratios(evidence.run("runtime").last, candidate="baseline", baseline="baseline_default")
    against_default = ratio_estimate(logs, edition.plan, ratio.evidence)
    if evidence.header.workload.runtime == DEFAULT_RUNTIME:
        found[Figures.runtime_saving] = Estimate.exact(0.0, "1", "the default runtime was the cheapest that was tried")
    elif against_default is not None:
        found[Figures.runtime_saving] = _saving(against_default)
    return found


def _saving(ratio: Estimate) -> Estimate:
    """The share that a ratio leaves."""
    return replace(ratio, value=1 - ratio.value, low=1 - ratio.high, high=1 - ratio.low)


def _smallest_difference(null: Estimate | None, evidence: Evidence, edition: Edition) -> dict[str, Estimate]:
    """What this machine could tell apart: of a model alone, as if it had been compared with itself in its blocks."""
    ratio, method = (null, NULL_METHOD) if evidence.compares else (_between_blocks(evidence, edition), PAIRS_METHOD)
    if ratio is None:
        return {}
    half_width = Estimate.exact((ratio.high - ratio.low) / 2, "1", method)
    return {Figures.smallest_detectable_saving: replace(half_width, n=ratio.n, evidence=ratio.evidence)}


def _between_blocks(evidence: Evidence, edition: Edition) -> Estimate | None:
    """Ratio between blocks of a model alone that follow each other, taken in pairs."""
    meter = evidence.header.meter
    level = EvidenceLevel.DIRECT if meter is None else counted_level(meter)
    quantity = duration_per_inference if meter is None else energy_per_inference
    logs = arm_logs(evidence.run("main").last, evidence.arms[0], quantity)
    if logs is None:
        return None
    paired = len(logs) // 2 * 2
    return ratio_estimate(logs[1:paired:2] - logs[0:paired:2], edition.plan, level)


def _interval(evidence: Evidence, arm: str, quantity: Quantity, edition: Edition) -> MeanInterval | None:
    """Mean of a quantity per inference of one arm; None with fewer than two blocks, or where a window has none."""
    means = arm_means(evidence.run("main").last, arm, quantity)
    # The pilot of a model alone fixed the number of blocks by these means; that of a comparison did so by the ratio.
    pilot = None if evidence.compares else edition.plan.pilot_blocks
    return None if means is None or len(means) < 2 else mean_interval(means, edition.plan, pilot)


def _own_accuracy(meter: MeterFacts) -> str:
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


def _yardstick(evidence: Evidence, edition: Edition) -> MeanInterval | None:
    """Joules of an inference of the yardstick; None with fewer than two windows of it, or one that was not read."""
    values = [energy_per_inference(window) for window in evidence.run("yardstick").windows]
    known = [value for value in values if value is not None]
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
        raise CertificateError(f"Evidence: the workload's batch should be at least 1, found {batch}.")
    for arm in evidence.arms:
        interval = _interval(evidence, arm, duration_per_inference, edition)
        duration = _mean(interval, "s", MEAN_METHOD, EvidenceLevel.DIRECT, lowest=0.0)
        if duration is None:
            continue
        estimates[Figures.duration_s(arm)] = duration
        estimates[Figures.throughput_per_s(arm)] = _throughput(duration, batch)
    return estimates


def _throughput(duration: Estimate, batch: int) -> Estimate:
    """Samples a second, from the seconds of an inference."""
    high = batch / duration.low if duration.low > 0 else float("inf")
    method = "batch over the mean time of an inference"
    return Estimate(batch / duration.value, batch / duration.high, high, "1/s", duration.n, method)


def _latencies(evidence: Evidence, edition: Edition) -> dict[str, Estimate]:
    """Quantiles of the single inferences of each model."""
    return {
        name(latencies.arm): quantile_estimate(latencies.seconds, probability, edition.plan.confidence)
        for latencies in evidence.latencies
        if latencies.arm in ARMS and latencies.seconds
        for name, probability in QUANTILES.items()
    }


def _mean(
    interval: MeanInterval | None, unit: str, method: str, level: EvidenceLevel, lowest: float = float("-inf")
) -> Estimate | None:
    """A mean as an estimate that does not reach below ``lowest``; None where there is none."""
    if interval is None:
        return None
    low = min(interval.mean, max(lowest, interval.mean - interval.half_width))
    return Estimate(interval.mean, low, interval.mean + interval.half_width, unit, interval.n, method, level)
