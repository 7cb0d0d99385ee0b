"""One training run, batch by batch: loss, optimizer and learning rate."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import nn

from certify.core.errors import ModelError
from compress.core.foreign_code import eval_copy
from compress.training import distributed
from compress.training.adversary import Adversary
from compress.training.config import TrainingConfig
from compress.training.data import layout_for, on_device
from compress.training.distillation import OUTPUT_LOSSES, FeatureLoss, standardise
from compress.training.remedies import Attribute, Forgetting, Representation, WorstGroup
from compress.training.task import UNLABELLED, Task

M = TypeVar("M", bound=nn.Module)


@dataclass(frozen=True)
class Hooks:
    """Callbacks of a pass inside each training step; with several processes, only the lead runs them.

    Attributes:
        adjust: called after the backward pass, to change gradients (a penalty on groups of weights).
        constrain: called after the optimizer step, to change weights (zeros that must stay zeros).
    """

    adjust: Callable[[], None] | None = None
    constrain: Callable[[], None] | None = None

    def followed(self) -> Hooks:
        """Return the hooks of the other ranks: they only wait for the lead's result."""
        return Hooks(*(None if hook is None else _wait for hook in (self.adjust, self.constrain)))


def _wait() -> None:
    """Do nothing, because the lead runs the hook."""


NO_HOOKS = Hooks()


