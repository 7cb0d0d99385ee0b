"""Choosing by measured cost: tables of what blocks cost at run time, and the knapsack over them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from compress.core.lazy import door

if TYPE_CHECKING:
    from compress.costs.comparison import unless_costlier as unless_costlier
    from compress.costs.formats import format_choice as format_choice
    from compress.costs.goal import CostGoal as CostGoal
    from compress.costs.narrowing import narrow as narrow
    from compress.costs.timing import Conditions as Conditions

__getattr__, __dir__ = door(
    __name__,
    {
        "comparison": ("unless_costlier",),
        "formats": ("format_choice",),
        "goal": ("CostGoal",),
        "narrowing": ("narrow",),
        "timing": ("Conditions",),
    },
)
