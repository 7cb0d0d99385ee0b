"""Training on attacked images, and what a model still gets right under the same attack.

Only attacks that a referee can repeat count: a defence that is random, or that changes with the input, hides gradients
and falls to whoever averages over it (Athalye, Carlini and Wagner 2018, arXiv 1802.00420), so none is offered here.
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
"""Steps of PGD add up to so many times the change (Madry et al. 2018 use a little more than 1)."""
LEAST_STEPS = 10
"""Of the attack by which robust accuracy is told; fewer would flatter."""
LOOKED_AT = 200
BATCH = 50

Loss = Callable[[torch.Tensor], torch.Tensor]


@dataclass
class Adversary:
    """Moves images against a model while it learns.

    Papers: `pgd` Madry et al. 2018 (arXiv 1706.06083); `free` Shafahi et al. 2019 (arXiv 1904.12843), which gives every
    batch several steps and moves the images by the gradients that those steps compute anyway.

    Attributes:
        kind: ``pgd`` or ``free``.
        steps: gradients on a batch before a step; for ``free``, steps on a batch.
        low: what the smallest pixel value becomes, (1, C, 1, 1).
        high: what the largest pixel value becomes, likewise.
        eps: the largest change of each channel, likewise.
    """

    kind: Kind
    steps: int
    low: torch.Tensor
    high: torch.Tensor
    eps: torch.Tensor
    _kept: torch.Tensor | None = None

    @classmethod
    def of(cls, kind: str, steps: int, grey_levels: float, contract: Preprocess) -> Adversary | None:
        """The adversary that a config asks for; None for none.

        Raises:
            UsageError: there is no such kind, or the model takes no images.
        """
        if kind not in KINDS:
            raise UsageError(f"adversarial should be one of {', '.join(KINDS)}, got {kind!r}.")
        if kind == "none":
            return None
        if not isinstance(contract, ImagePreprocess):
            raise UsageError("Adversarial training moves grey levels, and the model takes no images; leave it out.")
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (contract.mean, contract.std))
        low, high = ((end / contract.scale - mean) / std for end in (0.0, 255.0))
        return cls(kind, steps, low, high, grey_levels / contract.scale / std)  # type: ignore[arg-type]

    @property
    def replays(self) -> int:
        """Steps that every batch is given."""
        return self.steps if self.kind == "free" else 1

    def on(self, device: torch.device) -> Adversary:
        """The same on a device."""
        return Adversary(self.kind, self.steps, *(one.to(device) for one in (self.low, self.high, self.eps)))

    def inside(self, at: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """The nearest images that are no further than the change and have pixel values."""
        near = torch.minimum(torch.maximum(at, images - self.eps), images + self.eps)
        return torch.minimum(torch.maximum(near, self.low), self.high)

    def start(self, images: torch.Tensor) -> torch.Tensor:
        """Images to take the next step on: for ``free``, moved as the step before left it."""
        if self.kind == "free" and self._kept is not None and self._kept.shape == images.shape:
            return self.inside(images + self._kept, images)
        return self.inside(images + self.eps * (2 * torch.rand_like(images) - 1), images)

    def keep(self, images: torch.Tensor, at: torch.Tensor, gradient: torch.Tensor) -> None:
        """Move on by a gradient that a step computed."""
        self._kept = (self.inside(at + self.eps * gradient.sign(), images) - images).detach()

    def attack(self, images: torch.Tensor, loss: Loss) -> torch.Tensor:
        """Images after some steps of PGD.

        Args:
            images: preprocessed, (n, C, H, W).
            loss: of a batch, a scalar.
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
    """What a model gets right of the first samples of a split, untouched and under PGD.

    Args:
        model: in evaluation mode.
        split: of images.
        contract: its preprocessing.
        grey_levels: the largest change.
        steps: of the attack, 10 at the least.
        seed: of its random start.

    Returns:
        Accuracy untouched and under attack, the second an upper bound, 0 to 1.
    """
    adversary = Adversary.of("pgd", max(steps, LEAST_STEPS), grey_levels, contract)
    if adversary is None:
        raise UsageError("No attack was asked for.")
    chosen = split.subset(np.arange(min(LOOKED_AT, len(split))))
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
                for outputs, shown in zip(found, (images, attacked), strict=True):
                    outputs.append(model(shown))
    scores = (
        score_split(torch.cat(outputs).numpy(), chosen, columns, None, reading=contract.reading) for outputs in found
    )
    clean, right = (one.correct for one in scores)
    return float(clean.mean()), float((clean & right).mean())
