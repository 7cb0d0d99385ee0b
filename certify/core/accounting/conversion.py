"""Conversion of Rényi divergences to epsilon, over all releases."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from certify.core.accounting.mechanisms import ADJACENCIES, Adjacency, Mechanism, Rdp
from certify.core.errors import UsageError
from certify.core.suggest import unknown_name

ORDERS: tuple[int, ...] = (*range(2, 65), 72, 80, 96, 112, 128, 160, 192, 256, 384, 512)
"""Orders of the divergences. Fewer orders make epsilon larger, never too small."""


@dataclass(frozen=True)
class Spent:
    """Privacy cost of several releases together.

    Attributes:
        epsilon: in nats.
        delta: delta for which epsilon holds.
        order: order with the smallest bound.
    """

    epsilon: float
    delta: float
    order: int


def epsilon_from_rdp(orders: Sequence[int], rdp: Rdp, delta: float) -> Spent:
    """Convert divergences to epsilon at a delta.

    epsilon = rdp(a) + log((a - 1) / a) - (log delta + log a) / (a - 1), minimised over all orders (Canonne, Kamath and
    Steinke 2020, arXiv 2004.00010, proposition 12).

    Args:
        orders: orders greater than 1, (orders,).
        rdp: divergence at each order, in nats, (orders,).
        delta: in (0, 1).

    Raises:
        UsageError: delta is not in (0, 1).

    Example:
        >>> round(epsilon_from_rdp([2, 4, 8], np.array([0.1, 0.2, 0.4]), 1e-5).epsilon, 3)
        1.614
    """
    if not 0 < delta < 1:
        raise UsageError(f"The 'delta' of a budget must be in (0, 1), got {delta:g}.")
    a = np.array(orders, dtype=np.float64)
    bounds = rdp + np.log1p(-1 / a) - (math.log(delta) + np.log(a)) / (a - 1)
    # Each order gives a valid bound, so choosing the best one afterwards costs nothing.
    least = int(np.argmin(bounds))
    # The conversion can be negative for tiny divergences; epsilon cannot.
    return Spent(max(0.0, float(bounds[least])), delta, int(orders[least]))


def spent(releases: Iterable[tuple[Mechanism, int]], delta: float, adjacency: Adjacency) -> Spent:
    """Compose releases about the same data with their numbers of runs; trials and repetitions add up.

    Args:
        releases: mechanisms with the number of their runs.
        delta: in (0, 1).
        adjacency: definition of neighbouring data sets.

    Raises:
        UsageError: unknown adjacency, no releases, or a number out of range.

    Example:
        >>> from certify.core.accounting.mechanisms import SubsampledGaussian
        >>> round(spent([(SubsampledGaussian(1.5, 1 / 12, 480), 1)], 1e-5, "add-remove").epsilon, 4)
        7.2207
    """
    if adjacency not in ADJACENCIES:
        raise unknown_name("adjacency", adjacency, ADJACENCIES)
    total = np.zeros(len(ORDERS))
    listed = list(releases)
    if not listed:
        raise UsageError("There are no releases, so there is no epsilon to compute; give at least one mechanism.")
    for mechanism, runs in listed:
        if runs < 1:
            raise UsageError(f"The number of runs of a mechanism must be at least 1, got {runs}.")
        total = total + runs * mechanism.rdp(ORDERS, adjacency)
    return epsilon_from_rdp(ORDERS, total, delta)
