"""Interval for the mean of a short, possibly autocorrelated series, by batch means with a fixed correction.

Blocks that follow each other share what the machine was doing, so that the plain t interval on them is too narrow.
The series is cut into m batches of neighbours, and the interval is

    mean +- t(df) * sqrt(kappa * S2 / n),   S2 = sum_j n_j (batch mean_j - mean)^2 / (m - 1)

(batch means: Conway 1963; Schmeiser 1982). With ten blocks no batch is long enough to be independent of the next, so
S2 still falls short. kappa and df make up for what is missing, for a first-order autoregressive series with the
correlation that the edition assumes: kappa = n Var(mean) / E[S2], df = E[S2]^2 * 2 / Var(S2) (Satterthwaite 1946).
Both follow from the number of blocks alone, never from the data; with correlation 0 they are 1 and m - 1. Where the
blocks are independent the interval is wider than need be: the price of holding with ten correlated ones.

Where the number of blocks was itself fixed from the spread of the first of them, a lucky pilot ends the run early,
with too small an S2, and the interval h from all blocks covers too little. Stein's (1945) interval h1, which takes its
S2 from the pilot alone, covers as stated whatever the pilot was, and is far too wide after a long run. The pilot's p of
the n blocks are given their due:

    half-width^2 = (1 - p / n) h^2 + (p / n) max(h, h1)^2

By simulation (tests/benchmarks/coverage.py) that covers as stated for pilots of every luck and runs of every length.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from certify.core.measuring_rules import MeasuringRules

Series = NDArray[np.float64]


@dataclass(frozen=True)
class BatchRule:
    """What the interval takes from the number of values alone.

    Attributes:
        sizes: values in each batch, in order; they differ by at most one and sum to n.
        kappa: correction of the batch-means variance.
        degrees: degrees of freedom of t, rarely a whole number.
    """

    sizes: tuple[int, ...]
    kappa: float
    degrees: float


@dataclass(frozen=True)
class MeanInterval:
    """Mean of a series with its interval ``mean +- half_width``; ``n`` values stand behind it."""

    mean: float
    half_width: float
    standard_error: float
    degrees: float
    n: int
    batches: int


@functools.lru_cache(maxsize=256)
def batch_rule(n: int, batch_factor: float, autocorrelation: float) -> BatchRule:
    """Batches and corrections for n values.

    Args:
        n: number of values, at least 2.
        batch_factor: a batch holds the whole part of this times sqrt(n) values, at least one.
        autocorrelation: assumed between neighbouring values, 0 to below 1.

    Raises:
        ValueError: fewer than 2 values.
    """
    if n < 2:
        raise ValueError(f"an interval needs at least 2 values, got {n}")
    length = max(1, math.floor(batch_factor * math.sqrt(n)))
    batches = max(2, n // length)
    sizes = np.full(batches, n // batches)
    sizes[: n % batches] += 1
    covariance = _covariance_of_means(sizes, autocorrelation)
    variance_of_mean = float(sizes @ covariance @ sizes) / n**2
    # S2 is a quadratic form of the batch means; centred is its matrix times their covariance.
    centred = (np.diag(sizes) - np.outer(sizes, sizes) / n) @ covariance / (batches - 1)
    expected = float(np.trace(centred))
    degrees = expected**2 / float(np.trace(centred @ centred))
    return BatchRule(tuple(int(size) for size in sizes), n * variance_of_mean / expected, degrees)


def mean_interval(values: Series, rules: MeasuringRules, pilot: int | None = None) -> MeanInterval:
    """Two-sided interval for the mean of a series in the order of time.

    Args:
        values: (n,) at least 2.
        rules: gives confidence, batch length and assumed autocorrelation.
        pilot: how many of the first values fixed n; None where n was fixed without looking.

    Raises:
        ValueError: fewer than 2 values.
    """
    n = len(values)
    rule = batch_rule(n, rules.batch_factor, rules.assumed_autocorrelation)
    standard_error = math.sqrt(rule.kappa * float(batch_variance(values, rule)) / n)
    half_width = float(half_widths(values, rules, pilot))
    return MeanInterval(float(np.mean(values)), half_width, standard_error, rule.degrees, n, len(rule.sizes))


def half_widths(values: Series, rules: MeasuringRules, pilot: int | None = None) -> Series:
    """Half-widths of the intervals of many series at once: (..., n) to (...); see :func:`mean_interval`."""
    n = values.shape[-1]
    widths = _half_widths(values, n, rules)
    if pilot is None or not 2 <= pilot < n:
        return widths
    wider = np.maximum(widths, _half_widths(values[..., :pilot], n, rules))
    return np.asarray(np.sqrt((1 - pilot / n) * widths**2 + pilot / n * wider**2))


def _half_widths(values: Series, n: int, rules: MeasuringRules) -> Series:
    """Half-widths for the mean of n values, from the spread of these."""
    rule = batch_rule(values.shape[-1], rules.batch_factor, rules.assumed_autocorrelation)
    return t_quantile(rule.degrees, rules.confidence) * np.sqrt(rule.kappa * batch_variance(values, rule) / n)


def batch_variance(values: Series, rule: BatchRule) -> Series:
    """S2 of the module's formula: an estimate of n Var(mean), before kappa; (..., n) to (...)."""
    sizes = np.array(rule.sizes)
    starts = np.cumsum(sizes) - sizes
    means = np.add.reduceat(values, starts, axis=-1) / sizes
    deviations = means - np.mean(values, axis=-1, keepdims=True)
    return np.asarray(np.sum(sizes * deviations**2, axis=-1) / (len(sizes) - 1))


def t_quantile(degrees: float, confidence: float) -> float:
    """Upper quantile of Student's t for a two-sided interval."""
    return float(stdtrit(degrees, 0.5 + confidence / 2))


def _covariance_of_means(sizes: NDArray[np.int64], phi: float) -> Series:
    """Covariance of the batch means of an AR(1) series with variance 1, shape (m, m), in closed form."""
    ends = np.cumsum(sizes)
    starts = ends - sizes
    geometric = (1 - phi**sizes) / (1 - phi)
    # Steps from the last value of the earlier batch to the first of the later one.
    gap = np.maximum(starts[None, :] - ends[:, None] + 1, starts[:, None] - ends[None, :] + 1)
    between = np.power(phi, np.maximum(gap, 1)) * np.outer(geometric, geometric)
    within = np.array([size + 2 * sum((size - d) * phi**d for d in range(1, size)) for size in sizes.tolist()])
    sums = np.where(np.eye(len(sizes), dtype=bool), np.diag(within), between)
    return np.asarray(sums / np.outer(sizes, sizes), dtype=np.float64)
