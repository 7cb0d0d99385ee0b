"""Parameters shared by the passes that train under a privacy budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from certify.assessments.privacy.records import Choice
from certify.core.accounting import SubsampledGaussian, noise_for, require_reachable, spent
from certify.core.errors import UsageError
from certify.data import Dataset
from compress.core.further_data import FurtherData
from compress.core.pass_protocol import TorchPass

LARGEST_NOISE = 200.0
"""Largest noise multiplier; above it, training on a few thousand records learned nothing in our trials."""

PUBLIC_PARTS = ("calibration", "validation")
"""Parts of the data that may serve as public samples."""


def public_source(spec: str | None) -> FurtherData | None:
    """Return public data by specification; None for a part of the job's data.

    Example:
        >>> public_source("fashion-mnist").apart_from, public_source("validation")
        (('train', 'test'), None)
    """
    return None if spec is None or spec in PUBLIC_PARTS else FurtherData(spec, "public", ("train", "test"))


@dataclass(frozen=True)
class Schedule:
    """Settings of a noisy training, all fixed before the private part is read.

    Attributes:
        mechanism: id of the mechanism, as named in touches.
        steps: number of noisy sums.
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
    """A pass that trains on clipped gradients with noise; subclasses define what is trained.

    Nothing is divided by the number of records, which is secret under ``add-remove``: Adam's steps do not depend on the
    scale of the noisy sums, so they reveal nothing about that number.
    """

    epsilon: float = Field(default=8.0, gt=0, le=1000, description="Maximum privacy cost of the training, in nats.")
    delta: float = Field(default=1e-5, gt=0, lt=1, description="Delta for which epsilon holds; below 1 / records.")
    adjacency: Literal["add-remove", "replace-one"] = Field(
        default="add-remove",
        description="Whether neighbouring data differ by an added record or a replaced one (twice the noise).",
    )
    steps: int = Field(default=300, ge=1, le=1_000_000, description="Number of noisy sums of gradients.")
    sampling_rate: float = Field(
        default=0.2, gt=0, le=1, description="Probability with which each record takes part in a step."
    )
    clip: float = Field(default=1.0, gt=0, le=1000, description="Norm that each record's gradient is clipped to.")

    @property
    def trains(self) -> bool:
        """See :attr:`TorchPass.trains`."""
        return True

    def schedule(self, place: int, lr: float, records: int) -> Schedule:
        """Return the settings of the training, with the noise that keeps the budget.

        Args:
            place: position of the pass in its recipe.
            lr: learning rate.
            records: number of records N in the private part.

        Raises:
            UsageError: delta is not below 1 / N, or the budget needs more noise than training can use.
        """
        require_delta(self.delta, records)
        noise = noise_for(
            self.epsilon, self.delta, sampling_rate=self.sampling_rate, steps=self.steps, adjacency=self.adjacency
        )
        require_reachable(noise, LARGEST_NOISE, epsilon=self.epsilon, steps=self.steps)
        return Schedule(f"dp-sgd#{place}", self.steps, self.sampling_rate, self.clip, noise, lr)

    def require_data(self, dataset: Dataset) -> None:
        """See :meth:`Pass.require_data`: delta and the noise must fit the number of private records."""
        # The learning rate has no influence on either check; any number does.
        if dataset.train is not None:
            self.schedule(0, 1.0, len(dataset.train))

    def spent(self, schedule: Schedule) -> float:
        """Return the epsilon of the training with these settings."""
        release = SubsampledGaussian(schedule.noise, schedule.rate, schedule.steps)
        return spent([(release, 1)], self.delta, self.adjacency).epsilon

    def choices(self) -> tuple[Choice, ...]:
        """Return the choices of the training, all made before the private part was read."""
        chosen = ("clipping norm", "sampling rate", "number of steps", "learning rate", "last step kept")
        return tuple(Choice(what, "none") for what in chosen)


def require_delta(delta: float, records: int) -> None:
    """Reject a delta that would admit a mechanism which publishes a whole record.

    Raises:
        UsageError: delta is not below 1 / records.
    """
    # With delta 1 / N a mechanism that publishes one record at random would satisfy the definition with epsilon 0.
    if delta >= 1 / records:
        raise UsageError(f"delta {delta:g} is not below 1/{records}: one record in the set may leak outright.")


def require_votes(cost: float, most: float | None, answers: int, delta: float, records: int) -> None:
    """Reject votes that cost too much.

    Args:
        cost: epsilon of all answers.
        most: largest allowed epsilon; None for no limit.
        answers: maximum number of answers.
        delta: delta for which epsilon holds.
        records: number of private records.

    Raises:
        UsageError: delta is not below 1 / records, or the answers cost more than allowed.
    """
    require_delta(delta, records)
    if most is not None and cost > most:
        raise UsageError(
            f"{answers} answers cost epsilon {cost:.3g}, more than the allowed {most:g}; ask for fewer answers, or use "
            "more noise and more teachers."
        )