class Run:
    """Model, optimizer and schedule of one training.

    Args:
        model: moved to the device and to channels-last memory, and trained in place.
        teacher: model whose softened outputs the student follows, or None.
        config: training config.
        task: interpretation of the outputs.
        device: device of the training; each process has its own.
        steps: batches of the whole training; may be lowered during the run, and the schedule adapts.
        sample: a few preprocessed images for matching the feature maps of teacher and student.
        hooks: callbacks inside each step.
        adversary: perturbs images before each step; None leaves them unchanged.
        attribute: groups that are joined with the labels of every batch; None if the config has no remedy.

    Raises:
        ModelError: features are compared, but the models have no maps of equal size.
    """

    def __init__(
        self,
        model: nn.Module,
        teacher: nn.Module | None,
        config: TrainingConfig,
        task: Task,
        device: torch.device,
        steps: int,
        sample: torch.Tensor | None = None,
        hooks: Hooks = NO_HOOKS,
        adversary: Adversary | None = None,
        attribute: Attribute | None = None,
    ) -> None:
        self.features: FeatureLoss | None = None
        model.eval()
        if teacher is not None and sample is not None and config.features != "none":
            self.features = _on(device, FeatureLoss(config.features, model, teacher, sample))
        self.model = _on(device, model)
        self.device = device
        self.layout = None if sample is None else self._lay_out(sample)
        self.teacher = None if teacher is None else eval_copy(teacher).to(device).requires_grad_(False)
        self.config, self.hooks = config, hooks
        self.adversary = None if adversary is None else adversary.on(device)
        self.task = task
        self.columns = None if task.columns is None else torch.tensor(task.columns, device=device)
        self.attribute = attribute
        self.remedies = nn.ModuleDict() if attribute is None else _remedies(model, attribute, config).to(device)
        adapters = () if self.features is None else tuple(self.features.parameters())
        self.optimizer = _optimizer((*self.model.parameters(), *adapters, *self.remedies.parameters()), config)
        trained = [self.model, *([self.features] if self.features else []), *([self.remedies] if attribute else [])]
        self._objective = distributed.parallel(_Objective(trained, self._loss))
        self.steps, self.done = steps, 0
        self.autocast = has_fast_bfloat16(device)

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> float:
        """Train on one batch and return the loss.

        Raises:
            ModelError: the loss is not finite.
        """
        if self.layout is None:
            self.layout = self._lay_out(images[:1])
        images, labels = on_device(images, self.device, self.layout), labels.to(self.device)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * _cosine(self.done / self.steps, self.config.warmup, 1 / self.steps)
        value = [self._learn(images, labels) for _ in range(1 if self.adversary is None else self.adversary.replays)]
        self.done += 1
        return value[-1]

    def _lay_out(self, samples: torch.Tensor) -> torch.memory_format:
        """Convert the model to the memory layout in which it can run, and return that layout."""
        training = self.model.training
        layout = layout_for(self.model.eval(), samples, self.device)
        self.model.to(memory_format=layout).train(training)  # type: ignore[call-overload]
        return layout

    def _learn(self, images: torch.Tensor, labels: torch.Tensor) -> float:
        """Update the weights once."""
        inputs = images if self.adversary is None else self._attacked(self.adversary, images, labels)
        loss = self._objective(inputs, labels)
        # Average over all ranks, so that they fail together: one that failed alone would leave the others waiting.
        value = distributed.mean(float(loss.detach()))
        if not math.isfinite(value):
            raise ModelError(
                f"Training: the loss became {value} at step {self.done + 1}; lower the learning rate "
                f"(currently {self.config.lr:g}) or check the data."
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self.adversary is not None and inputs.grad is not None:
            self.adversary.keep(images, inputs.detach(), inputs.grad)
        if self.hooks.adjust is not None:
            self.hooks.adjust()
            # The hook ran on the lead only; without this, the weights of the ranks would drift apart.
            distributed.broadcast_tensors(p.grad for p in self.model.parameters() if p.grad is not None)
        self.optimizer.step()
        if self.hooks.constrain is not None:
            self.hooks.constrain()
            distributed.broadcast_tensors(p.data for p in self.model.parameters())
        return value

    def _attacked(self, adversary: Adversary, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the perturbed images; those of ``free`` collect the gradient of the next perturbation."""
        if adversary.kind == "free":
            return adversary.start(images).detach().requires_grad_(True)
        self.model.eval()  # attack the model in the mode in which it will be used
        labels, _ = self._separate(labels)
        attacked = adversary.attack(images, lambda at: self.task.loss(self._outputs(self.model, at), labels, 0.0))
        self.model.train()
        return attacked

    def state_dict(self) -> dict[str, Any]:
        """Return everything that training has changed."""
        return {
            "model": self.model.state_dict(),
            "features": {} if self.features is None else self.features.state_dict(),
            "remedies": self.remedies.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "steps": self.steps,
            "done": self.done,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state returned by :meth:`state_dict`."""
        self.model.load_state_dict(state["model"])
        if self.features is not None:
            self.features.load_state_dict(state["features"])
        self.remedies.load_state_dict(state["remedies"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps, self.done = state["steps"], state["done"]

    def _loss(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        labels, groups = self._separate(labels)
        with contextlib.ExitStack() as listening:
            taps = representation = None
            if "forget" in self.remedies:
                representation = listening.enter_context(Representation(self.model))
            if self.features is not None and self.teacher is not None:
                taps = [listening.enter_context(tap) for tap in self.features.taps(self.model, self.teacher)]
            logits = self._outputs(self.model, images)
            loss = self._of_labels(logits, labels, groups)
            if representation is not None:
                loss = loss + self.remedies["forget"](representation.read(), groups)
            if self.teacher is None:
                return loss
            with torch.no_grad():
                taught = self._outputs(self.teacher, images)
        if self.config.alpha:
            loss = loss + self.config.alpha * self._taught(logits, taught, labels)
        if self.features is not None and taps is not None:
            loss = loss + self.config.feature_weight * self.features(*taps)
        return loss

    def _separate(self, labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Return the labels of a batch, and its groups if the config has a remedy."""
        return (labels, None) if self.attribute is None else self.attribute.separate(labels)

    def _of_labels(self, logits: torch.Tensor, labels: torch.Tensor, groups: torch.Tensor | None) -> torch.Tensor:
        """Return the loss on the labels, weighted by group with ``worst_group``."""
        if "worst_group" not in self.remedies:
            return self.task.loss(logits, labels, self.config.label_smoothing)
        losses = self.task.losses(logits, labels, self.config.label_smoothing)
        weighted: torch.Tensor = self.remedies["worst_group"](losses, groups)
        return weighted

    def _outputs(self, model: nn.Module, images: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            logits: torch.Tensor = model(images)
        # Softmax and logarithms of the losses need float32.
        return logits.float()

    def _taught(self, logits: torch.Tensor, taught: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        config = self.config
        if logits.shape != taught.shape:
            raise ModelError(
                f"The teacher has {taught.shape[1]} outputs but the student has {logits.shape[1]}; use a teacher for "
                "the same classes."
            )
        if self.task.numbers is not None:
            return self.task.error(logits, taught) / len(logits)
        logits, taught = self.task.logits(logits), self.task.logits(taught)
        if config.standardise:
            logits, taught = standardise(logits), standardise(taught)
        true = labels if self.columns is None else self.columns[labels.clamp(min=0)]
        # dkd needs a true class; for an unlabelled sample it is the teacher's answer.
        true = torch.where(labels == UNLABELLED, taught.argmax(1), true)
        return OUTPUT_LOSSES[config.method](logits, taught, true, config.temperature)


def _remedies(model: nn.Module, attribute: Attribute, config: TrainingConfig) -> nn.ModuleDict:
    """Return the modules that a config's remedies train together with the model, by name."""
    groups, experts = len(attribute.names), nn.ModuleDict()
    if config.worst_group is not None:
        experts["worst_group"] = WorstGroup(groups)
    if config.forget is not None:
        experts["forget"] = Forgetting(Representation(model).width, groups, config.forget_strength)
    return experts


class _Objective(nn.Module):
    """The loss as a module with all trained parameters, which distributed training synchronises."""

    def __init__(
        self, trained: Sequence[nn.Module], loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    ) -> None:
        super().__init__()
        self.trained = nn.ModuleList(trained)
        self._loss = loss

    def forward(self, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return self._loss(images, labels)


def has_fast_bfloat16(device: torch.device) -> bool:
    """Return whether the device multiplies bfloat16 in hardware; otherwise autocast is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # Before torch 2.10 no function reports this; float32 is then correct, only slower where bfloat16 is fast.
    capabilities = getattr(torch.cpu, "get_capabilities", dict)
    abilities: dict[str, bool] = capabilities() if device.type == "cpu" else {}
    return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))


def _on(device: torch.device, module: M) -> M:
    """Move a module to a device, in the memory format that suits convolutions."""
    return module.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _optimizer(parameters: Sequence[nn.Parameter], config: TrainingConfig) -> torch.optim.Optimizer:
    trained = [p for p in parameters if p.requires_grad]
    groups = [
        # As usual, biases and the scales of norms are not decayed.
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, fused=True)
    return torch.optim.SGD(groups, lr=config.lr, momentum=0.9, nesterov=True)


def _cosine(progress: float, warmup: float, step: float) -> float:
    """Return the factor of the learning rate: a linear warm-up to 1, then half a cosine down to 0."""
    if progress < warmup:
        # Shifted by a step, or the first batch would train at rate 0.
        return (progress + step) / (warmup + step)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warmup) / (1 - warmup))))
