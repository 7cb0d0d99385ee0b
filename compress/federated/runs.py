"""Whole runs in memory, as the passes call them: from a model and rows of a train part to the model that comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch import nn

from certify.core.errors import UsageError
from certify.core.federation import Spent, Use
from certify.core.progress import Progress
from certify.data import Preprocess, Split
from compress.federated.client_privacy import require_no_statistics
from compress.federated.coordinator import Coordinator
from compress.federated.distilling import Distiller, Teaching
from compress.federated.learner import Learner, LocalTraining
from compress.federated.local_data import Cut
from compress.federated.memory import Lost, Memory
from compress.federated.opening import opening_of_logits, opening_of_rounds
from compress.federated.partition import Rows
from compress.federated.plan import Plan
from compress.federated.public_samples import PublicSamples
from compress.federated.simulation import Simulation
from compress.federated.weights import digest


@dataclass(frozen=True)
class Simulated:
    """The clients of a run in memory.

    Attributes:
        split: the train part.
        rows: of each client.
        names: of the clients.
        preprocess: the contract.
        use: what the samples are used for.
        lost: who goes away.
        progress: where to say how far it is.
        device: that clients train on.
    """

    split: Split
    rows: Sequence[Rows]
    names: Sequence[str]
    preprocess: Preprocess
    use: Use
    lost: Lost
    progress: Progress
    device: str = "cpu"

    def transport(self, place: Simulation, learner: Learner, public: PublicSamples | None = None) -> Memory:
        """The way to them; the samples are read here, once."""
        cut = Cut(self.split, self.rows, self.preprocess)
        return Memory(self.names, place.clients(cut.client, self.names, learner, public), self.lost)


def run_in_memory(model: nn.Module, clients: Simulated, plan: Plan, place: Simulation) -> dict[str, Any]:
    """Train a model by simulated clients, in place; a run that was killed resumes after its last closed round.

    Args:
        model: in evaluation mode.
        clients: who trains.
        plan: what is fixed.
        place: for log and checkpoints.

    Returns:
        What was done, as JSON values.

    Raises:
        UsageError: noise would fall on running statistics.
        ModelError: the loss or the weights are not finite.
    """
    learner = Learner(model, clients.preprocess, clients.device)
    layout = learner.layout
    if plan.noise is not None:
        require_no_statistics(layout)
    content = layout.content(model)
    log = place.opened(opening_of_rounds(plan, layout, digest(content), len(clients.names), clients.use))
    transport = clients.transport(place, learner)
    server = Coordinator(plan, layout, transport, log, place.folder, clients.progress)
    server.start(content)
    layout.load(model, server.run())
    if not place.ended:
        log.end(digest(server.model), Spent(0.0))
    place.close()
    done = place.told()
    return done if plan.noise is None else {**done, "client_epsilon": plan.noise.epsilon(), "noise": plan.noise.noise}


def distil_in_memory(
    model: nn.Module,
    clients: Simulated,
    public: Split,
    training: LocalTraining,
    teaching: Teaching,
    place: Simulation,
    *,
    weighted: bool = True,
    seed: int = 0,
) -> dict[str, Any]:
    """Teach a model by what simulated clients say of public samples, in place.

    Args:
        model: in evaluation mode.
        clients: who answers.
        public: samples that all clients have; their labels are not read.
        training: what clients do first.
        teaching: what the server does then.
        place: for the log.
        weighted: whether clients count by the band of their number of samples.
        seed: of every choice.

    Returns:
        What was done, as JSON values.

    Raises:
        UsageError: the model predicts numbers.
        ModelError: the loss is not finite.
    """
    if clients.split.targets is not None:
        raise UsageError("federated_distill compares answers about classes, and the data hold numbers to predict.")
    learner = Learner(model, clients.preprocess, clients.device)
    samples = PublicSamples.of(public, clients.preprocess)
    layout = learner.layout
    content = layout.content(model)
    outputs = len(samples.answers(model)) // 2 // len(samples)
    population = len(clients.names)
    log = place.opened(
        opening_of_logits(samples, outputs, teaching.temperature, layout, digest(content), population, clients.use)
    )
    if log.closed:
        layout.load(model, place.kept())
    else:
        transport = clients.transport(place, learner, samples)
        Distiller(
            layout, transport, log, samples, outputs, training, teaching, seed=seed, weighted=weighted,
            progress=clients.progress, device=clients.device, keep=place.keep,
        ).run(model)  # fmt: skip
    if not place.ended:
        log.end(digest(layout.content(model)), Spent(0.0))
    place.close()
    return place.told()
