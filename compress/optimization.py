"""One training run, batch by batch: what is minimised, by which optimizer, at which learning rate."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from certify.errors import ModelError, UsageError
from certify.suggest import unknown_name

OPTIMIZERS = ("adamw", "sgd")


@dataclass(frozen=True)
class TrainingConfig:
    """How to train.

    Attributes:
        epochs: passes over the training data.
        batch: samples a step.
        lr: peak learning rate.
        weight_decay: of weights with two dimensions or more; biases and normalisation have none.
        optimizer: ``adamw`` or ``sgd`` (Nesterov momentum 0.9).
        label_smoothing: share of the target that goes to all classes (Szegedy et al. 2016).
        warmup: share of the steps in which the learning rate rises from 0; then it falls as a half cosine.
        temperature: softens teacher's and student's logits (T of Hinton et al. 2015).
        alpha: weight of the teacher's part of the loss; unused without a teacher.
        augment: shift pictures by up to 1/16 of their side.
        flip: also mirror half of them; wrong for digits and letters.

    Raises:
        UsageError: a value out of range.
    """

    epochs: int = 16
    batch: int = 64
    lr: float = 2e-3
    weight_decay: float = 0.02
    optimizer: str = "adamw"
    label_smoothing: float = 0.05
    warmup: float = 0.15
    temperature: float = 4.0
    alpha: float = 1.0
    augment: bool = True
    flip: bool = False

    def __post_init__(self) -> None:
        if self.optimizer not in OPTIMIZERS:
            raise unknown_name("optimizer", self.optimizer, OPTIMIZERS)
        for name, fits, needed in (
            ("epochs", self.epochs >= 1, "at least 1"),
            ("batch", self.batch >= 2, "at least 2"),
            ("lr", self.lr > 0, "above 0"),
            ("weight_decay", self.weight_decay >= 0, "at least 0"),
            ("label_smoothing", 0 <= self.label_smoothing < 1, "at least 0 and below 1"),
            ("warmup", 0 <= self.warmup < 1, "at least 0 and below 1"),
            ("temperature", self.temperature > 0, "above 0"),
            ("alpha", self.alpha >= 0, "at least 0"),
        ):
            if not fits:
                raise UsageError(f"Training: {name} is {getattr(self, name)} and must be {needed}.")


class Run:
    """Model, optimizer and schedule of one training.

    Args:
        model: moved to the device and to channels-last memory, and trained in place.
        teacher: whose softened outputs are followed, or None.
        config: how to train.
        class_map: outputs that stand for the data's classes; None for all.
        device: to train on.
        steps: batches of the whole training; may be lowered while it runs, and the schedule follows.
    """

    def __init__(
        self,
        model: nn.Module,
        teacher: nn.Module | None,
        config: TrainingConfig,
        class_map: Sequence[int] | None,
        device: torch.device,
        steps: int,
    ) -> None:
        self.model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.teacher = None if teacher is None else copy.deepcopy(teacher).to(device).eval().requires_grad_(False)
        self.config, self.device = config, device
        self.columns = None if class_map is None else torch.tensor(class_map, device=device)
        self.optimizer = _optimizer(self.model, config)
        self.steps, self.done = steps, 0
        self.autocast = has_fast_bfloat16(device)

    def step(self, pictures: torch.Tensor, labels: torch.Tensor) -> float:
        """Learn from one batch; returns the loss.

        Raises:
            ModelError: the loss is not finite.
        """
        pictures = pictures.to(self.device).contiguous(memory_format=torch.channels_last)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr * _cosine(self.done / self.steps, self.config.warmup, 1 / self.steps)
        loss = self._loss(pictures, labels.to(self.device))
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ModelError(
                f"Training: the loss became {value} at step {self.done + 1}; lower the learning rate "
                f"(it is {self.config.lr:g}) or look at the data."
            )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.done += 1
        return value

    def _loss(self, pictures: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            logits = self.model(pictures)
        logits = logits.float()
        chosen = logits if self.columns is None else logits[:, self.columns]
        loss = F.cross_entropy(chosen, labels, label_smoothing=self.config.label_smoothing)
        if self.teacher is None or self.config.alpha == 0:
            return loss
        with torch.no_grad(), torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.autocast):
            taught = self.teacher(pictures)
        t = self.config.temperature
        divergence = F.kl_div(
            F.log_softmax(logits / t, dim=1),
            F.log_softmax(taught.float() / t, dim=1),
            reduction="batchmean",
            log_target=True,
        )
        return loss + self.config.alpha * t * t * divergence


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware; without that, autocast is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    abilities = torch.cpu.get_capabilities() if device.type == "cpu" else {}
    return bool(abilities.get("avx512_bf16") or abilities.get("amx_bf16"))


def _optimizer(model: nn.Module, config: TrainingConfig) -> torch.optim.Optimizer:
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr, fused=True)
    return torch.optim.SGD(groups, lr=config.lr, momentum=0.9, nesterov=True)


def _cosine(progress: float, warmup: float, step: float) -> float:
    """Factor of the learning rate: a line up to 1 over the warm-up, then half a cosine down to 0."""
    if progress < warmup:
        return (progress + step) / (warmup + step)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - warmup) / (1 - warmup))))
