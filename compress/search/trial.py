"""One trial: draw a recipe, run it, compute its loss on validation data, and measure it if that is small enough."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from certify.core.errors import LeanmarkError, MeasureError
from certify.core.estimate import Estimate
from compress.core.callbacks import TrainingCallback
from compress.job.recipe import Recipe
from compress.passes.cost_options import chooses_by_cost
from compress.search.optional import optuna
from compress.search.space import Space
from compress.search.trial_output import TrialOutput
from compress.search.turns import Turns

FAR = 2.0
"""A recipe whose loss may exceed this multiple of the bound is not measured: the sampler does not need its cost."""
NOT_MADE = 100.0
"""Constraint violation of a recipe that cannot be run, in percent: as if all accuracy were lost."""
LOSS, COST, WHY, DIGEST = "loss", "cost", "why", "digest"
BYTES, MACS, DECLINED, RECIPE = "bytes", "macs", "declined", "recipe"


class Bench(Protocol):
    """The parts of a :class:`compress.search.workshop.Workshop` that a trial needs."""

    space: Space

    def output_of(
        self, recipe: Recipe, callbacks: Sequence[TrainingCallback] = ()
    ) -> AbstractContextManager[TrialOutput]:
        """Run a recipe."""

    def cost(self, output: TrialOutput) -> Estimate:
        """Return the model's cost as a ratio of the original's."""

    def baseline_accuracy(self) -> float:
        """Return the share of validation samples that the original classifies correctly."""


class Halving(TrainingCallback):
    """Successive halving: a training that falls behind the others is stopped early.

    Trials are compared after each epoch by how far the accuracy is below what the bound allows, so that of two networks
    within the bound neither is stopped for being smaller. Asynchronous halving: Li et al., "A System for Massively
    Parallel Hyperparameter Tuning", MLSys 2020 (arXiv 1810.05934).

    Args:
        trial: trial of Optuna's study.
        floor: validation accuracy that the bound allows, 0 to 1.
    """

    def __init__(self, trial: Any, floor: float) -> None:
        self._trial, self._floor, self._epochs = trial, floor, 0

    def on_epoch_end(self, training: str, epoch: int, figures: Mapping[str, float]) -> None:
        """Report the epoch, and stop if the study says so."""
        if self._floor <= 0:
            return
        self._epochs += 1
        short = max(0.0, self._floor - figures["validation_accuracy"]) / self._floor
        # Count over all trainings of the recipe, because Optuna accepts each step only once.
        self._trial.report(short, self._epochs)
        if short and self._trial.should_prune():
            stop(self._trial, f"stopped after epoch {self._epochs}: others were better by then", 100 * short)


def stop(trial: Any, why: str, violation: float) -> None:
    """End a trial that is not measured; ``violation`` is how far it exceeds the bound, in percent."""
    trial.set_user_attr(WHY, why)
    # Stopped trials have a constraint too, because it shows the sampler the direction of the bound.
    trial.set_constraint(LOSS, violation)
    raise optuna().TrialPruned(why)


@dataclass(frozen=True)
class Objective:
    """Objective of a study: the ratio of the cost of one inference; see the module.

    Attributes:
        bench: makes and measures models.
        max_loss_percent: the bound.
        turns: turns of this machine.
        measure: returns the cost of a made model without a turn on this machine; by default the bench measures it in
            one.
    """

    bench: Bench
    max_loss_percent: float
    turns: Turns
    measure: Callable[[TrialOutput], Estimate] | None = None

    def __call__(self, trial: Any) -> float:
        """Run one trial.

        Raises:
            MeasureError: the measurement failed; the trial is lost.
            TrialPruned: it was not measured, for a reason that is stored with it.
        """
        recipe = self.bench.space.recipe(self.bench.space.suggest(trial), f"trial-{trial.number}")
        trial.set_user_attr(RECIPE, recipe.to_json())
        with self.turns.working():  # the first trial of a process trains or loads the original
            floor = self.bench.baseline_accuracy() * (1 - self.max_loss_percent / 100)
        try:
            with contextlib.ExitStack() as live:
                with self._turn(recipe):
                    output = live.enter_context(self.bench.output_of(recipe, [Halving(trial, floor)]))
                return self._judge(trial, output)
        except MeasureError as error:
            trial.set_user_attr(WHY, str(error))
            raise
        except LeanmarkError as error:
            stop(trial, str(error), NOT_MADE)
            raise

    def _turn(self, recipe: Recipe) -> AbstractContextManager[None]:
        """Return the turn in which to run a recipe: alone if its passes measure the costs of blocks."""
        return self.turns.measuring() if any(map(chooses_by_cost, recipe.passes)) else self.turns.working()

    def _judge(self, trial: Any, output: TrialOutput) -> float:
        facts = {LOSS: output.loss.to_json(), BYTES: output.size_bytes, MACS: output.macs, DIGEST: output.digest}
        for name, value in {**facts, DECLINED: dict(output.declined)}.items():
            trial.set_user_attr(name, value)
        if output.loss.high > FAR * self.max_loss_percent:
            why = f"not measured: the loss may be {output.loss.high:.1f} %"
            stop(trial, why, output.loss.high - self.max_loss_percent)
        # Different points often give the same file, for example where a pass declines.
        cost = self._known(trial, output) or self._measured(output)
        trial.set_user_attr(COST, cost.to_json())
        trial.set_constraint(LOSS, output.loss.high - self.max_loss_percent)
        return cost.value

    def _known(self, trial: Any, output: TrialOutput) -> Estimate | None:
        """Return what an earlier trial measured for the same file."""
        for earlier in trial.study.get_trials(deepcopy=False):
            if earlier.user_attrs.get(DIGEST) == output.digest and COST in earlier.user_attrs:
                return Estimate.from_json(earlier.user_attrs[COST])
        return None

    def _measured(self, output: TrialOutput) -> Estimate:
        if self.measure is not None:
            return self.measure(output)
        with self.turns.measuring():
            return self.bench.cost(output)
