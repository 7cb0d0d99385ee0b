"""Choosing variants by a table, making the model and measuring it, until it meets a target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from certify.core.errors import MeasureError, ModelError
from certify.core.estimate import Estimate
from compress.costs.cost_table import CostTable
from compress.costs.goal import NEAR, TRIES, CostGoal, meets
from compress.costs.items import Variant
from compress.costs.knapsack import OverBudget
from compress.costs.ratios import product

Made = TypeVar("Made")


@dataclass(frozen=True)
class Attempt(Generic[Made]):
    """A model that was made and measured.

    Attributes:
        made: the model.
        share: its share of the cost to which the target refers.
        why: what to say of it if it misses the target; its share by default.
    """

    made: Made
    share: Estimate
    why: str = ""


@dataclass(frozen=True)
class Met(Generic[Made]):
    """A model that meets the target.

    Attributes:
        attempt: the model and its measured share.
        chosen: variants of the table's items.
        predicted: predicted share. After the first try, the table has been corrected by other choices.
        lost: sum of the losses of the variants.
    """

    attempt: Attempt[Made]
    chosen: Sequence[Variant]
    predicted: Estimate
    lost: float


def make_least_lossy(
    goal: CostGoal,
    table: CostTable,
    candidates: Sequence[Sequence[Variant]],
    losses: Sequence[Sequence[float]],
    whole: Estimate,
    make: Callable[[Sequence[Variant]], Attempt[Made] | str],
    cheapest: str,
) -> Met[Made] | str:
    """Make and measure up to three models, and return the least lossy one that meets the target, or why none does.

    The table is corrected by each model that misses the target, or costs much less than predicted.

    Args:
        goal: target.
        table: costs of the blocks.
        candidates: variants of each item.
        losses: their losses.
        whole: cost of the table's model as a share of the cost to which the target refers.
        make: makes and measures a model; a sentence says why a choice cannot be made.
        cheapest: words for the cheapest choice.

    Raises:
        ModelError: the first model cannot be exported or quantized.
        MeasureError: the first measurement failed.
    """
    tried, sentences = list[tuple[Sequence[Variant], float]](), list[str]()
    best: Met[Made] | None = None
    for _ in range(TRIES):
        over: float | None = None
        try:
            chosen = table.least_lossy(candidates, losses, goal.quantity, goal.share / whole.value)
        except OverBudget as error:
            chosen, over = table.cheapest(candidates, goal.quantity), whole.value * error.least
        seen = next((share for before, share in tried if before == chosen), None)
        # A corrected table is a guess, so only an uncorrected one refuses without a measurement.
        if over is not None and table.factor == 1:
            sentences.append(f"with {cheapest}, {over:.3f} remains")
            break
        lost = _total_loss(chosen, candidates, losses)
        if best is not None and (seen is not None or lost >= best.lost):
            break
        if seen is None:
            try:
                attempt = make(chosen)
            except (MeasureError, ModelError):
                if best is None:
                    raise
                break
            if isinstance(attempt, str):
                sentences.append(attempt)
                break
            predicted = product(table.predicted(chosen, goal.quantity), whole)
            tried.append((chosen, attempt.share.value / whole.value))
            if meets(goal, attempt.share.value):
                best = Met(attempt, chosen, predicted, lost)
                if attempt.share.value >= NEAR * predicted.value:
                    break
            else:
                sentences.append(attempt.why or f"measured {attempt.share}")
            seen = tried[-1][1]
        table = table.corrected(chosen, goal.quantity, seen)
    return "; ".join(sentences) if best is None else best


def _total_loss(
    chosen: Sequence[Variant], candidates: Sequence[Sequence[Variant]], losses: Sequence[Sequence[float]]
) -> float:
    """Return the sum of the losses of the chosen candidates."""
    rows = zip(chosen, candidates, losses, strict=True)
    return sum(row[options.index(variant)] for variant, options, row in rows)
