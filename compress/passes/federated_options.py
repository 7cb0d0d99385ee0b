"""Common parameters of the federated passes: clients, local training and the log."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from certify.core.federation import Use
from compress import federated
from compress.core.context import PassContext
from compress.core.pass_protocol import TorchPass

if TYPE_CHECKING:
    from certify.data import Split
    from compress.federated.learner import LocalTraining
    from compress.federated.partition import Rows
    from compress.federated.runs import Simulated
    from compress.federated.simulation import Simulation

FLIPPED_FROM = 64
"""Pixels; larger images are taken for photographs, which may be mirrored."""


class FederatedTraining(TorchPass):
    """A pass whose clients train on parts of the train samples; subclasses define what they send."""

    clients: int = Field(
        default=10, ge=2, le=100_000, description="Number of clients among which the train samples are divided."
    )
    partition: Literal["iid", "dirichlet", "column"] = Field(
        default="iid", description="Division: evenly, with skewed classes, or one client per value of a column."
    )
    alpha: float = Field(
        default=0.3, gt=0, le=1e6, description="Concentration of dirichlet; small values give each client few classes."
    )
    column: str | None = Field(default=None, description="Column of groups that names the client of each sample.")
    epochs: int = Field(default=1, ge=1, le=10_000, description="Epochs of a client over its samples in a round.")
    batch: int = Field(default=64, ge=2, le=65_536, description="Batch size of the clients.")
    lr: float = Field(default=2e-3, gt=0, le=10, description="Peak learning rate of the clients.")
    optimizer: Literal["adamw", "sgd"] = Field(default="adamw", description="Optimizer of the clients.")
    weight_decay: float = Field(default=0.02, ge=0, le=1, description="Weight decay of the clients.")
    warmup: float = Field(default=0.0, ge=0, lt=1, description="Share of the rounds in which the learning rate rises.")
    label_smoothing: float = Field(default=0.0, ge=0, lt=1, description="Share of the target spread over all classes.")
    augment: bool = Field(default=True, description="Whether to shift images by a few pixels at random.")
    flip: bool | None = Field(
        default=None, description="Whether to mirror images at random; by default those over 64 pixels."
    )
    proximal: float = Field(default=0.0, ge=0, le=1e6, description="Weight of FedProx's proximal term; 0 is FedAvg.")
    weighting: Literal["size", "equal"] = Field(
        default="size", description="Weights of clients: the band of their number of samples, or equal."
    )
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="Share of clients that drop out in each round; simulations only."
    )

    @model_validator(mode="after")
    def _named(self) -> FederatedTraining:
        if (self.partition == "column") != (self.column is not None):
            raise ValueError("column must be given with partition: column, and only then")
        return self

    @property
    def trains(self) -> bool:
        """See :attr:`TorchPass.trains`."""
        return True

    def cut(self, split: Split, seed: int) -> tuple[list[str], list[Rows]]:
        """Return the names of the clients, and the rows of each.

        Raises:
            UsageError: there are too few samples, or no such column.
        """
        if self.column is not None:
            return federated.by_column(split, self.column)
        if self.partition == "dirichlet":
            rows = federated.dirichlet(split.labels, self.clients, self.alpha, seed)
        else:
            rows = federated.iid(len(split), self.clients, seed)
        return federated.names_of(self.clients), rows

    def training(self, context: PassContext) -> LocalTraining:
        """Return the settings of local training."""
        shared = ("epochs", "batch", "lr", "optimizer", "weight_decay", "warmup", "label_smoothing", "augment")
        flip = self.flip if self.flip is not None else min(context.data.input_size) > FLIPPED_FROM
        settings = {name: getattr(self, name) for name in shared}
        return federated.LocalTraining(**settings, flip=flip, proximal=self.proximal)

    def simulated(
        self, context: PassContext, action: Literal["finetune", "distil"], stragglers: float = 0.0
    ) -> Simulated:
        """Return the simulated clients with the use of their samples.

        Raises:
            UsageError: there are no train samples, too few of them, or no such column.
        """
        split = context.data.part("train", self.name)
        names, rows = self.cut(split, context.seed)
        # A use policy states the purpose of its data; without one, no purpose is stated.
        guard = split.guard
        use = (
            Use(action, federated.NOT_STATED) if guard is None else Use(action, guard.use.purpose, guard.use.recipient)
        )
        lost = federated.Faults(tuple(names), self.dropout, stragglers, context.seed)
        return federated.Simulated(split, rows, names, context.preprocess, use, lost, context.progress, context.device)

    @staticmethod
    def message(clients: Simulated) -> dict[str, Any]:
        """Return the number of clients and their smallest and largest number of samples, for the record."""
        return {"clients": len(clients.names), "samples_of_a_client": list(federated.sizes(clients.rows))}

    @contextlib.contextmanager
    def simulation(self, context: PassContext) -> Iterator[Simulation]:
        """Yield the files of the run: in the job's workspace, which keeps the log, or in a temporary folder."""
        # An interrupted job finds its rounds there again, and leanmark state reads the log.
        if context.workspace is not None:
            folder = context.workspace / f"{context.place}-{self.name}"
            yield federated.Simulation(folder, context.workspace / federated.log_name(context.place))
            return
        with tempfile.TemporaryDirectory() as scratch:
            yield federated.Simulation(Path(scratch) / "run", Path(scratch) / "log")
