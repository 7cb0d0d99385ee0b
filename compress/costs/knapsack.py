"""The multiple-choice knapsack: one option per item, with the least loss within a budget.

Solved by dynamic programming over the items, on the joint front of cost and loss of their options
(Nemhauser and Ullmann 1969; Kellerer, Pferschy and Pisinger, "Knapsack Problems", 2004, section 11.5). ZipLM (Kurtic et
al., NeurIPS 2023, arXiv 2302.04089) and HALP (Shen et al., NeurIPS 2022, arXiv 2110.10811) choose widths this way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MOST_STATES = 20_000
"""Maximum partial choices kept after each item; more are thinned out, evenly by cost."""

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Option:
    """One option for an item.

    Attributes:
        cost: what it adds to the total, in any unit; negative for a saving.
        loss: what it adds to the loss.
    """

    cost: float
    loss: float


class OverBudget(Exception):
    """No choice fits the budget.

    Args:
        least: cost of the cheapest choice.
    """

    def __init__(self, least: float) -> None:
        super().__init__(f"the cheapest choice costs {least:g}")
        self.least = least


def choose(items: Sequence[Sequence[Option]], budget: float) -> tuple[int, ...]:
    """Choose one option per item, so that the costs stay within the budget and the losses are least.

    The choice is optimal while at most ``MOST_STATES`` partial choices are undominated, and always within the budget.
    Among choices of equal loss the cheapest is returned.

    Args:
        items: options of each item; at least one each.
        budget: maximum sum of costs.

    Returns:
        The index of the chosen option for each item.

    Raises:
        OverBudget: the cheapest options together cost more than the budget.
        ValueError: an item has no option, or a cost or loss is not finite.

    Example:
        >>> wide, narrow = Option(cost=10, loss=0), Option(cost=4, loss=1)
        >>> choose([[wide, narrow], [wide, Option(cost=8, loss=3)]], budget=15)
        (1, 0)
    """
    if not all(items):
        raise ValueError("every item of a knapsack must have an option")
    tables = [np.array([(o.cost, o.loss) for o in options], dtype=np.float64) for options in items]
    if not all(np.isfinite(table).all() for table in tables):
        raise ValueError("costs and losses of a knapsack must be finite")
    cheapest = [float(table[:, 0].min()) for table in tables]
    # The sum of the least costs of the remaining items: a state that exceeds the budget with it can never fit.
    ahead = np.cumsum([0.0, *cheapest[::-1]])[::-1]
    # Sums in a different order differ by rounding, so without slack the cheapest choice could exceed its own cost.
    slack = 1e-9 * (abs(budget) + float(np.abs(np.array(cheapest)).sum()))
    if ahead[0] > budget + slack:
        raise OverBudget(float(ahead[0]))
    costs, losses = np.zeros(1), np.zeros(1)
    steps: list[tuple[Indices, Indices]] = []
    for table, rest in zip(tables, ahead[1:], strict=True):
        costs, losses, before, chosen = _joined(costs, losses, table, budget + slack - rest)
        steps.append((before, chosen))
    return _walked_back(steps)


def _joined(costs: Floats, losses: Floats, table: Floats, most: float) -> tuple[Floats, Floats, Indices, Indices]:
    """Return the front after one more item: costs, losses, previous state and option, by ascending cost."""
    count = len(table)
    cost = (costs[:, None] + table[:, 0]).ravel()
    loss = (losses[:, None] + table[:, 1]).ravel()
    # At least the cheapest state is kept, even if rounding puts it just over the budget: the caller has checked that it
    # fits.
    fits = np.flatnonzero(cost <= max(most, float(cost.min())))
    # lexsort takes the last key first: by cost, then by loss.
    order = fits[np.lexsort((loss[fits], cost[fits]))]
    falling = np.minimum.accumulate(loss[order])
    # Keep the undominated states, which lose less than every cheaper one.
    better = np.concatenate([[True], loss[order][1:] < falling[:-1]])
    front = _thinned(order[better], cost)
    return cost[front], loss[front], front // count, front % count


def _thinned(front: Indices, cost: Floats) -> Indices:
    """Return at most ``MOST_STATES`` of a front: the cheapest, and the least lossy of each step of cost."""
    if len(front) <= MOST_STATES:
        return front
    span = cost[front]
    step = np.floor((span - span[0]) / (span[-1] - span[0]) * (MOST_STATES - 2)).astype(np.int64)
    # Losses fall along a front, so the last state of each step of cost is its least lossy one.
    last = np.append(step[1:] != step[:-1], True)
    last[0] = True
    thinned: Indices = front[last]
    return thinned


def _walked_back(steps: Sequence[tuple[Indices, Indices]]) -> tuple[int, ...]:
    """Return the options that lead to the last, least lossy state."""
    place, options = len(steps[-1][0]) - 1 if steps else 0, []
    for before, chosen in reversed(steps):
        options.append(int(chosen[place]))
        place = int(before[place])
    return tuple(reversed(options))
