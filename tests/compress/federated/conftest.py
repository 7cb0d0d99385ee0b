"""A small fleet in memory, whose parts tests take one by one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from torch import nn

from certify.core.federation import FederatedRun, RoundLog, Use, parse_run
from certify.core.federation.consistency import CHECKS, problems
from certify.data import Dataset, default_preprocess
from compress.federated.client import Client
from compress.federated.coordinator import Coordinator
from compress.federated.learner import Learner, LocalTraining
from compress.federated.local_data import Cut
from compress.federated.memory import Lost, Memory, nobody
from compress.federated.partition import iid, names_of
from compress.federated.plan import Plan
from compress.federated.run_opening import opening_of_rounds
from compress.federated.simulation import Simulation
from compress.federated.weights import Layout, digest
from compress.testing.networks import blobs
from compress.training.training import evaluate

TRAINING = LocalTraining(epochs=1, batch=16, lr=0.02)


def small_model() -> nn.Module:
    """196 parameters that tell bright quarters apart."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.Linear(48, 4)).eval()


def accuracy(content: bytes) -> float:
    """Accuracy of the small model with the weights of a run."""
    model, data = small_model(), blobs()
    Layout.of(model).load(model, content)
    return float(evaluate(model, data.test, default_preprocess(data)).accuracy)


@dataclass
class Fleet:
    """Clients over one folder, whose server can be stopped and made again.

    Attributes:
        folder: of the run.
        plan: what is fixed.
        clients: how many there are.
        lost: who goes away.
        changed: is given each client when it is made.
    """

    folder: Path
    plan: Plan
    clients: int = 5
    lost: Lost = nobody
    changed: Callable[[str, Client], None] = lambda name, client: None
    data: Dataset = field(default_factory=blobs)

    @property
    def place(self) -> Simulation:
        return Simulation(self.folder / "run", self.folder / "federation.jsonl")

    def server(self, wrap: Callable[[Memory], object] = lambda transport: transport) -> Coordinator:
        """A server over the folder, new or resumed."""
        split, contract = self.data.train, default_preprocess(self.data)
        assert split is not None
        learner, names = Learner(small_model(), contract), names_of(self.clients)
        content = learner.layout.content(small_model())
        use = Use("finetune", "not stated")
        self.log: RoundLog = self.place.opened(
            opening_of_rounds(self.plan, learner.layout, digest(content), self.clients, use)
        )
        cut = Cut(split, iid(len(split), self.clients, 0), contract)
        made = self.place.clients(cut.client, names, learner)

        def make(name: str) -> Client:
            client = made(name)
            self.changed(name, client)
            return client

        transport = wrap(Memory(names, make, self.lost))
        server = Coordinator(
            self.plan, learner.layout, transport, self.log, self.place.folder,  # type: ignore[arg-type]
        )  # fmt: skip
        server.start(content)
        return server

    def run(self) -> bytes:
        """All rounds; the bytes of the model."""
        server = self.server()
        model = server.run()
        self.log.stop()
        return model

    def read(self) -> FederatedRun:
        """The log as a stranger reads it."""
        return parse_run((self.folder / "federation.jsonl").read_bytes(), "the log")

    def sound(self) -> FederatedRun:
        """The log, once every check holds but the one for its end."""
        run = self.read()
        found = {name: problems(run, name) for name in CHECKS if name != "final_model"}
        assert not any(found.values()), found
        return run


@pytest.fixture
def fleet(tmp_path: Path) -> Callable[..., Fleet]:
    """Makes fleets in folders of their own."""
    made = []

    def make(clients: int = 5, lost: Lost = nobody, **plan: object) -> Fleet:
        settings: dict[str, object] = {"rounds": 2, "per_round": clients, "training": TRAINING, **plan}
        made.append(Fleet(tmp_path / f"fleet-{len(made)}", Plan(**settings), clients, lost))  # type: ignore[arg-type]
        return made[-1]

    return make
