"""Local training: a few epochs over one client's samples, starting from the global model, with the common loop."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import nn

from certify.core.errors import DataError, UsageError
from certify.data import Preprocess
from compress.federated.local_data import LocalData
from compress.federated.weights import Layout, Vector
from compress.training.config import TrainingConfig
from compress.training.optimization import Hooks, Run
from compress.training.task import Task

MOST_PROXIMAL = 1e6


@dataclass(frozen=True)
class LocalTraining:
    """Settings of local training, which the server sends to all clients.

    Attributes:
        epochs: epochs over a client's samples in one round.
        batch: batch size.
        lr: peak learning rate of a cosine schedule over all rounds.
        optimizer: ``adamw`` or ``sgd``.
        weight_decay: weight decay of weights with two dimensions or more.
        warmup: share of all rounds in which the learning rate rises.
        label_smoothing: share of the target spread over all classes.
        augment: whether images are shifted at random.
        flip: whether images are mirrored at random.
        proximal: weight of FedProx's proximal term (Li et al. 2020, arXiv 1812.06127); 0 for none.
    """

    epochs: int = 1
    batch: int = 64
    lr: float = 2e-3
    optimizer: str = "adamw"
    weight_decay: float = 0.02
    warmup: float = 0.0
    label_smoothing: float = 0.0
    augment: bool = False
    flip: bool = False
    proximal: float = 0.0

    @classmethod
    def from_json(cls, values: Any) -> LocalTraining:
        """Parse the settings sent by a server.

        Raises:
            DataError: a setting is unknown, missing or invalid.
        """
        known = {name: type(value) for name, value in asdict(cls()).items()}
        if not isinstance(values, dict) or set(values) != set(known):
            raise DataError("The server's settings of local training have unknown or missing names.")
        for name, kind in known.items():
            value = values[name]
            # JSON writes 1.0 as 1.
            if kind is float and isinstance(value, int) and not isinstance(value, bool):
                value = float(value)
            # Not isinstance: True is an int.
            if type(value) is not kind:
                raise DataError(f"The setting '{name}' of local training must be of type {kind.__name__}.")
        training = cls(**{name: kind(values[name]) for name, kind in known.items()})
        try:
            training.config()
        except UsageError as error:
            raise DataError(str(error)) from error
        if not 0 <= training.proximal <= MOST_PROXIMAL:
            raise DataError(
                f"The weight of the proximal term must be in [0, {MOST_PROXIMAL:g}], got {training.proximal}."
            )
        return training

    def config(self) -> TrainingConfig:
        """Return the settings of the training loop."""
        own = {name: value for name, value in asdict(self).items() if name != "proximal"}
        return TrainingConfig(**own, keep="last")


@dataclass(frozen=True)
class Moment:
    """Position of a local training within the run.

    Attributes:
        number: number of the round, from 1.
        rounds: number of planned rounds.
        seed: seed of order, augmentation and dropout.
    """

    number: int
    rounds: int
    seed: int


@dataclass
class Learner:
    """A model of the trained architecture, shared by clients that train one after another.

    Attributes:
        model: model whose weights are overwritten; a copy is used.
        preprocess: preprocessing contract.
        device: device on which to train.
    """

    model: nn.Module
    preprocess: Preprocess
    device: str = "cpu"
    layout: Layout = field(init=False)

    def __post_init__(self) -> None:
        self.model = copy.deepcopy(self.model)
        self.layout = Layout.of(self.model)

    def learn(
        self,
        content: bytes,
        data: LocalData,
        training: LocalTraining,
        moment: Moment,
        pause: Callable[[], None] | None = None,
    ) -> Vector:
        """Train the global model on a client's samples and return the change of its weights, (count,).

        Deterministic for a given seed, device and number of threads.

        Args:
            content: bytes of the global model.
            data: data of the client.
            training: settings.
            moment: position within the run.
            pause: function called before each layer, after each layer's gradients and after each step; it may wait, or
                raise to give up.

        Raises:
            DataError: the bytes are of another model.
            ModelError: the loss is not finite.
        """
        before = self.layout.vector(content)
        self.layout.load(self.model, content)
        batches = data.loader(self.preprocess, training, moment.seed)
        steps = len(batches) * training.epochs
        with seeded(moment.seed, self.device), pausing(self.model, pause):
            run = Run(
                self.model, None, training.config(), Task.of(data.split, self.preprocess), torch.device(self.device),
                steps * moment.rounds, hooks=self._hooks(training.proximal, pause),
            )  # fmt: skip
            # The schedule runs over all rounds, so this round starts where the last one ended.
            run.done = steps * (moment.number - 1)
            run.model.train()
            for _ in range(training.epochs):
                for samples, labels in batches:
                    run.step(samples, labels)
        self.model.to("cpu").eval()
        after = self.layout.vector(self.layout.content(self.model))
        update: Vector = after - before
        return update

    def _hooks(self, proximal: float, pause: Callable[[], None] | None) -> Hooks:
        """Add FedProx's gradient of ``proximal / 2 * |w - w_global|^2``, and call ``pause`` after each step."""
        learned = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        anchors = [parameter.detach().clone() for parameter in learned] if proximal else []

        def pull() -> None:
            for parameter, anchor in zip(learned, anchors, strict=True):
                if parameter.grad is not None:
                    parameter.grad.add_(parameter.detach() - anchor.to(parameter.device), alpha=proximal)

        return Hooks(adjust=pull if proximal else None, constrain=pause)


@contextlib.contextmanager
def pausing(model: nn.Module, pause: Callable[[], None] | None) -> Iterator[None]:
    """Call a function within the steps of a block: before each layer, and once the gradient of each parameter is known.

    Hooks of parameters are used on the way back, since those of modules forbid activations in place.
    """
    if pause is None:
        yield
        return
    layers = [each for each in model.modules() if not any(each.children())]
    learned = [each for each in model.parameters() if each.requires_grad]
    handles = [each.register_forward_pre_hook(lambda *_: pause()) for each in layers]
    handles += [each.register_post_accumulate_grad_hook(lambda _: pause()) for each in learned]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def seeded(seed: int, device: str) -> Iterator[None]:
    """Seed torch's generators within a block, and use deterministic cuDNN kernels."""
    devices = [torch.cuda.current_device()] if device == "cuda" else []
    with (
        torch.random.fork_rng(devices=devices),
        torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True),
    ):
        torch.manual_seed(seed)
        yield
