"""Products and ratios of measured costs."""

from __future__ import annotations

import math
from dataclasses import replace

from certify.core.estimate import Estimate


def ratio(first: Estimate, second: Estimate) -> Estimate:
    """Return the ratio of two positive estimates, with relative errors added in quadrature.

    Example:
        >>> ratio(Estimate.exact(2.0, "s", "count"), Estimate.exact(4.0, "s", "count")).value
        0.5
    """
    value = first.value / second.value
    return _with_error(value, first, second)


def product(first: Estimate, second: Estimate) -> Estimate:
    """Return the product of two positive estimates, with relative errors added in quadrature; unit of the first.

    Example:
        >>> product(Estimate.exact(2.0, "s", "count"), Estimate.exact(0.5, "1", "count")).value
        1.0
    """
    return replace(_with_error(first.value * second.value, first, second), unit=first.unit)


def _with_error(value: float, first: Estimate, second: Estimate) -> Estimate:
    parts = [max(e.high - e.value, e.value - e.low) / e.value for e in (first, second) if e.value]
    half = value * math.hypot(*parts)
    weakest = max((first.evidence, second.evidence), key=lambda level: level.rank)
    # An exact factor rests on no samples.
    n = min((each.n for each in (first, second) if each.low < each.high), default=first.n)
    return Estimate(value, max(0.0, value - half), value + half, "1", n, first.method, weakest)
