"""Interval for the mean of a short, possibly autocorrelated series, by batch means with a fixed correction.

Consecutive blocks share the state of the machine, so the plain t interval on them is too narrow. The series is divided
into m batches of consecutive values, and the interval is

    mean +- t(df) * sqrt(kappa * S2 / n),   S2 = sum_j n_j (batch mean_j - mean)^2 / (m - 1)

(batch means: Conway 1963; Schmeiser 1982). With ten blocks no batch is long enough to be independent of the next, so S2
is still too small. kappa and df correct for this, for a first-order autoregressive series with the correlation assumed
by the edition: kappa = n Var(mean) / E[S2], df = E[S2]^2 * 2 / Var(S2) (Satterthwaite 1946). Both depend only on the
number of blocks, not on the data; with correlation 0 they are 1 and m - 1. If the blocks are independent the interval
is wider than necessary, which is the price of validity with ten correlated blocks.

If the number of blocks was itself fixed from the spread of the first blocks, a lucky pilot ends the run early, with too
small an S2, and the interval h from all blocks undercovers. Stein's (1945) interval h1, with S2 from the pilot alone,
has the stated coverage for any pilot, but is far too wide after a long run. With a pilot of p of the n blocks, the two
are combined:

    half-width^2 = (1 - p / n) h^2 + (p / n) max(h, h1)^2

By simulation (tests/benchmarks/coverage.py) this has the stated coverage for all pilots and lengths of runs.
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
    """Parameters of the interval that depend only on the number of values.

    Attributes:
        sizes: number of values in each batch, in order; they differ by at most one and sum to n.
        kappa: correction of the batch-means variance.
        degrees: degrees of freedom of t, rarely an integer.
    """

    sizes: tuple[int, ...]
    kappa: float
    degrees: float


@dataclass(frozen=True)
class MeanInterval:
    """Mean of a series with its interval ``mean +- half_width``, from ``n`` values."""

    mean: float
    half_width: float
    standard_error: float
    degrees: float
    n: int
    batches: int


@functools.lru_cache(maxsize=256)
def batch_rule(n: int, batch_factor: float, autocorrelation: float) -> BatchRule:
    """Return batches and corrections for n values.

    Args:
        n: number of values, at least 2.
        batch_factor: a batch has floor(batch_factor * sqrt(n)) values, at least one.
        autocorrelation: assumed correlation of consecutive values, in [0, 1).

    Raises:
        ValueError: fewer than 2 values.
    """
    if n < 2:
        raise ValueError(f"an interval must have at least 2 values, got {n}")
    length = max(1, math.floor(batch_factor * math.sqrt(n)))
    # One batch has no spread between batches, so there are at least two, however short.
    batches = max(2, n // length)
    sizes = np.full(batches, n // batches)
    # Every value counts: the remainder is spread over the first batches and not dropped.
    sizes[: n % batches] += 1
    covariance = _covariance_of_means(sizes, autocorrelation)
    variance_of_mean = float(sizes @ covariance @ sizes) / n**2
    # S2 is a quadratic form in the batch means; ``centred`` is its matrix times their covariance.
    centred = (np.diag(sizes) - np.outer(sizes, sizes) / n) @ covariance / (batches - 1)
    expected = float(np.trace(centred))
    degrees = expected**2 / float(np.trace(centred @ centred))
    return BatchRule(tuple(int(size) for size in sizes), n * variance_of_mean / expected, degrees)


def mean_interval(values: Series, rules: MeasuringRules, pilot: int | None = None) -> MeanInterval:
    """Return the two-sided interval for the mean of a time series.

    Args:
        values: (n,), at least 2.
        rules: confidence, batch length and assumed autocorrelation.
        pilot: number of first values that determined n; None if n was fixed in advance.

    Raises:
        ValueError: fewer than 2 values.
    """
    n = len(values)
    rule = batch_rule(n, rules.batch_factor, rules.assumed_autocorrelation)
    standard_error = math.sqrt(rule.kappa * float(batch_variance(values, rule)) / n)
    half_width = float(half_widths(values, rules, pilot))
    return MeanInterval(float(np.mean(values)), half_width, standard_error, rule.degrees, n, len(rule.sizes))


def half_widths(values: Series, rules: MeasuringRules, pilot: int | None = None) -> Series:
    """Return the half-widths of the intervals of many series at once: (..., n) to (...); see :func:`mean_interval`."""
    n = values.shape[-1]
    widths = _half_widths(values, n, rules)
    if pilot is None or not 2 <= pilot < n:
        return widths
    # The pilot's interval may only widen the result; a lucky, narrow pilot must not shorten it.
    wider = np.maximum(widths, _half_widths(values[..., :pilot], n, rules))
    return np.asarray(np.sqrt((1 - pilot / n) * widths**2 + pilot / n * wider**2))


def _half_widths(values: Series, n: int, rules: MeasuringRules) -> Series:
    """Return half-widths for the mean of n values, from the spread of ``values``."""
    rule = batch_rule(values.shape[-1], rules.batch_factor, rules.assumed_autocorrelation)
    return t_quantile(rule.degrees, rules.confidence) * np.sqrt(rule.kappa * batch_variance(values, rule) / n)


def batch_variance(values: Series, rule: BatchRule) -> Series:
    """Return S2 of the module's formula: an estimate of n Var(mean), before kappa; (..., n) to (...)."""
    sizes = np.array(rule.sizes)
    starts = np.cumsum(sizes) - sizes
    # reduceat handles batches of unequal length in one pass, for any number of series at once.
    means = np.add.reduceat(values, starts, axis=-1) / sizes
    # The mean of all values, not of the batch means, which differ if batches are unequal.
    deviations = means - np.mean(values, axis=-1, keepdims=True)
    return np.asarray(np.sum(sizes * deviations**2, axis=-1) / (len(sizes) - 1))


def t_quantile(degrees: float, confidence: float) -> float:
    """Return the upper quantile of Student's t for a two-sided interval."""
    # scipy.stats.t.ppf gives the same, but importing scipy.stats takes a second; fractional degrees are allowed.
    return float(stdtrit(degrees, 0.5 + confidence / 2))


def _covariance_of_means(sizes: NDArray[np.int64], phi: float) -> Series:
    """Return the covariance of the batch means of an AR(1) series with variance 1, (m, m), in closed form."""
    ends = np.cumsum(sizes)
    starts = ends - sizes
    geometric = (1 - phi**sizes) / (1 - phi)
    # Lag from the last value of the earlier batch to the first of the later one.
    gap = np.maximum(starts[None, :] - ends[:, None] + 1, starts[:, None] - ends[None, :] + 1)
    between = np.power(phi, np.maximum(gap, 1)) * np.outer(geometric, geometric)
    within = np.array([size + 2 * sum((size - d) * phi**d for d in range(1, size)) for size in sizes.tolist()])
    sums = np.where(np.eye(len(sizes), dtype=bool), np.diag(within), between)
    return np.asarray(sums / np.outer(sizes, sizes), dtype=np.float64)
