"""Differential privacy of whole clients: noise on the sum of clipped updates, and what it costs.

McMahan et al. 2018 (arXiv 1710.06963), without their amplification by sampling: the log of rounds names who took part,
so that an adversary knows it, and idle clients are not a random sample. Each client therefore counts as taking part in
every round (q = 1). The noise comes from the system's entropy (:mod:`compress.private.entropy`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from certify.core.accounting import SubsampledGaussian, noise_for, spent
from certify.core.errors import UsageError
from certify.core.federation import ClientPrivacy
from compress.federated.weights import Layout, Vector
from compress.private.entropy import gaussian

FEWEST_CLIENTS = 100


@dataclass(frozen=True)
class NoisySum:
    """Noise of a run, fixed before its first round.

    Attributes:
        noise: standard deviation over the norm to which each update is clipped.
        clip: that norm.
        delta: for which epsilon is stated.
        rounds: that are planned.
    """

    noise: float
    clip: float
    delta: float
    rounds: int

    @classmethod
    def of(cls, epsilon: float, delta: float, clip: float | None, rounds: int, clients: int) -> NoisySum:
        """The least noise that keeps a budget.

        Raises:
            UsageError: there are too few clients, no clip, or the budget cannot be kept.

        Example:
            >>> round(NoisySum.of(8.0, 1e-4, 1.0, rounds=50, clients=500).noise, 2)
            4.15
        """
        if clients < FEWEST_CLIENTS:
            raise UsageError(
                f"There are too few clients for a meaningful client-level epsilon: {clients}, and {FEWEST_CLIENTS} is "
                "the least; take more clients, or leave epsilon out."
            )
        if clip is None:
            raise UsageError("Client-level differential privacy needs the largest norm of an update; set clip.")
        if delta >= 1 / clients:
            raise UsageError(f"delta {delta:g} is not below 1/{clients}: one client in the set may leak outright.")
        noise = noise_for(epsilon, delta, sampling_rate=1.0, steps=rounds, adjacency="add-remove")
        return cls(noise, clip, delta, rounds)

    def epsilon(self, rounds: int | None = None) -> float:
        """What so many rounds cost; all that are planned by default."""
        steps = self.rounds if rounds is None else rounds
        return spent([(SubsampledGaussian(self.noise, 1.0, steps), 1)], self.delta, "add-remove").epsilon

    def added(self, mean: Vector, clients: int) -> Vector:
        """A mean of clipped updates of equal weight, with the noise of the sum.

        Args:
            mean: of the answers.
            clients: number of clients; the log names them, so their number is public.
        """
        noisy: Vector = (mean + gaussian(len(mean)) * (self.noise * self.clip / clients)).astype(np.float32)
        return noisy

    def described(self) -> ClientPrivacy:
        """As the opening of the run states it."""
        return ClientPrivacy(self.noise, self.clip, self.delta)


def require_no_statistics(layout: Layout) -> None:
    """Refuse a model with running statistics, which no longer are variances once noise fell on them.

    Raises:
        UsageError: it has some.
    """
    if not layout.where(lambda _, learned: learned).all():
        raise UsageError("The model keeps running statistics, which noise would spoil; put fold_norms before.")
