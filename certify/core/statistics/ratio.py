"""Ratio of two arms from alternating windows: the paired log-ratio over ABBA and BAAB blocks.

In a block of four windows each arm runs twice and both run, on average, at the same time, so a linear drift cancels. A
block's log-ratio is the mean of log(quantity per inference) over the two windows of one arm minus that of the other;
their mean over all blocks, with its batch-means interval, gives the ratio and its interval after exp.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from certify.core.errors import CertificateError
from certify.core.estimate import Estimate, EvidenceLevel
from certify.core.evidence import Evidence
from certify.core.measuring_rules import MeasuringRules
from certify.core.statistics.batch_means import MeanInterval, Series, mean_interval, t_quantile
from certify.core.windows import LARGEST, Run, Window

Quantity = Callable[[Window], "float | None"]

RATIO_METHOD = "paired log-ratio over ABBA/BAAB blocks, batch-means t interval"
QUOTIENT_METHOD = "quotient of means, delta method on logarithms"


def energy_per_inference(window: Window) -> float | None:
    """Return the gross joules per inference; None without a reading."""
    return None if window.energy_j is None else window.energy_j / window.inferences


def duration_per_inference(window: Window) -> float | None:
    """Return the wall seconds per inference."""
    return window.duration_s / window.inferences


def check_windows(windows: Iterable[Window]) -> None:
    """Refuse windows with impossible values.

    Raises:
        CertificateError: a window without inferences, or with a time or an energy that is not a finite number.
    """
    for window in windows:
        times = (window.start_s, window.duration_s, window.cpu_s)
        energy_j = 0.0 if window.energy_j is None else window.energy_j
        place = f"window {window.run}/{window.attempt}/{window.block}/{window.position}"
        if window.inferences < 1 or window.duration_s <= 0:
            raise CertificateError(
                f"Evidence, {place}: a window must have at least one inference and a duration greater than 0 s."
            )
        if not all(abs(value) < LARGEST for value in (*times, energy_j)):
            raise CertificateError(f"Evidence, {place}: duration, CPU time or energy is not a plausible finite number.")


def block_log_ratios(
    run: Run,
    quantity: Quantity = energy_per_inference,
    candidate: str = "candidate",
    baseline: str = "baseline",
) -> Series | None:
    """Return the log-ratios candidate / baseline of the complete blocks of one run.

    Args:
        run: one attempt of the run.
        quantity: compared quantity, per inference.
        candidate: arm of the numerator.
        baseline: arm of the denominator.

    Returns:
        (blocks,) in time order, or None if a window of a complete block has no positive quantity: no window is dropped
        because of its value.
    """
    ratios = []
    for block in run.complete:
        if {candidate, baseline} != {window.arm for window in block.windows}:
            continue
        above = _mean_log(block.of(candidate), quantity)
        below = _mean_log(block.of(baseline), quantity)
        # Skipping only this block would let a maker remove a bad block by spoiling one reading.
        if above is None or below is None:
            return None
        ratios.append(above - below)
    return np.array(ratios, dtype=np.float64)


def _mean_log(windows: Sequence[Window], quantity: Quantity) -> float | None:
    values = [quantity(window) for window in windows]
    # The logarithm of each window, not of their sum: a slow window then has the same weight in both directions.
    logs = [math.log(value) for value in values if value is not None and value > 0]
    return sum(logs) / len(logs) if len(logs) == len(values) else None


def ratio_estimate(
    log_ratios: Series | None, rules: MeasuringRules, level: EvidenceLevel, pilot: int | None = None
) -> Estimate | None:
    """Return the ratio with its interval from the blocks' log-ratios; None with fewer than two blocks.

    Args:
        log_ratios: (blocks,) in time order.
        rules: confidence and batch rule.
        level: evidence level of the quantity.
        pilot: number of first blocks that determined the number of blocks, as in the main run; None if fixed in
            advance.
    """
    if log_ratios is None or len(log_ratios) < 2:
        return None
    interval = mean_interval(log_ratios, rules, pilot)
    low, high = _exp(interval.mean - interval.half_width), _exp(interval.mean + interval.half_width)
    return Estimate(_exp(interval.mean), low, high, "1", interval.n, RATIO_METHOD, level)


def energy_log_ratios(evidence: Evidence, run: str) -> Series | None:
    """Return the log-ratios of energy of the last attempt of the ``main`` run, or of the ``null`` run."""
    second = "baseline_again" if run == "null" else "candidate"
    return block_log_ratios(evidence.run(run).last, candidate=second)


def arm_means(run: Run, arm: str, quantity: Quantity) -> Series | None:
    """Return the mean quantity per inference of one arm in each complete block, (blocks,); None if any is missing."""
    means = []
    for block in run.complete:
        values = [quantity(window) for window in block.of(arm)]
        known = [value for value in values if value is not None]
        if len(known) < len(values):
            return None
        if known:
            means.append(sum(known) / len(known))
    return np.array(means, dtype=np.float64)


def arm_logs(run: Run, arm: str, quantity: Quantity) -> Series | None:
    """Return the logarithms of :func:`arm_means`, (blocks,); None if any is not positive."""
    means = arm_means(run, arm, quantity)
    return None if means is None or not np.all(means > 0) else np.log(means)


def quotient_estimate(
    above: MeanInterval, below: MeanInterval, confidence: float, level: EvidenceLevel
) -> Estimate | None:
    """Return the quotient of two independent means, by the delta method on logarithms with Welch-Satterthwaite degrees.

    Returns:
        The quotient, or None if a mean is not positive.
    """
    if above.mean <= 0 or below.mean <= 0:
        return None
    parts = [(side.standard_error / side.mean) ** 2 for side in (above, below)]
    variance = sum(parts)
    value = above.mean / below.mean
    factor = 1.0
    if variance > 0:
        degrees = variance**2 / (parts[0] ** 2 / above.degrees + parts[1] ** 2 / below.degrees)
        factor = _exp(t_quantile(degrees, confidence) * math.sqrt(variance))
    # The arms may differ by an incomplete block; the smaller number is the honest one.
    n = min(above.n, below.n)
    return Estimate(value, value / factor, value * factor, "1", n, QUOTIENT_METHOD, level)


def _exp(exponent: float) -> float:
    # math.exp raises above 709.78; an unbounded end is infinite, not an error.
    return math.exp(exponent) if exponent < 709 else math.inf
