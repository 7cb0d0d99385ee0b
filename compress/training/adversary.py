"""Training on adversarial images, and the accuracy of a model under the same attack.

Only attacks that a referee can repeat count: a defence that is random, or that changes with the input, hides gradients
and is broken by averaging over it (Athalye, Carlini and Wagner 2018, arXiv 1802.00420), so none is offered here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from certify.core.errors import UsageError
from certify.data import ImagePreprocess, Preprocess, Split
from certify.data.scoring import score_split
from compress.core.samples import as_tensor

Kind = Literal["none", "pgd", "free"]
KINDS = ("none", "pgd", "free")
STEP = 2.5
"""Total length of the PGD steps, in multiples of the maximum change (Madry et al. 2018 use a little more than 1)."""
LEAST_STEPS = 10
"""Minimum number of steps for measuring robust accuracy; fewer would flatter the model."""
EVALUATED = 200
BATCH = 50

Loss = Callable[[torch.Tensor], torch.Tensor]


@dataclass
class Adversary:
    """Perturbs images against a model while it trains.

    Papers: `pgd` Madry et al. 2018 (arXiv 1706.06083); `free` Shafahi et al. 2019 (arXiv 1904.12843), which trains
    several steps on every batch and perturbs the images by the gradients that those steps compute anyway.

    Attributes:
        kind: ``pgd`` or ``free``.
        steps: gradients per batch before a training step; for ``free``, training steps per batch.
        low: preprocessed value of the smallest pixel value, (1, C, 1, 1).
        high: preprocessed value of the largest pixel value, likewise.
        eps: maximum change of each channel, likewise.
    """

    kind: Kind
    steps: int
    low: torch.Tensor
    high: torch.Tensor
    eps: torch.Tensor
    _perturbation: torch.Tensor | None = None

    @classmethod
    def of(cls, kind: str, steps: int, grey_levels: float, contract: Preprocess) -> Adversary | None:
        """Return the adversary of a training config, or None for ``none``.

        Raises:
            UsageError: there is no such kind, or the model takes no images.
        """
        if kind not in KINDS:
            raise UsageError(f"The 'adversarial' parameter must be one of {', '.join(KINDS)}, got {kind!r}.")
        if kind == "none":
            return None
        if not isinstance(contract, ImagePreprocess):
            raise UsageError("Adversarial training needs a model that takes images; leave out 'adversarial'.")
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (contract.mean, contract.std))
        low, high = ((end / contract.scale - mean) / std for end in (0.0, 255.0))
        return cls(kind, steps, low, high, grey_levels / contract.scale / std)  # type: ignore[arg-type]

    @property
    def replays(self) -> int:
        """Number of training steps on every batch."""
        return self.steps if self.kind == "free" else 1

    def on(self, device: torch.device) -> Adversary:
        """Return the same adversary on a device."""
        return Adversary(self.kind, self.steps, *(tensor.to(device) for tensor in (self.low, self.high, self.eps)))

    def inside(self, at: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """Clip images to the maximum change and to valid pixel values."""
        near = torch.minimum(torch.maximum(at, images - self.eps), images + self.eps)
        return torch.minimum(torch.maximum(near, self.low), self.high)

    def start(self, images: torch.Tensor) -> torch.Tensor:
        """Return the images for the next step; for ``free``, with the perturbation of the previous step."""
        # The last batch of an epoch may be smaller.
        if self.kind == "free" and self._perturbation is not None and self._perturbation.shape == images.shape:
            return self.inside(images + self._perturbation, images)
        return self.inside(images + self.eps * (2 * torch.rand_like(images) - 1), images)

    def keep(self, images: torch.Tensor, at: torch.Tensor, gradient: torch.Tensor) -> None:
        """Update the perturbation by a gradient that a training step computed."""
        self._perturbation = (self.inside(at + self.eps * gradient.sign(), images) - images).detach()

    def attack(self, images: torch.Tensor, loss: Loss) -> torch.Tensor:
        """Run PGD and return the perturbed images.

        Args:
            images: preprocessed images, (n, C, H, W).
            loss: loss of a batch, a scalar.
        """
        at = self.start(images)
        for _ in range(self.steps):
            at = at.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(loss(at), at)
            at = self.inside(at.detach() + STEP / self.steps * self.eps * gradient.sign(), images)
        return at.detach()


def robust_accuracy(
    model: nn.Module, split: Split, contract: Preprocess, grey_levels: float, steps: int, seed: int = 0
) -> tuple[float, float]:
    """Compute the accuracy of a model on the first samples of a split, clean and under PGD.

    Args:
        model: model in evaluation mode.
        split: images.
        contract: preprocessing contract of the model.
        grey_levels: maximum change.
        steps: steps of the attack, at least 10.
        seed: seed of its random start.

    Returns:
        Clean accuracy and an upper bound of the accuracy under attack, 0 to 1.
    """
    adversary = Adversary.of("pgd", max(steps, LEAST_STEPS), grey_levels, contract)
    if adversary is None:
        raise UsageError("The attack is 'none'; choose pgd to measure robust accuracy.")
    chosen = split.subset(np.arange(min(EVALUATED, len(split))))
    columns = contract.class_map
    found: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for part in np.array_split(np.arange(len(chosen)), max(1, len(chosen) // BATCH)):
            images = as_tensor(contract.batch(chosen, part))
            labels = torch.from_numpy(chosen.labels[part])
            truth = labels if columns is None else torch.tensor(columns)[labels]

            def loss(at: torch.Tensor, truth: torch.Tensor = truth) -> torch.Tensor:
                return F.cross_entropy(model(at), truth, reduction="sum")

            attacked = adversary.attack(images, loss)
            with torch.no_grad():
                for outputs, inputs in zip(found, (images, attacked), strict=True):
                    outputs.append(model(inputs))
    scores = (
        score_split(torch.cat(outputs).numpy(), chosen, columns, None, reading=contract.reading) for outputs in found
    )
    clean, right = (each.correct for each in scores)
    # A sample that is classified correctly only under attack was right by chance.
    return float(clean.mean()), float((clean & right).mean())
