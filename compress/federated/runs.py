"""Complete simulated runs, as called by the passes."""

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
from compress.federated.distillation import Distiller, Teaching
from compress.federated.learner import Learner, LocalTraining
from compress.federated.local_data import Cut
from compress.federated.memory import Lost, Memory
from compress.federated.partition import Rows
from compress.federated.plan import Plan
from compress.federated.public_samples import PublicSamples
from compress.federated.run_opening import opening_of_logits, opening_of_rounds
from compress.federated.simulation import Simulation
from compress.federated.weights import digest


@dataclass(frozen=True)
class Simulated:
    """Clients of a simulated run.

    Attributes:
        split: train split.
        rows: rows of each client.
        names: names of the clients.
        preprocess: preprocessing contract.
        use: use of the samples.
        lost: simulated faults.
        progress: display of progress.
        device: device on which clients train.
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
        """Return the transport to the clients, after reading the samples once."""
        cut = Cut(self.split, self.rows, self.preprocess)
        return Memory(self.names, place.clients(cut.client, self.names, learner, public), self.lost)


def run_in_memory(model: nn.Module, clients: Simulated, plan: Plan, place: Simulation) -> dict[str, Any]:
    """Train a model on simulated clients, in place; a killed run resumes after its last closed round.

    Args:
        model: model in eval mode.
        clients: simulated clients.
        plan: settings of the run.
        place: files of the run.

    Returns:
        Summary of the run, as JSON values.

    Raises:
        UsageError: noise would be added to running statistics.
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
    done = place.summary()
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
    """Distil the logits of simulated clients on public samples into a model, in place.

    Args:
        model: model in eval mode.
        clients: simulated clients.
        public: samples that all clients have; their labels are not read.
        training: local training of clients.
        teaching: settings of the server's distillation.
        place: files of the run.
        weighted: whether clients are weighted by the band of their number of samples.
        seed: seed of all random choices.

    Returns:
        Summary of the run, as JSON values.

    Raises:
        UsageError: the data have numeric targets.
        ModelError: the loss is not finite.
    """
    if clients.split.targets is not None:
        raise UsageError("federated_distill needs classes, and the data have numeric targets; use federated_finetune.")
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
        layout.load(model, place.stored_model())
    else:
        transport = clients.transport(place, learner, samples)
        Distiller(
            layout, transport, log, samples, outputs, training, teaching, seed=seed, weighted=weighted,
            progress=clients.progress, device=clients.device, keep=place.store_model,
        ).run(model)  # fmt: skip
    if not place.ended:
        log.end(digest(layout.content(model)), Spent(0.0))
    place.close()
    return place.summary()
