"""A bench whose models are numbers: what a recipe loses and costs follows from its passes."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path

from certify.core.estimate import Estimate
from compress.job.recipe import Budget
from compress.search.space import make_space
from compress.search.trial_output import TrialOutput

BOUND = 1.0
JOB = {"model": "numbers"}


def share(recipe) -> float:
    """Multiply-adds, or energy, that a recipe leaves, 0 to 1."""
    left = 1.0
    for each in recipe.passes:
        left *= each.goals.get("macs", each.goals.get("energy", 1.0))
    return left


class NumberBench:
    """Costs the share of multiply-adds, 0.4 of it in integers; loses one percent for each fifth that is gone."""

    def __init__(self) -> None:
        self.space = make_space("convolutional", budget=Budget(max_loss_percent=BOUND))
        self.made_recipes: list[str] = []
        self.measured = 0
        self.fail_at: dict[int, Exception] = {}

    @contextlib.contextmanager
    def output_of(self, recipe, callbacks=()) -> Iterator[TrialOutput]:
        error = self.fail_at.pop(len(self.made_recipes), None)
        self.made_recipes.append(recipe.name)
        if error is not None:
            raise error
        left = share(recipe)
        integers = any(each.name == "quantize_static" for each in recipe.passes)
        loss = 5 * (1 - left) + 0.2 * integers
        digest = hashlib.sha256(f"{left} {integers}".encode()).hexdigest()
        estimate = Estimate(loss, loss - 0.3, loss + 0.3, "%", 1000, "as computed")
        size = Estimate.exact(left * (0.25 if integers else 1), "1", "as computed")
        yield TrialOutput(
            Path("model.onnx"), Path("baseline.onnx"), digest, int(1000 * size.value), 1, estimate, size, {}
        )

    def cost(self, made: TrialOutput) -> Estimate:
        self.measured += 1
        value = made.size_ratio.value
        return Estimate(value, 0.9 * value, 1.1 * value, "1", 8, "as computed")

    def baseline_accuracy(self) -> float:
        return 0.9
