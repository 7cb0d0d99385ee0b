"""A table of what the blocks of a model cost at each width, in the precision that ships.

Every block is exported, converted to the precision that ships, and measured. Copies of a block that keeps its shape are
stacked, so that the cost of one call of the runtime, and of the ends of a file, cancels in the difference of two
stacks. The cost of a whole model with chosen widths is predicted from the measured whole model and the differences.

Tables of this kind choose widths in ZipLM (Kurtic et al. 2023, arXiv 2302.04089) and HALP (Shen et al. 2022, arXiv
2110.10811); NetAdapt (Yang et al. 2018, arXiv 1804.03230) introduced them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from certify.core.estimate import Estimate
from compress.core.pass_protocol import Declined
from compress.costs.items import FLOAT_BITS, FULL, Item, Variant
from compress.costs.knapsack import Option, OverBudget, cheapest, choose, meetings
from compress.costs.neighbours import in_order, kinds_before
from compress.costs.timing import Cost
from compress.quantization.post_training.weight_only import ONLY_PRODUCTS

Quantity = Literal["energy", "latency"]
WORDS: Mapping[Quantity, str] = {"energy": "energy", "latency": "time"}
METHOD = "difference of 10th percentiles of windows that took turns"
FACTORS = 0.5, 2.0
"""Limits of one correction of a table, so that one disturbed measurement does not decide."""
LEAST_CHANGE = 0.02
"""Smallest predicted change of the whole model's cost, as a share, by which a table is corrected."""
STATED = ("precision", "runtime", "version", "threads", "processor")
"""Conditions that the record of a pass repeats."""
CONVERSIONS = "conversions"
"""Label of what the conversions to floats and back around a block in floats cost, which are not needed between two."""


