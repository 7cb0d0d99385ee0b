"""The range of an activation from its observed values.

Every range contains 0, so that padding and the zeros after a ReLU are exact. Percentile cuts off the tails; entropy is
the search of Migacz 2017 ("8-bit Inference with TensorRT", GTC) for the threshold whose 8-bit histogram loses the least
information; MSE takes the range with the least expected squared error, including clipping (as in Nagel et al. 2021,
arXiv 2106.08295, section 3.1).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from compress.quantization.post_training.histogram import SIDE, Histogram

Calibration = Literal["minmax", "percentile", "entropy", "mse"]

LEVELS = 256
THRESHOLDS = 96
"""Number of thresholds that entropy and MSE try, from an eighth of the range to the whole."""
SMALLEST_SHARE = 1 / 8


@dataclass(frozen=True)
class ValueStatistics:
    """Observed values of one tensor of the graph.

    Attributes:
        low: smallest value.
        high: largest value.
        histogram: histogram of a subset of the values; None if only the ends were recorded.
    """

    low: float
    high: float
    histogram: Histogram | None = None


def value_range(seen: ValueStatistics, calibration: Calibration, percentile: float = 99.99) -> tuple[float, float]:
    """Return the low and high end of the range over which 8 bits are spread; 0 lies inside.

    Args:
        seen: the ends and, for everything except minmax, the histogram.
        calibration: method.
        percentile: share of the values inside, in %; the rest is divided between both tails.

    Example:
        >>> value_range(ValueStatistics(0.5, 2.0), "minmax")
        (0.0, 2.0)
    """
    # 0 must be exact: padding and ReLU produce it, and an error there would be added everywhere.
    low, high = min(seen.low, 0.0), max(seen.high, 0.0)
    histogram = seen.histogram
    if calibration == "minmax" or histogram is None or not histogram.width:
        return low, high
    if calibration == "percentile":
        found = _percentile(histogram, percentile, one_sided=low == 0.0 or high == 0.0)
    elif calibration == "entropy":
        threshold = _entropy(histogram, one_sided=low == 0.0 or high == 0.0)
        found = -threshold, threshold
    else:
        found = _least_error(histogram, low, high)
    return min(max(low, found[0]), 0.0), max(min(high, found[1]), 0.0)


def _percentile(histogram: Histogram, percentile: float, *, one_sided: bool) -> tuple[float, float]:
    # A one-sided range has only one tail to cut.
    outside = (1 - percentile / 100) / (1 if one_sided else 2)
    total = histogram.total
    below = np.concatenate([[0], np.cumsum(histogram.counts)])
    # The bin that contains the quantile belongs to the range, hence the outer edge on each side.
    low = int(np.searchsorted(below, outside * total, side="right")) - 1
    high = int(np.searchsorted(below, total - outside * total, side="left"))
    edges = histogram.edges
    return float(edges[max(low, 0)]), float(edges[min(high, 2 * SIDE)])


def _entropy(histogram: Histogram, *, one_sided: bool) -> float:
    """Return the threshold on absolute values with the least divergence between its histogram and the 8-bit one."""
    # Fold both sides onto absolute values, because the threshold is symmetric.
    sizes = histogram.counts[SIDE:] + histogram.counts[SIDE - 1 :: -1]
    sizes[0] = sizes[1]  # zeros are exact under any threshold, and their number would dominate
    used = int(np.flatnonzero(sizes).max(initial=0)) + 1
    levels = LEVELS if one_sided else LEVELS // 2
    # With fewer bins than codes nothing is lost, and the divergence below would be undefined.
    if used <= levels:
        return used * histogram.width
    # Fewer bins than levels would always win, because they are represented exactly.
    first = max(levels, int(used * SMALLEST_SHARE))
    tried = np.unique(np.linspace(first, used, THRESHOLDS).astype(int))
    losses = [_divergence(sizes[:used].astype(np.float64), int(stop), levels) for stop in tried]
    return float(tried[int(np.argmin(losses))]) * histogram.width


def _divergence(sizes: npt.NDArray[np.float64], stop: int, levels: int) -> float:
    """Return the Kullback-Leibler divergence between a clipped histogram and its version with fewer levels."""
    inside = sizes[:stop]
    wanted = inside.copy()
    wanted[-1] += sizes[stop:].sum()  # clipped values get the last level
    # Integer division spreads a length that is no multiple of the levels evenly, without gaps.
    begins = (np.arange(levels) * stop) // levels
    filled = (inside > 0).astype(np.float64)
    # Mean over bins that had values only: an empty bin must stay empty after rounding.
    means = np.add.reduceat(inside, begins) / np.maximum(np.add.reduceat(filled, begins), 1)
    found = np.repeat(means, np.diff([*begins, stop])) * filled
    some = wanted > 0
    p = wanted[some] / wanted.sum()
    q = np.maximum(found[some] / max(found.sum(), 1.0), 1e-9)  # an empty level is not impossible
    return float((p * np.log(p / q)).sum())


def _least_error(histogram: Histogram, low: float, high: float) -> tuple[float, float]:
    """Return the range with the least expected squared error: both ends shrink together, then each separately."""
    kept = histogram.counts > 0
    values, counts = histogram.centres[kept], histogram.counts[kept]
    shares = np.linspace(SMALLEST_SHARE, 1, THRESHOLDS)

    def best(pairs: npt.NDArray[Any]) -> tuple[float, float]:
        errors = [_expected_error(values, counts, float(a), float(b)) for a, b in pairs]
        a, b = pairs[int(np.argmin(errors))]
        return float(a), float(b)

    low, high = best(np.stack([low * shares, high * shares], axis=1))
    # One-sided ranges have nothing left to search: their other end is 0.
    if low < 0.0 < high:
        low, high = best(np.stack([low * shares, np.full_like(shares, high)], axis=1))
        low, high = best(np.stack([np.full_like(shares, low), high * shares], axis=1))
    return low, high


def _expected_error(values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64], low: float, high: float) -> float:
    scale = (high - low) / (LEVELS - 1)
    if scale == 0.0:
        return float((counts * values**2).sum())
    # The zero point is an integer code, so the range that is used differs slightly from the one asked for.
    zero = np.round(-low / scale)
    codes = np.clip(np.round(values / scale) + zero, 0, LEVELS - 1)
    return float((counts * (values - (codes - zero) * scale) ** 2).sum())
