"""What passes have in common that train under a budget of epsilon."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from certify.assessments.privacy.records import Choice
from certify.core.accounting import SubsampledGaussian, noise_for, require_reachable, spent
from certify.core.errors import UsageError
from compress.core.pass_protocol import TorchPass

LARGEST_NOISE = 200.0
"""Above it no training on a few thousand records learned anything here."""


@dataclass(frozen=True)
class Schedule:
    """How a noisy training goes, all of it fixed before the private part is read.

    Attributes:
        mechanism: its id, by which touches name it.
        steps: noisy sums.
        rate: probability with which each record takes part in a step.
        clip: norm that each record's gradient is clipped to.
        noise: standard deviation of the noise over the clipping norm.
        lr: learning rate of Adam.
    """

    mechanism: str
    steps: int
    rate: float
    clip: float
    noise: float
    lr: float


class PrivateTraining(TorchPass):
    """A pass that trains on clipped gradients with noise; its subclasses say what.

    Nothing is divided by the number of records: Adam takes the noisy sums as they are, since its steps do not depend on
    their scale. So the steps tell nothing of that number either, which is secret under ``add-remove``.
    """

    epsilon: float = Field(default=8.0, gt=0, le=1000, description="Most that the training may cost, in nats.")
    delta: float = Field(default=1e-5, gt=0, lt=1, description="For which epsilon holds; below one over the records.")
    adjacency: Literal["add-remove", "replace-one"] = Field(
        default="add-remove",
        description="Whether neighbouring data have a record more, or another one, which takes twice the noise.",
    )
    steps: int = Field(default=300, ge=1, le=1_000_000, description="Noisy sums of gradients.")
    sampling_rate: float = Field(
        default=0.2, gt=0, le=1, description="Probability with which each record takes part in a step."
    )
    clip: float = Field(default=1.0, gt=0, le=1000, description="Norm that each record's gradient is clipped to.")

    @property
    def trains(self) -> bool:
        """See :attr:`TorchPass.trains`."""
        return True

    def schedule(self, place: int, lr: float, records: int) -> Schedule:
        """The noise that keeps the budget, and all else.

        Args:
            place: of the pass in its recipe.
            lr: learning rate.
            records: N, in the private part.

        Raises:
            UsageError: delta is not below 1 / N, or no noise under which anything is learned keeps the budget.
        """
        require_delta(self.delta, records)
        noise = noise_for(
            self.epsilon, self.delta, sampling_rate=self.sampling_rate, steps=self.steps, adjacency=self.adjacency
        )
        require_reachable(noise, LARGEST_NOISE, epsilon=self.epsilon, steps=self.steps)
        return Schedule(f"dp-sgd#{place}", self.steps, self.sampling_rate, self.clip, noise, lr)

    def spent(self, schedule: Schedule) -> float:
        """Epsilon of the training as it was made."""
        release = SubsampledGaussian(schedule.noise, schedule.rate, schedule.steps)
        return spent([(release, 1)], self.delta, self.adjacency).epsilon

    def choices(self) -> tuple[Choice, ...]:
        """What was chosen before the private part was read: everything."""
        chosen = ("clipping norm", "sampling rate", "number of steps", "learning rate", "last step kept")
        return tuple(Choice(what, "none") for what in chosen)


def require_delta(delta: float, records: int) -> None:
    """Refuse a delta at which a mechanism that publishes a record whole would pass.

    Raises:
        UsageError: it is not below one over the records.
    """
    if delta >= 1 / records:
        raise UsageError(f"delta {delta:g} is not below 1/{records}: one record in the set may leak outright.")