@dataclass(frozen=True)
class CostTable:
    """Costs of the blocks of one model.

    Attributes:
        key: conditions: runtime and its version, processor, threads, precision, target.
        whole: cost of the whole, unchanged model.
        items: its blocks.
        costs: costs of one block, by signature, then by label; for a block that cannot be stacked, including a call of
            the runtime. They may include :data:`CONVERSIONS`.
        measured: number of kinds of blocks of which all variants were measured now, and not read from the cache.
        factor: what a change of a block adds to the whole model, relative to its cost in the table; see
            :meth:`corrected`.
    """

    key: Mapping[str, Any]
    whole: Cost
    items: tuple[Item, ...]
    costs: Mapping[str, Mapping[str, Cost]]
    measured: int
    factor: float = 1.0

    @property
    def stated(self) -> dict[str, Any]:
        """The conditions that the record of a pass repeats."""
        return {name: self.key[name] for name in STATED}

    def cost(self, item: Item, variant: Variant, quantity: Quantity) -> Estimate | None:
        """Return the cost of a variant of a block, in s or J; None if joules are requested and there is no meter."""
        return quantity_of(self.costs[item.signature][item.label(variant)], quantity)

    def change(self, item: Item, variant: Variant, quantity: Quantity) -> float:
        """Return what a variant adds to the whole model's cost, in s or J; negative for a saving."""
        if variant == FULL:
            return 0.0
        found, full = self.cost(item, variant, quantity), self.cost(item, FULL, quantity)
        if found is None or full is None:
            raise ValueError("energy was requested from a table without joules")
        return found.value - full.value

    def predicted(self, chosen: Sequence[Variant], quantity: Quantity) -> Estimate:
        """Predict the remaining share of the whole model's cost, with one variant for each item.

        The interval adds up those of the blocks (counting identical ones as one) and of the whole.

        Raises:
            ValueError: energy is requested, but the table has no joules.
        """
        whole = quantity_of(self.whole, quantity)
        if whole is None:
            raise ValueError("energy was requested from a table without joules")
        alike = dict[tuple[str, str], float]()
        # The stack of float blocks counts twice, once as their cost, so the interval of a row is too wide at worst.
        for kind, less in self._unneeded(chosen, quantity):
            alike[kind, CONVERSIONS] = alike.get((kind, CONVERSIONS), 0.0) + half_width(less)
        for item, variant in zip(self.items, chosen, strict=True):
            if variant != FULL:
                ends = [self.cost(item, each, quantity) for each in (variant, FULL)]
                half = math.hypot(*(half_width(end) for end in ends if end is not None))
                # Equal blocks share one measurement, so their errors are the same error and add up linearly.
                place = (item.signature, item.label(variant))
                alike[place] = alike.get(place, 0.0) + half
        # Blocks are measured separately from the model, so their savings can add up to more than its cost.
        share = max(0.0, 1 + self.factor * self._change(chosen, quantity) / whole.value)
        # Different blocks were measured separately, so their errors add up in quadrature.
        error = self.factor * math.hypot(*alike.values()) / whole.value
        return Estimate(share, max(0.0, share - error), share + error, "1", whole.n, METHOD, whole.evidence)

    def worthwhile(self, item: Item, quantity: Quantity) -> tuple[Variant, ...]:
        """Return the variants that cost less than every wider one of at least their precision, the full block first.

        A narrower or rounded block is less accurate, so one that saves nothing is not worth its loss. A block with
        int4 weights is compared as though both its neighbours stayed in floats.
        """
        sides = zip(self.items, self._conversions(quantity), strict=True)
        met = sum(less[1].value for each, less in sides if less and (each is item or each.follows == item.path))
        found: list[Variant] = []
        for variant in item.variants:
            saving = -self.change(item, variant, quantity)
            wider = [each for each in item.variants if each != variant and _holds(item, each, variant)]
            saves_most = all(
                saving + (met if variant.floats > each.floats else 0.0) > -self.change(item, each, quantity)
                for each in wider
            )
            if variant == FULL or (saves_most and self._shown_cheaper(item, variant, quantity, met)):
                found.append(variant)
        return tuple(found)

    def _shown_cheaper(self, item: Item, variant: Variant, quantity: Quantity, met: float) -> bool:
        """Return whether weights of few bits are shown to cost less than integers; True for other formats."""
        if variant.bits == FLOAT_BITS:
            return True
        few, integers = (self.cost(item, each, quantity) for each in (variant, variant.integers))
        return few is not None and integers is not None and few.high - met < integers.low

    def without_gain(self, candidates: Sequence[Sequence[Variant]], quantity: Quantity) -> tuple[Declined, ...]:
        """Return why no block may have int4 weights; empty if one may.

        Args:
            candidates: result of :meth:`worthwhile` for each item.
            quantity: energy or latency.
        """
        if any(each.bits < FLOAT_BITS for row in candidates for each in row):
            return ()
        # Compared in the same variant, so that the sentence states what the format costs and not what the width saves.
        shares = []
        for item in self.items:
            for each in item.variants:
                few, integers = (self.cost(item, one, quantity) for one in (each, each.integers))
                if each.bits < FLOAT_BITS and few is not None and integers is not None and integers.value > 0:
                    shares.append(few.value / integers.value)
        why = f"they take {min(shares):.2f} times the {WORDS[quantity]} of int8 or more" if shares else ONLY_PRODUCTS
        return (Declined("int4 weights", f"{why} in each block" if shares else why),)

    def least_lossy(
        self,
        candidates: Sequence[Sequence[Variant]],
        losses: Sequence[Sequence[float]],
        quantity: Quantity,
        share: float,
    ) -> list[Variant]:
        """Choose one variant of each item, minimising the sum of losses within a share of the whole model's cost.

        Args:
            candidates: variants of each item.
            losses: their losses.
            quantity: energy or latency.
            share: largest remaining share.

        Raises:
            OverBudget: even the cheapest variants cost more; ``least`` is their share.
            ValueError: energy is requested, but the table has no joules.
        """
        whole = quantity_of(self.whole, quantity)
        if whole is None:
            raise ValueError("energy was requested from a table without joules")
        try:
            # Options are changes of the whole model's cost, so the budget is one too.
            budget = (share - 1) * whole.value / self.factor
            numbers = choose(self._options(candidates, losses, quantity), budget, self._shared(quantity))
        except OverBudget as error:
            raise OverBudget(1 + self.factor * error.least / whole.value) from error
        return self._taken(candidates, numbers)

    def cheapest(self, candidates: Sequence[Sequence[Variant]], quantity: Quantity) -> list[Variant]:
        """Return the candidate of each item with which the whole model costs least."""
        options = self._options(candidates, [[0.0] * len(row) for row in candidates], quantity)
        return self._taken(candidates, cheapest(options, self._shared(quantity)))

    def corrected(self, chosen: Sequence[Variant], quantity: Quantity, share: float) -> CostTable:
        """Return the table with the factor for which a prediction becomes the share that was measured.

        A block can save more or less in a whole model than in a stack of its own. One correction stays within
        :data:`FACTORS`. A choice that hardly changes the cost corrects nothing.

        Args:
            chosen: one variant for each item.
            quantity: energy or latency.
            share: measured share of the whole model's cost.

        Raises:
            ValueError: energy is requested, but the table has no joules.
        """
        whole = quantity_of(self.whole, quantity)
        if whole is None:
            raise ValueError("energy was requested from a table without joules")
        change, (low, high) = self.factor * self._change(chosen, quantity) / whole.value, FACTORS
        if abs(change) < LEAST_CHANGE:
            return self
        return replace(self, factor=self.factor * min(high, max(low, (share - 1) / change)))

    def _change(self, chosen: Sequence[Variant], quantity: Quantity) -> float:
        """Return what the variants add to the whole model's cost, in s or J, before the factor."""
        total = sum(self.change(item, each, quantity) for item, each in zip(self.items, chosen, strict=True))
        return total - sum(less.value for _, less in self._unneeded(chosen, quantity))

    def _unneeded(self, chosen: Sequence[Variant], quantity: Quantity) -> list[tuple[str, Estimate]]:
        """Return the conversions that are not needed because two float blocks meet, with the kind of their block."""
        order, known = in_order(self.items), self._conversions(quantity)
        met = meetings([_joins(chosen[number]) for number in order], self._shared(quantity))
        rows = zip((known[number] for number in order), met, strict=True)
        return [less for less, meets in rows if meets and less is not None]

    def _conversions(self, quantity: Quantity) -> list[tuple[str, Estimate] | None]:
        """Return the conversions before each block that are shown to cost anything, with the kind of their block."""
        costs = {
            each: quantity_of(own[CONVERSIONS], quantity) for each, own in self.costs.items() if CONVERSIONS in own
        }
        known = {signature: cost for signature, cost in costs.items() if cost is not None and cost.low > 0}
        kinds = kinds_before(self.items, known)
        return [None if kind is None else (kind, known[kind]) for kind in kinds]

    def _shared(self, quantity: Quantity) -> list[float]:
        """Return the cost of the conversions before each item, in order; 0 if it is not known."""
        known = self._conversions(quantity)
        return [0.0 if (less := known[number]) is None else less[1].value for number in in_order(self.items)]

    def _options(
        self, candidates: Sequence[Sequence[Variant]], losses: Sequence[Sequence[float]], quantity: Quantity
    ) -> list[list[Option]]:
        """Return the options of the items, in order."""
        return [
            [
                Option(self.change(self.items[number], each, quantity), loss, _joins(each))
                for each, loss in zip(candidates[number], losses[number], strict=True)
            ]
            for number in in_order(self.items)
        ]

    def _taken(self, candidates: Sequence[Sequence[Variant]], numbers: Sequence[int]) -> list[Variant]:
        """Return the chosen candidates in the order of the items, from their indices in order."""
        taken = dict(zip(in_order(self.items), numbers, strict=True))
        return [row[taken[number]] for number, row in enumerate(candidates)]

    def to_json(self) -> dict[str, Any]:
        """Return JSON values."""
        blocks: dict[str, dict[str, Any]] = {}
        for item in self.items:
            row = blocks.setdefault(
                item.signature, {"blocks": [], "units": item.units, "takes": list(item.input.shape), "costs": {}}
            )
            row["blocks"].append(item.path)
            row["costs"] |= {label: cost.to_json() for label, cost in self.costs[item.signature].items()}
        return {"conditions": dict(self.key), "whole": self.whole.to_json(), "blocks": list(blocks.values())}


def half_width(estimate: Estimate) -> float:
    """Return the distance from the value to the farther end of the interval."""
    return max(estimate.high - estimate.value, estimate.value - estimate.low)


def quantity_of(cost: Cost, quantity: Quantity) -> Estimate | None:
    """Return the joules or seconds of a cost; None for joules without a meter."""
    return cost.energy_j if quantity == "energy" else cost.duration_s


def _joins(variant: Variant) -> bool | None:
    """Return whether a block exchanges floats with a neighbour in floats; None for one that is dropped."""
    return None if variant.dropped else variant.floats


def _holds(item: Item, wider: Variant, narrower: Variant) -> bool:
    """Return whether one variant has all units and at least the precision of another."""
    if narrower.dropped or wider.dropped:
        return narrower.dropped
    if wider.precision < narrower.precision:
        return False
    return all(wider.widths.get(name, full) >= narrower.widths.get(name, full) for name, full in item.units.items())
