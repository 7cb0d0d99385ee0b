"""Target of a choice by measured costs, and when a measured model meets it."""

from __future__ import annotations

from dataclasses import dataclass

from compress.costs.cost_table import Quantity
from compress.costs.shipped_form import Precision
from compress.costs.timing import Conditions

TRIES = 3
"""Largest number of choices; the table is corrected after each."""
CLOSE = 1.02
"""A measured share of at most this multiple of the requested one meets the target: repeated runs differ by as much."""
NEAR = 0.95
"""A measured share below this multiple of the predicted one costs so little that less need be lost."""
NO_METER = "no meter on this machine reports joules; ask for latency instead of energy"


@dataclass(frozen=True)
class CostGoal:
    """Target of a narrowing.

    Attributes:
        quantity: ``energy`` or ``latency``.
        share: share of the original's cost in the same form.
        precision: precision in which it ships; None for what the later passes produce.
        conditions: runtime and threads.
        samples: validation samples on which losses are measured.
        refit_samples: unlabelled samples for refitting the narrowed model's layers; 0 disables it.
    """

    quantity: Quantity
    share: float
    precision: Precision | None = None
    conditions: Conditions = Conditions()
    samples: int = 256
    refit_samples: int = 0


def meets(goal: CostGoal, share: float) -> bool:
    """Return whether a measured share meets a target.

    Example:
        >>> half, nearly_all = CostGoal("energy", 0.5), CostGoal("energy", 0.99)
        >>> meets(half, 0.51), meets(half, 0.52), meets(nearly_all, 0.999), meets(nearly_all, 1.0)
        (True, False, True, False)
    """
    # Below 1 in any case: a target close to 1 must still save something.
    return share <= CLOSE * goal.share and share < 1
