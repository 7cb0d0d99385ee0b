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
"""Maximum partial choices kept after each item, of those whose last item joins and of the others; more are thinned out,
evenly by cost."""

Floats = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Option:
    """One option for an item.

    Attributes:
        cost: what it adds to the total, in any unit; negative for a saving.
        loss: what it adds to the loss.
        joins: whether the item can share with its neighbours; as for :func:`meetings`.
    """

    cost: float
    loss: float
    joins: bool | None = False


class OverBudget(Exception):
    """No choice fits the budget.

    Args:
        least: cost of the cheapest choice.
    """

    def __init__(self, least: float) -> None:
        super().__init__(f"the cheapest choice costs {least:g}")
        self.least = least


@dataclass(frozen=True)
class _Item:
    """The options of an item as arrays.

    Attributes:
        costs: their costs.
        losses: their losses.
        joins: whether each option joins.
        after: whether the next item can share behind each option, (2, options): if this one cannot, and if it can.
        shared: what an option that joins costs less if it shares.
    """

    costs: Floats
    losses: Floats
    joins: Flags
    after: Flags
    shared: float

    def behind(self, joined: Flags) -> tuple[Floats, Flags]:
        """Return what each option costs behind each state, (states, options), and whether the next item can share."""
        return self.costs - np.where(joined[:, None] & self.joins, self.shared, 0.0), self.after[joined.astype(int)]


def meetings(joins: Sequence[bool | None], shared: Sequence[float]) -> list[bool]:
    """Return for each item whether it shares a cost with the one before it.

    Args:
        joins: whether each item can share with its neighbours, in order; None if they meet as though it were not there.
        shared: what each item costs less if it shares a cost with the one before it; 0 if the two do not meet.

    Example:
        >>> meetings([True, True, None, True, False, True], [0, 3, 3, 3, 3, 3])
        [False, True, False, True, False, False]
    """
    found, joined = list[bool](), False
    for own, less in zip(joins, shared, strict=True):
        joined = joined and less > 0
        found.append(joined and own is True)
        joined = joined if own is None else own
    return found


def choose(items: Sequence[Sequence[Option]], budget: float, shared: Sequence[float] | None = None) -> tuple[int, ...]:
    """Choose one option per item, so that the costs stay within the budget and the losses are least.

    The choice is optimal while at most ``MOST_STATES`` partial choices of a kind are undominated, and always within the
    budget. Among choices of equal loss the cheapest is returned.

    Args:
        items: options of each item, in order; at least one each.
        budget: maximum cost.
        shared: as for :func:`meetings`; None if no items share costs.

    Returns:
        The index of the chosen option for each item.

    Raises:
        OverBudget: the cheapest choice costs more than the budget.
        ValueError: an item has no option, or a cost or loss is not finite.

    Example:
        >>> wide, narrow = Option(cost=10, loss=0), Option(cost=4, loss=1)
        >>> choose([[wide, narrow], [wide, Option(cost=8, loss=3)]], budget=15)
        (1, 0)
    """
    tables = _tables(items, shared)
    ahead = _ahead(tables)
    # Sums in a different order differ by rounding, so without slack the cheapest choice could exceed its own cost.
    slack = 1e-9 * (abs(budget) + sum(float(np.abs(table.costs).max()) + table.shared for table in tables))
    least = float(ahead[0][0])
    if least > budget + slack:
        raise OverBudget(least)
    state = _State(np.zeros(1), np.zeros(1), np.zeros(1, np.bool_))
    steps: list[tuple[Indices, Indices]] = []
    for table, rest in zip(tables, ahead[1:], strict=True):
        state, before, chosen = _joined(state, table, rest, budget + slack)
        steps.append((before, chosen))
    # lexsort takes the last key first: by loss, then by cost.
    return _walked_back(steps, int(np.lexsort((state.costs, state.losses))[0]))


def cheapest(items: Sequence[Sequence[Option]], shared: Sequence[float] | None = None) -> tuple[int, ...]:
    """Return the option of each item in the cheapest choice, the least lossy among equals.

    Args:
        items: as for :func:`choose`.
        shared: as for :func:`choose`.

    Raises:
        ValueError: as :func:`choose`.
    """
    return choose(items, float(_ahead(_tables(items, shared))[0][0]), shared)


def _tables(items: Sequence[Sequence[Option]], shared: Sequence[float] | None) -> list[_Item]:
    if not all(items):
        raise ValueError("every item of a knapsack must have an option")
    tables = []
    less = [*(shared or [0.0] * len(items)), 0.0]
    for options, own, following in zip(items, less, less[1:], strict=False):
        values = np.array([(o.cost, o.loss) for o in options], dtype=np.float64)
        if not np.isfinite(values).all() or not np.isfinite(own):
            raise ValueError("costs and losses of a knapsack must be finite")
        after = [[before if o.joins is None else o.joins for o in options] for before in (False, True)]
        joins = np.array([o.joins is True for o in options])
        tables.append(_Item(values[:, 0], values[:, 1], joins, np.array(after) & (following > 0), own))
    return tables


def _ahead(tables: Sequence[_Item]) -> list[Floats]:
    """Return the least cost of each item and those behind it, (2,): if it cannot share, and if it can.

    A state that exceeds the budget with it can never fit.
    """
    ahead = [np.zeros(2)]
    for table in reversed(tables):
        cost, after = table.behind(np.array([False, True]))
        ahead.insert(0, (cost + ahead[0][after.astype(int)]).min(axis=1))
    return ahead


@dataclass(frozen=True)
class _State:
    """Partial choices: their costs, losses, and whether the next item can share."""

    costs: Floats
    losses: Floats
    joined: Flags


def _joined(state: _State, table: _Item, rest: Floats, most: float) -> tuple[_State, Indices, Indices]:
    """Return the fronts after one more item, with previous state and option of each partial choice."""
    cost, after = table.behind(state.joined)
    cost = (state.costs[:, None] + cost).ravel()
    loss, after = (state.losses[:, None] + table.losses).ravel(), after.ravel()
    total = cost + rest[after.astype(int)]
    # At least the cheapest state is kept, even if rounding puts it just over the budget: the caller has checked that it
    # fits.
    fits = total <= max(most, float(total.min()))
    # Of two states that cost and lose the same, the one behind which the next item can share is better.
    apart, met = (_front(np.flatnonzero(fits & (after == joined)), cost, loss) for joined in (False, True))
    cheaper = np.searchsorted(cost[met], cost[apart], side="right")
    least = np.concatenate([[np.inf], loss[met]])[cheaper]
    front = np.concatenate([apart[loss[apart] < least], met])
    count = len(table.costs)
    return _State(cost[front], loss[front], after[front]), front // count, front % count


def _front(some: Indices, cost: Floats, loss: Floats) -> Indices:
    """Return the undominated ones of some states, by ascending cost."""
    if not len(some):
        return some
    # lexsort takes the last key first: by cost, then by loss.
    order = some[np.lexsort((loss[some], cost[some]))]
    falling = np.minimum.accumulate(loss[order])
    # Keep the undominated states, which lose less than every cheaper one.
    better = np.concatenate([[True], loss[order][1:] < falling[:-1]])
    return _thinned(order[better], cost)


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


def _walked_back(steps: Sequence[tuple[Indices, Indices]], place: int) -> tuple[int, ...]:
    """Return the options that lead to a state after the last step."""
    options = []
    for before, chosen in reversed(steps):
        options.append(int(chosen[place]))
        place = int(before[place])
    return tuple(reversed(options))
