"""Arithmetic of the comparison: ranges of windows, verdicts against a peer, and noise that forbids times. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from certify.core.statistics.gaps import Bounded, rate
from certify.core.statistics.proportions import PairedTable, difference_interval

CLOSE = 1.05
"""Ratio up to which two times count as level: identical files have differed by as much from window to window."""
CHEAP = 1.2
"""Ratio to the best peer up to which making time and peak memory count as level."""
QUIET_CORES = 0.10
"""Cores that other processes may use, on average over the windows of a file; with more, times are refused."""
CONFIDENCE = 0.95

FIRST, LEVEL, BEHIND = "first", "level", "behind"
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Range:
    """Median and extremes of the windows of a file."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Range:
        """Summarise at least one value.

        Example:
            >>> Range.of([3.0, 1.0, 2.0])
            Range(median=2.0, low=1.0, high=3.0)
        """
        return cls(statistics.median(values), min(values), max(values))

    def overlaps(self, other: Range) -> bool:
        """Return whether the two ranges share a value."""
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True)
class Verdict:
    """Place of the own file beside one peer's.

    Attributes:
        word: ``first``, ``level`` or ``behind``.
        by: own over peer's for costs, own minus peer's for shares.
    """

    word: str
    by: float


def cost_verdict(own: Range, peer: Range, close: float = CLOSE) -> Verdict:
    """Compare two costs: first if not greater, level if the ranges overlap or the ratio is within ``close``.

    Example:
        >>> cost_verdict(Range(1.04, 1.03, 1.05), Range(1.0, 0.99, 1.01)).word
        'level'
    """
    ratio = own.median / peer.median
    if ratio <= 1:
        return Verdict(FIRST, ratio)
    return Verdict(LEVEL if own.overlaps(peer) or ratio <= close else BEHIND, ratio)


def share_verdict(own: Flags, peer: Flags) -> Verdict:
    """Compare shares of the same samples: level if Tango's interval of the paired difference holds 0.

    Args:
        own: which samples count for the own file, (n,).
        peer: which count for the peer's, (n,).
    """
    table = PairedTable.from_correct(peer, own)
    difference = (table.candidate - table.baseline) / table.n
    if difference >= 0:
        return Verdict(FIRST, difference)
    return Verdict(LEVEL if difference_interval(table, CONFIDENCE).high >= 0 else BEHIND, difference)


def share(flags: Flags) -> Bounded:
    """Return a share of samples with Wilson's interval."""
    return rate(int(flags.sum()), len(flags), CONFIDENCE)


def exactly(value: float) -> Range:
    """Return the range of a figure that is known without windows.

    Example:
        >>> cost_verdict(exactly(11.0), exactly(10.0), CHEAP).word
        'level'
    """
    return Range(value, value, value)


def foreign_cores(shares: Sequence[float | None], processors: int) -> float | None:
    """Return the cores that other processes used on average, from their shares of all processors in equal windows.

    Returns:
        None if a share is unknown: an unknown neighbour is not a quiet one.

    Example:
        >>> foreign_cores([0.1, 0.3], 2)
        0.4
    """
    known = [part for part in shares if part is not None]
    return None if not known or len(known) < len(shares) else statistics.fmean(known) * processors


def refusal(cores: Sequence[float | None]) -> str | None:
    """Return why the times of some files cannot be compared, or None.

    Args:
        cores: for each file, the cores that other processes used in its windows.
    """
    if any(used is None for used in cores):
        return "what other processes used is not known"
    most = max(used for used in cores if used is not None)
    if most > QUIET_CORES:
        return f"other processes used {most:.2f} of a core (limit {QUIET_CORES:.2f})"
    return None


def gops(macs: int, batch: int, milliseconds: float) -> float:
    """Return the rate of an inference in 10^9 operations per second, two for each multiply-add.

    Example:
        >>> gops(500_000_000, 1, 10.0)
        100.0
    """
    return 2 * macs * batch / (milliseconds * 1e-3) / 1e9
