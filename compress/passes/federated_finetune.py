"""Recovery training on clients whose samples stay local."""

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
    """Train the compressed model on the samples of many clients, which send updates and keep their samples.

    In each round the selected clients train the global model and send the change of its weights; the server aggregates
    the updates. A small model has small updates, so put this pass after one that prunes. `update` is their form:
    `float32`; `int8` with error feedback; `top-k`; or `int8-masked`, with which the server sees only sums. Rounds are
    signed and chained in `federation.jsonl`, with their bytes and joules. In a job, one process runs all clients one
    after another; `leanmark federate` runs the same rounds over a network.

    Papers: FedAvg, McMahan et al. 2017 (arXiv 1602.05629); FedProx, Li et al. 2020 (arXiv 1812.06127); momentum and
    Adam on the server, Hsu et al. 2019 (arXiv 1909.06335) and Reddi et al. 2021 (arXiv 2003.00295); error feedback,
    Karimireddy et al. 2019 (arXiv 1901.09847); masks, Bonawitz et al. 2017 (doi 10.1145/3133956.3133982); median and
    trimmed mean, Yin et al. 2018 (arXiv 1803.01498); noise on clients' updates, McMahan et al. 2018 (arXiv 1710.06963).

    When not to use it: if the samples may be in one place, since `finetune` and `distill` then need less compute; with
    `epsilon` and few clients, since the noise may exceed the mean update.

    Example:
        >>> FederatedFinetune(clients=20, update="int8").rounds
        10
    """

    name: ClassVar[str] = "federated_finetune"
    version: ClassVar[int] = 1
    tags: ClassVar[PassTags] = PassTags(
        quick={"clients": 3, "rounds": 2, "batch": 32, "update": "int8"}, leaves=("federation.jsonl",)
    )

    rounds: int = Field(default=10, ge=1, le=100_000, description="Number of rounds.")
    participation: float = Field(default=1.0, gt=0, le=1, description="Share of the clients selected in a round.")
    update: Literal["float32", "int8", "int8-masked", "top-k"] = Field(default="int8", description="Form of updates.")
    kept: float = Field(default=0.05, gt=0, le=1, description="Share of the values in a top-k update.")
    clip: float | None = Field(default=None, gt=0, description="Largest norm of an update; unlimited by default.")
    rule: Literal["mean", "median", "trimmed-mean", "norm-bound"] = Field(
        default="mean", description="Rule of aggregation; all but the mean tolerate some poisoned clients."
    )
    trimmed: float = Field(default=0.2, gt=0, lt=0.5, description="Share excluded at each end by trimmed-mean.")
    server: Literal["none", "momentum", "adam"] = Field(default="none", description="Optimizer of the server.")
    server_lr: float = Field(default=1.0, gt=0, le=100, description="Learning rate of the server.")
    server_momentum: float = Field(
        default=0.9, ge=0, lt=1, description="Momentum of the server, or beta_1 of its Adam."
    )
    stragglers: float = Field(
        default=0.0, ge=0, lt=1, description="Share of clients that answer too late in each round; simulations only."
    )
    epsilon: float | None = Field(
        default=None, gt=0, description="Client-level epsilon over all rounds; no noise by default."
    )
    delta: float = Field(default=1e-5, gt=0, lt=1, description="Delta of epsilon; must be below 1 / clients.")

    @model_validator(mode="after")
    def _fits(self) -> FederatedFinetune:
        # Check when the recipe is read, long before clients have trained for the first round.
        if self.update == "int8-masked" and self.rule != "mean":
            raise ValueError(
                f"rule {self.rule} compares single updates, and masked ones reveal only their sum; use update: int8"
            )
        if self.epsilon is not None and (self.clip is None or self.rule != "mean"):
            raise ValueError("epsilon needs clip, the largest norm of an update, and rule: mean")
        return self

    def plan(self, context: PassContext, clients: int) -> Plan:
        """Return the settings of the run.

        Raises:
            UsageError: there are too few clients for masks or epsilon, or no noise level keeps the budget.
        """
        noise = None
        if self.epsilon is not None:
            noise = federated.NoisySum.of(self.epsilon, self.delta, self.clip, self.rounds, clients)
        return federated.Plan(
            rounds=self.rounds,
            # A small share of a few clients would round to none.
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
            UsageError: there are no or too few train samples, too few clients, or incompatible settings.
            ModelError: the loss or the weights are not finite.
        """
        # Recipes are the same in simulations and on a fleet, which `leanmark federate run` connects around the job.
        fleet = federated.connected()
        if fleet is not None:
            return self._on_fleet(model, context, fleet)
        clients = self.simulated(context, "finetune", self.stragglers)
        plan = self.plan(context, len(clients.names))
        trained = copy.deepcopy(model).eval()
        with self.simulation(context) as place:
            done = federated.run_in_memory(trained, clients, plan, place)
        return trained, PassRecord({**done, **self.message(clients)})

    def _on_fleet(self, model: nn.Module, context: PassContext, fleet: Fleet) -> tuple[nn.Module, PassRecord]:
        """Run the rounds on real clients, each with its own samples."""
        plan = self.plan(context, fleet.clients)
        trained = copy.deepcopy(model).eval()
        with self.simulation(context) as place:
            done = federated.run_on_fleet(trained, fleet, plan, place, context)
        return trained, PassRecord({**done, "clients": fleet.clients})
