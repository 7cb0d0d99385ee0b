"""Interval for the mean of a short, possibly autocorrelated series, by batch means with a fixed correction.

Blocks that follow each other share what the machine was doing, so that the plain t interval on them is too narrow.
The series is cut into m batches of neighbours, and the interval is

    mean +- t(df) * sqrt(kappa * S2 / n),   S2 = sum_j n_j (batch mean_j - mean)^2 / (m - 1)

(batch means: Conway 1963; Schmeiser 1982). With ten blocks no batch is long enough to be independent of the next, so
S2 still falls short. kappa and df make up for what is missing, for a first-order autoregressive series with the
correlation that the edition assumes: kappa = n Var(mean) / E[S2], df = E[S2]^2 * 2 / Var(S2) (Satterthwaite 1946).
Both follow from the number of blocks alone, never from the data; with correlation 0 they are 1 and m - 1. Where the
blocks are independent the interval is wider than need be: the price of holding with ten correlated ones.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from certify.judge.edition import Edition

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


def mean_interval(values: Series, edition: Edition) -> MeanInterval:
    """Two-sided interval for the mean of a series in the order of time.

    Args:
        values: (n,) at least 2.
        edition: gives confidence, batch length and assumed autocorrelation.

    Raises:
        ValueError: fewer than 2 values.
    """
    n = len(values)
    rule = batch_rule(n, edition.batch_factor, edition.assumed_autocorrelation)
    mean = float(np.mean(values))
    standard_error = math.sqrt(rule.kappa * batch_variance(values, rule) / n)
    half_width = t_quantile(rule.degrees, edition.confidence) * standard_error
    return MeanInterval(mean, half_width, standard_error, rule.degrees, n, len(rule.sizes))


def batch_variance(values: Series, rule: BatchRule) -> float:
    """S2 of the module's formula: an estimate of n Var(mean), before kappa."""
    sizes = np.array(rule.sizes)
    starts = np.cumsum(sizes) - sizes
    means = np.add.reduceat(values, starts) / sizes
    return float(np.sum(sizes * (means - np.mean(values)) ** 2) / (len(sizes) - 1))


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
