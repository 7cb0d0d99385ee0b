"""Settings of a federated run, fixed before its first round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from certify.core.errors import UsageError
from certify.core.federation import Rule as LoggedRule
from certify.core.federation import Update
from compress.federated.aggregation import Rule, ServerStep
from compress.federated.client_privacy import NoisySum
from compress.federated.forms import Float32, Form, Int8, TopK, first_bounds
from compress.federated.learner import LocalTraining
from compress.federated.masks import RING_BYTES, groups_of, threshold_of
from compress.federated.weights import Layout, Vector

FormName = Literal["float32", "int8", "int8-masked", "top-k"]
Weighting = Literal["size", "equal"]


@dataclass(frozen=True)
class Plan:
    """Settings of FedAvg and its variants.

    Attributes:
        rounds: number of rounds.
        per_round: number of clients selected in each round.
        training: local training of clients.
        update: form of the answers.
        kept: share of the values in a ``top-k`` answer.
        clip: largest norm of an answer; None for no limit.
        weighting: ``size`` weights clients by the band of their number of samples, which the log states; ``equal``
            weights all alike, as robust rules and differential privacy always do.
        rule: rule of aggregation.
        server: optimizer of the server.
        noise: noise for client-level differential privacy; None for none.
        deadline_s: seconds to wait for answers; None waits for all.
        seed: seed of all random choices except secrets.

    Raises:
        UsageError: the settings are incompatible.
    """

    rounds: int
    per_round: int
    training: LocalTraining = field(default_factory=LocalTraining)
    update: FormName = "float32"
    kept: float = 0.05
    clip: float | None = None
    weighting: Weighting = "size"
    rule: Rule = field(default_factory=Rule)
    server: ServerStep = field(default_factory=ServerStep)
    noise: NoisySum | None = None
    deadline_s: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        self.rule.require_clear(self.masked)
        if self.noise is not None and self.rule.is_robust:
            raise UsageError(
                f"Noise is accounted for on a mean of clipped updates, not under the rule {self.rule.name}."
            )
        if self.masked:
            groups_of([""] * self.per_round)

    @property
    def masked(self) -> bool:
        """Whether the server sees only sums of answers."""
        return self.update == "int8-masked"

    @property
    def equal(self) -> bool:
        """Whether all clients have the same weight."""
        return self.weighting == "equal" or self.rule.is_robust or self.noise is not None

    def bounds(self, vector: Vector, layout: Layout) -> tuple[float, ...]:
        """Return the first grid of integers; empty for other forms."""
        return first_bounds(vector, layout.parts, self.clip) if self.update.startswith("int8") else ()

    def form(self, layout: Layout, bounds: tuple[float, ...]) -> Form:
        """Return the form of a round's answers.

        Args:
            layout: layout of the model.
            bounds: bounds of the grid.
        """
        if self.update == "float32":
            return Float32(layout.count, self.clip)
        if self.update == "top-k":
            return TopK(layout.count, max(1, round(self.kept * layout.count)), self.clip)
        return Int8(layout.parts, bounds, self.clip, votes=self.noise is None)

    def groups(self, ids: Sequence[str]) -> list[list[str]]:
        """Return the groups of clients whose masks cancel.

        Raises:
            UsageError: there are too few clients.
        """
        return groups_of(sorted(ids))

    @property
    def threshold(self) -> int:
        """Minimum number of clients of a group that must answer; 0 without masks."""
        if not self.masked:
            return 0
        return threshold_of(max(map(len, self.groups([""] * self.per_round))))

    def logged_update(self, layout: Layout) -> Update:
        """Return the form of answers for the opening of the log."""
        count = layout.count
        parameters = {} if self.clip is None else {"clip": float(self.clip)}
        if self.update == "float32":
            return Update("float32", count, 32, 0, parameters)
        if self.update == "top-k":
            return Update("top-k", max(1, round(self.kept * count)), 64, 0, parameters)
        votes = len(layout.parts)
        if self.masked:
            return Update("int8-masked", count, 8 * RING_BYTES, RING_BYTES * votes, parameters)
        return Update("int8", count, 8, votes, parameters)

    def logged_aggregation(self) -> LoggedRule:
        """Return the rule of aggregation for the opening of the log."""
        parameters = {"trimmed": self.rule.trimmed} if self.rule.name == "trimmed-mean" else {}
        if self.training.proximal:
            parameters["proximal"] = float(self.training.proximal)
        if self.server.name != "none":
            parameters |= {"momentum": self.server.momentum, "lr": self.server.lr}
        name = self.rule.name if self.server.name == "none" else f"{self.rule.name}-{self.server.name}"
        return LoggedRule(name, parameters)

    def logged_selection(self) -> LoggedRule:
        """Return the rule of selection for the opening of the log."""
        return LoggedRule("uniform", {"clients": float(self.per_round)})
