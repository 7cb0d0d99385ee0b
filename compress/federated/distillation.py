"""Federated distillation (FedDF): clients send their logits on public samples once, instead of weights.

Lin et al. 2020 (arXiv 2006.07242). Each client trains the global model on its own samples and sends its logits on the
public samples in half precision. The server distils their mean, weighted as updates are, into the model. The size of
answers does not depend on the size of the model.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from certify.core.errors import DataError
from certify.core.federation import MessageRefused, Payload, RoundLog
from certify.core.progress import Progress, Silent
from compress.federated.collection import Clients
from compress.federated.costs import Spending
from compress.federated.learner import LocalTraining, seeded
from compress.federated.messages import Outgoing
from compress.federated.public_samples import PublicSamples, read_logits
from compress.federated.sampling import seed_of
from compress.federated.transport import Transport
from compress.federated.weights import Layout, digest
from compress.training.config import TrainingConfig
from compress.training.distillation import OUTPUT_LOSSES
from compress.training.optimization import Run
from compress.training.task import Task

Logits = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Teaching:
    """Settings of the server's distillation.

    Attributes:
        epochs: epochs over the public samples.
        batch: batch size.
        lr: peak learning rate of a cosine schedule.
        temperature: temperature of the softmax.
    """

    epochs: int = 40
    batch: int = 64
    lr: float = 2e-3
    temperature: float = 2.0


@dataclass(frozen=True)
class LogitsTask(Task):
    """Task whose labels are row numbers of a table of the teacher's logits.

    Attributes:
        table: logits, (samples, outputs).
        temperature: temperature of the softmax.
    """

    table: torch.Tensor = field(default_factory=lambda: torch.zeros(0))
    temperature: float = 2.0

    def loss(self, outputs: torch.Tensor, labels: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
        """Return the Kullback-Leibler divergence from the teacher's softened outputs (Hinton et al. 2015)."""
        wanted = self.table.to(outputs.device)[labels]
        return OUTPUT_LOSSES["kd"](outputs, wanted, wanted.argmax(1), self.temperature)


def teach(
    model: nn.Module, public: PublicSamples, logits: Logits, teaching: Teaching, seed: int, device: str = "cpu"
) -> None:
    """Distil logits on public samples into a model, in place; it is in eval mode afterwards.

    Args:
        model: model with the same number of outputs.
        public: public samples.
        logits: logits to be learned, (n, outputs).
        teaching: settings.
        seed: seed of the order.
        device: device on which to train.

    Raises:
        ModelError: the loss is not finite.
    """
    config = TrainingConfig(epochs=teaching.epochs, batch=teaching.batch, lr=teaching.lr, warmup=0.1, keep="last")
    order = np.random.default_rng(seed)
    batches = -(-len(public) // teaching.batch)
    with seeded(seed, device):
        task = LogitsTask(None, table=torch.from_numpy(logits), temperature=teaching.temperature)
        run = Run(model, None, config, task, torch.device(device), batches * teaching.epochs)
        run.model.train()
        for _ in range(teaching.epochs):
            for part in np.array_split(order.permutation(len(public)), batches):
                places = torch.from_numpy(part)
                run.step(public.samples[places], places)
    model.to("cpu").to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    model.eval()


@dataclass
class Distiller:
    """Server of a run of FedDF: one round, in which each client answers once.

    Attributes:
        layout: layout of the model.
        transport: transport to the clients.
        log: log of the run.
        public: samples that all clients have.
        outputs: number of outputs of the model.
        training: local training of clients.
        teaching: settings of the server's distillation.
        seed: seed of all random choices.
        weighted: whether clients are weighted by the band of their number of samples.
        progress: display of progress.
        spending: meter of the server's costs.
        device: device on which the server trains.
        keep: function that stores the model's bytes before the round is closed, so that a kill between the two loses
            nothing; None stores nothing.
    """

    layout: Layout
    transport: Transport
    log: RoundLog
    public: PublicSamples
    outputs: int
    training: LocalTraining
    teaching: Teaching
    seed: int = 0
    weighted: bool = True
    progress: Progress = field(default_factory=Silent)
    spending: Spending = field(default_factory=Spending)
    device: str = "cpu"
    keep: Callable[[bytes], None] | None = None

    def run(self, model: nn.Module) -> int:
        """Collect the logits, distil them into the model in place, and return the number of answers.

        The caller ends the log. After a kill before the round's close, the round is repeated.

        Raises:
            DataError: no client enrolled or answered.
            ModelError: the loss is not finite.
        """
        clients = Clients(self.transport, self.log)
        content = self.layout.content(model)
        names = clients.enrol(sorted(self.transport.clients()), None)
        ids = sorted(clients.ids[name] for name in names)
        if not ids:
            raise DataError("No client has enrolled; start clients first.")
        begun = self.log.begin(ids, Payload(digest(content), len(content)))
        header = {"begin": begun.line.decode(), "training": asdict(self.training), "public": self.public.digest}
        headers = {name: {**header, "seed": seed_of(self.seed, name, 1)} for name in names}
        messages = Outgoing("logits", headers, content)
        answers, receipts = self._collected(clients, messages)
        for name in names:
            if name not in answers:
                clients.drop(clients.ids[name], "lost")
        if not answers:
            raise DataError("No client answered with logits, so there is nothing to distil; see the clients' messages.")
        with self.spending.measured() as bill:
            mean = self._mean(answers, clients.bands)
            with self.progress.task("Distilling from the clients' logits"):
                teach(model, self.public, mean, self.teaching, self.seed, self.device)
        aggregate = hashlib.sha256(mean.astype("<f4").tobytes()).hexdigest()
        distilled = self.layout.content(model)
        if self.keep is not None:
            self.keep(distilled)
        self.log.close(aggregate, digest(distilled), bill.spent)
        clients.receipts(receipts, None)
        return len(answers)

    def _collected(self, clients: Clients, messages: Mapping[str, bytes]) -> tuple[dict[str, Logits], dict[str, bytes]]:
        answers, receipts = {}, {}
        most = self.log.run.update.most_bytes
        with self.progress.task("Training clients", total=len(messages)) as bar:
            for name, answer in clients.collect("logits", messages, most, None):
                bar.advance()
                line = answer.values.get("line")
                try:
                    entry = self.log.examine(line.encode() if isinstance(line, str) else b"", answer.payload)
                    logits = read_logits(answer.payload, len(self.public), self.outputs)
                except MessageRefused:
                    continue
                except DataError:
                    self.log.refuse("malformed", answer.payload, clients.ids.get(name))
                    continue
                if entry.message.client != clients.ids.get(name):
                    self.log.refuse("foreign", answer.payload, entry.message.client)
                    continue
                answers[name], receipts[name] = logits, self.log.accept(entry).line
        return answers, receipts

    def _mean(self, answers: dict[str, Logits], bands: dict[str, int]) -> Logits:
        """Return the weighted mean, computed in the order of the names."""
        total, weight = np.zeros((len(self.public), self.outputs)), 0.0
        for name in sorted(answers):
            # Clients state only the band of their number of samples, so its lower end is used.
            own = float(2 ** bands[name]) if self.weighted else 1.0
            total, weight = total + own * answers[name].astype(np.float64), weight + own
        mean: Logits = (total / weight).astype(np.float32)
        return mean
