"""Client-level differential privacy: noise on the sum of clipped updates, and its epsilon.

McMahan et al. 2018 (arXiv 1710.06963), without their amplification by sampling: the log names the clients of each
round, so an adversary knows them, and idle clients are not a random sample. Each client therefore counts as taking part
in every round (q = 1). The noise comes from the system's entropy (:mod:`compress.private.entropy`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from certify.core.accounting import SubsampledGaussian, noise_for, spent
from certify.core.errors import UsageError
from certify.core.federation import ClientPrivacy
from compress.federated.weights import Layout, Vector
from compress.private.entropy import gaussian

# With fewer, the finding enough_clients would refuse the statement.
FEWEST_CLIENTS = 100


@dataclass(frozen=True)
class NoisySum:
    """Noise of a run, fixed before its first round.

    Attributes:
        noise: standard deviation of the noise divided by ``clip``.
        clip: norm to which each update is clipped.
        delta: delta for which epsilon is stated.
        rounds: number of planned rounds.
    """

    noise: float
    clip: float
    delta: float
    rounds: int

    @classmethod
    def of(cls, epsilon: float, delta: float, clip: float | None, rounds: int, clients: int) -> NoisySum:
        """Return the smallest noise that keeps a budget.

        Raises:
            UsageError: there are too few clients, no clip, or the budget cannot be kept.

        Example:
            >>> round(NoisySum.of(8.0, 1e-4, 1.0, rounds=50, clients=500).noise, 2)
            4.15
        """
        if clients < FEWEST_CLIENTS:
            raise UsageError(
                f"There are too few clients for a meaningful client-level epsilon: {clients}, and {FEWEST_CLIENTS} is "
                "the minimum; use more clients, or omit epsilon."
            )
        if clip is None:
            raise UsageError("Client-level differential privacy needs the largest norm of an update; set clip.")
        # A mechanism that publishes one random client in full has delta 1 / n.
        if delta >= 1 / clients:
            raise UsageError(f"delta {delta:g} is not below 1/{clients}: one client could be revealed completely.")
        noise = noise_for(epsilon, delta, sampling_rate=1.0, steps=rounds, adjacency="add-remove")
        return cls(noise, clip, delta, rounds)

    def epsilon(self, rounds: int | None = None) -> float:
        """Return the epsilon of a number of rounds, by default of all planned rounds."""
        steps = self.rounds if rounds is None else rounds
        return spent([(SubsampledGaussian(self.noise, 1.0, steps), 1)], self.delta, "add-remove").epsilon

    def added(self, mean: Vector, clients: int) -> Vector:
        """Return the mean of clipped updates of equal weight with the noise of their sum.

        Args:
            mean: mean of the answers.
            clients: number of clients, which is public because the log names them.
        """
        # The number of clients is public, so adding noise to the mean is the same as adding it to the sum.
        noisy: Vector = (mean + gaussian(len(mean)) * (self.noise * self.clip / clients)).astype(np.float32)
        return noisy

    def described(self) -> ClientPrivacy:
        """Return the statement of the noise in the opening of the run."""
        return ClientPrivacy(self.noise, self.clip, self.delta)


def require_no_statistics(layout: Layout) -> None:
    """Refuse a model with running statistics, which noise would invalidate.

    Raises:
        UsageError: the model has running statistics.
    """
    if not layout.where(lambda _, learned: learned).all():
        raise UsageError("The model has running statistics, which noise would invalidate; run fold_norms before.")
