"""Distillation from clients whose samples and weights stay local."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from certify.core.errors import UsageError
from compress import federated
from compress import private as engines
from compress.core.context import PassContext
from compress.core.further_data import FurtherData
from compress.core.pass_protocol import PassRecord, PassTags
from compress.passes.federated_options import FederatedTraining
from compress.private.budget import public_source

if TYPE_CHECKING:
    from torch import nn


class FederatedDistill(FederatedTraining):
    """Distil the logits of simulated clients on public samples, sent once, into the compressed model (FedDF).

    Each client trains the model on its own samples for `epochs`, and sends its logits on the public samples in half
    precision. The server distils their mean into the model. The size of answers does not depend on the model: 2 bytes
    per public sample and output. Labels of the public samples are not read.

    Papers: Lin et al. 2020 (arXiv 2006.07242).

    When not to use it: without public samples that resemble the clients'; if many rounds are cheap, since
    `federated_finetune` then reaches a higher accuracy; on real clients (`leanmark federate`), which it refuses.

    Example:
        >>> FederatedDistill(clients=20).epochs
        10
    """

    name: ClassVar[str] = "federated_distill"
    version: ClassVar[int] = 1
    tags: ClassVar[PassTags] = PassTags(
        quick={"clients": 3, "epochs": 1, "batch": 32, "public_epochs": 2}, leaves=("federation.jsonl",)
    )

    epochs: int = Field(default=10, ge=1, le=10_000, description="Epochs of a client over its samples.")
    public: str = Field(
        default="calibration",
        description="Public samples: a data specification, or the split validation or calibration.",
    )
    public_epochs: int = Field(default=40, ge=1, le=10_000, description="Epochs of the server over the public samples.")
    public_lr: float = Field(default=2e-3, gt=0, le=10, description="Peak learning rate of the server.")
    public_samples: int = Field(default=2000, ge=2, le=1_000_000, description="Maximum number of public samples.")
    temperature: float = Field(default=2.0, ge=1, le=100, description="Temperature of the softmax.")

    @property
    def further_data(self) -> FurtherData | None:
        """See :attr:`Pass.further_data`."""
        return public_source(self.public)

    def apply(self, model: nn.Module, context: PassContext) -> tuple[nn.Module, PassRecord]:
        """See :meth:`Pass.apply`.

        Raises:
            UsageError: a fleet is connected, which this pass cannot use; there are no train or public samples, or too
                few train samples for the clients.
            DataError: the public data contain train or test samples.
            ModelError: the loss is not finite.
        """
        # The messages of a fleet carry updates of weights, not outputs on public samples.
        if federated.connected() is not None:
            raise UsageError(
                "federated_distill simulates its clients and cannot run on a fleet; use federated_finetune."
            )
        clients = self.simulated(context, "distil")
        found = engines.public_data(self.public, context, clients.split, self.name).split
        public = found.subset(range(min(len(found), self.public_samples)))
        teaching = federated.Teaching(self.public_epochs, self.batch, self.public_lr, self.temperature)
        student = copy.deepcopy(model).eval()
        with self.simulation(context) as place:
            done = federated.distil_in_memory(
                student, clients, public, self.training(context), teaching, place,
                weighted=self.weighting == "size", seed=context.seed,
            )  # fmt: skip
        return student, PassRecord({**done, **self.message(clients)})
