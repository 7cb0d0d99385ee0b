"""Number of blocks of the main run, fixed once from a pilot (Stein 1945, two-stage sampling).

Stopping as soon as the interval is narrow enough would favour lucky runs. Stein's rule uses only the pilot's variance
and fixes the number before the rest is run: n = (t * s / d)^2, with t and s from the pilot.
"""

from __future__ import annotations

import math

import numpy as np

from certify.core.measuring_rules import MeasuringRules
from certify.core.statistics.batch_means import Series, batch_rule, batch_variance, t_quantile


def blocks_needed(
    pilot_log_ratios: Series, half_width: float, minimum: int, maximum: int, rules: MeasuringRules
) -> int:
    """Return the number of blocks of the main run, including its pilot.

    Args:
        pilot_log_ratios: (n,) log-ratios of the pilot's blocks, in time order, at least 2.
        half_width: target half-width of the ratio's interval, relative (0.05 is 5 %).
        minimum: least number of blocks.
        maximum: number of blocks that fit the time limit; takes precedence over everything else.
        rules: confidence and batch rule.

    Raises:
        ValueError: fewer than 2 pilot blocks, a log-ratio that is not finite, or a half-width that is not positive.
    """
    if not half_width > 0:
        raise ValueError(f"the half-width must be greater than 0, got {half_width}")
    if not np.all(np.isfinite(pilot_log_ratios)):
        raise ValueError("a log-ratio of the pilot is not finite")
    rule = batch_rule(len(pilot_log_ratios), rules.batch_factor, rules.assumed_autocorrelation)
    deviation = math.sqrt(rule.kappa * float(batch_variance(pilot_log_ratios, rule)))
    # The target is relative, the blocks are log-ratios: log(1 + h), since h alone asks for too few blocks.
    root = t_quantile(rule.degrees, rules.confidence) * deviation / math.log1p(half_width)
    # Bounding the root before squaring keeps a huge spread from overflowing.
    return min(maximum, max(minimum, math.ceil(min(root, math.sqrt(maximum)) ** 2)))
