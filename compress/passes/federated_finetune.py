"""Recovery training by clients that keep their samples."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from compress import federated
from compress.core.context import PassContext
from compress.core.pass_protocol import PassRecord, PassTags
from compress.passes.federated_options import FederatedTraining

if TYPE_CHECKING:
    from torch import nn

    from compress.federated.fleet import Fleet
    from compress.federated.plan import Plan


class FederatedFinetune(FederatedTraining):
    """Train the compressed model on the samples of many clients, who send updates and keep the samples.

    In each round some clients train from the global model and send what changed; the server combines the updates. A
    small model makes small updates: put this pass after one that prunes. `update` sets their encoding: `int8`, with the
    rounding error added to the next update; `top-k`; or `int8-masked`, of which the server only sees sums. The rounds
    are signed, chained and counted in bytes and joules in `federation.jsonl`. Here one process simulates all clients in
    turn; `leanmark federate` runs the same rounds over a network.

    Papers: FedAvg, McMahan et al. 2017 (arXiv 1602.05629); FedProx, Li et al. 2020 (arXiv 1812.06127); momentum and
    Adam on the server, Hsu et al. 2019 (arXiv 1909.06335) and Reddi et al. 2021 (arXiv 2003.00295); error feedback,
    Karimireddy et al. 2019 (arXiv 1901.09847); masks, Bonawitz et al. 2017 (doi 10.1145/3133956.3133982); median and
    trimmed mean, Yin et al. 2018 (arXiv 1803.01498); noise on clients' updates, McMahan et al. 2018 (arXiv 1710.06963).

    When not to use it: where the samples may be stored in one place, as `finetune` and `distill` then do better with
    less compute; with `epsilon` on fewer than some thousand clients, where the noise drowns the mean.

    Example:
        >>> FederatedFinetune(clients=20, update="int8").rounds
        10
    """

    name: ClassVar[str] = "federated_finetune"
    version: ClassVar[int] = 1
    tags: ClassVar[PassTags] = PassTags(
        quick={"clients": 3, "rounds": 2, "batch": 32, "update": "int8"}, leaves=("federation.jsonl",)
    )

    rounds: int = Field(default=10, ge=1, le=100_000, description="Number of rounds of training and aggregation.")
    participation: float = Field(default=1.0, gt=0, le=1, description="Share of the clients selected in each round.")
    update: Literal["float32", "int8", "int8-masked", "top-k"] = Field(
        default="int8", description="Encoding of the updates."
    )
    kept: float = Field(default=0.05, gt=0, le=1, description="Share of the values kept in a top-k update.")
    clip: float | None = Field(default=None, gt=0, description="Maximum norm of an update. Default: unlimited.")
    rule: Literal["mean", "median", "trimmed-mean", "norm-bound"] = Field(
        default="mean", description="Aggregation of updates; all rules except mean withstand some malicious clients."
    )
    trimmed: float = Field(
        default=0.2, gt=0, lt=0.5, description="Share of values dropped at each end by trimmed-mean."
    )
    server: Literal["none", "momentum", "adam"] = Field(
        default="none", description="Optimizer of the server for the combined update."
    )
    server_lr: float = Field(default=1.0, gt=0, le=100, description="Learning rate of the server.")
    server_momentum: float = Field(default=0.9, ge=0, lt=1, description="Momentum of the server's optimizer.")
    stragglers: float = Field(
        default=0.0, ge=0, lt=1, description="Simulated share of clients that answer too late in each round."
    )
    epsilon: float | None = Field(
        default=None, gt=0, description="Epsilon of client-level differential privacy over all rounds. Default: none."
    )
    delta: float = Field(default=1e-5, gt=0, lt=1, description="Delta for which epsilon holds; below 1 / clients.")

    @model_validator(mode="after")
    def _fits(self) -> FederatedFinetune:
        if self.update == "int8-masked" and self.rule != "mean":
            raise ValueError(
                f"rule {self.rule} compares single updates, but masked ones only show their sum; use update: int8"
            )
        if self.epsilon is not None and (self.clip is None or self.rule != "mean"):
            raise ValueError("epsilon needs clip, the largest norm of an update, and rule: mean")
        return self

    def plan(self, context: PassContext, clients: int) -> Plan:
        """Return everything that is fixed before the first round.

        Raises:
            UsageError: there are too few clients for masks or for epsilon, or no noise keeps the budget.
        """
        noise = None
        if self.epsilon is not None:
            noise = federated.NoisySum.of(self.epsilon, self.delta, self.clip, self.rounds, clients)
        return federated.Plan(
            rounds=self.rounds,
            per_round=max(1, round(self.participation * clients)),
            training=self.training(context),
            update=self.update,
            kept=self.kept,
            clip=self.clip,
            weighting=self.weighting,
            rule=federated.Rule(self.rule, self.trimmed),
            server=federated.ServerStep(self.server, self.server_lr, self.server_momentum),
            noise=noise,
            seed=context.seed,
        )

    def apply(self, model: nn.Module, context: PassContext) -> tuple[nn.Module, PassRecord]:
        """See :meth:`Pass.apply`.

        Raises:
            UsageError: there are no train samples, too few of them or of clients, or settings that do not fit.
            ModelError: the loss or the weights are not finite.
        """
        fleet = federated.connected()
        if fleet is not None:
            return self._on_fleet(model, context, fleet)
        clients = self.simulated(context, "finetune", self.stragglers)
        plan = self.plan(context, len(clients.names))
        made = copy.deepcopy(model).eval()
        with self.simulation(context) as place:
            done = federated.run_in_memory(made, clients, plan, place)
        return made, PassRecord({**done, **self.told(clients)})

    def _on_fleet(self, model: nn.Module, context: PassContext, fleet: Fleet) -> tuple[nn.Module, PassRecord]:
        """Run the same rounds on real clients, each with its own samples."""
        plan = self.plan(context, fleet.clients)
        made = copy.deepcopy(model).eval()
        with self.simulation(context) as place:
            done = federated.run_on_fleet(made, fleet, plan, place, context)
        return made, PassRecord({**done, "clients": fleet.clients})
