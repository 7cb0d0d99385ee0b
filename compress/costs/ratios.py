"""Shares and products of measured costs."""

from __future__ import annotations

import math
from dataclasses import replace

from certify.core.estimate import Estimate
from compress.core.timing import median_ratio
from compress.costs.cost_table import Quantity
from compress.costs.timing import Cost

SHARE_METHOD = "median ratio of windows that took turns"


def share_of(cost: Cost, whole: Cost, quantity: Quantity) -> Estimate:
    """Return one of two costs, measured in turn, as a share of the other.

    Other load on the machine slows down some files more than others. A certificate's ratio includes that, and a ratio
    of two low quantiles does not, so this is the median of the ratios of windows of the same round.

    Raises:
        ValueError: energy is requested, but a window has no joules.

    Example:
        >>> one, two = (Cost(Estimate.exact(s, "s", "count"), None, (s, 2 * s, 3 * s)) for s in (1.0, 2.0))
        >>> share_of(one, two, "latency").value
        0.5
    """
    first, second = (each.windows_j if quantity == "energy" else each.windows_s for each in (cost, whole))
    estimate = cost.energy_j if quantity == "energy" else cost.duration_s
    if estimate is None or len(first) != len(second):
        raise ValueError("a meter that reported joules stopped reporting them")
    return replace(median_ratio(first, second, SHARE_METHOD), evidence=estimate.evidence)


def product(first: Estimate, second: Estimate) -> Estimate:
    """Return the product of two positive estimates, with relative errors added in quadrature; unit of the first.

    Example:
        >>> product(Estimate.exact(2.0, "s", "count"), Estimate.exact(0.5, "1", "count")).value
        1.0
    """
    value = first.value * second.value
    parts = [max(e.high - e.value, e.value - e.low) / e.value for e in (first, second) if e.value]
    half = value * math.hypot(*parts)
    weakest = max((first.evidence, second.evidence), key=lambda level: level.rank)
    # An exact factor rests on no samples.
    n = min((each.n for each in (first, second) if each.low < each.high), default=first.n)
    return Estimate(value, max(0.0, value - half), value + half, first.unit, n, first.method, weakest)
