"""Gradient attacks on a torch model: FGSM, PGD and APGD, in grey levels.

Every attack ends at a corner of the box, where each value changes by the full amount: that is what a witness can
express, and usually where the loss is largest. The best corner found on the way is used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from compress.attacks.square import Images, Margins, Signs

FIRST_CHECK = 0.22
"""Share of the steps before the step size of APGD is first checked (Croce and Hein 2020, section 3.1)."""
SHORTER, SHORTEST = 0.03, 0.06
"""Decrease of the interval between two checks, and its minimum, as shares of the steps (likewise)."""
RISING = 0.75
"""Share of the steps since the last check that should have raised the loss (likewise)."""
# The share of the new step in a move, as in the paper.
MOMENTUM = 0.75


@dataclass(frozen=True)
class GradientAttack:
    """An attack on a model that takes grey levels.

    Papers: `fgsm` Goodfellow, Shlens and Szegedy 2015 (arXiv 1412.6572); `pgd` Madry et al. 2018 (arXiv 1706.06083);
    `apgd` Croce and Hein 2020 (arXiv 2003.01690), with the cross-entropy.

    Attributes:
        method: attack method.
        steps: gradients per restart.
        restarts: random starts; the first start of ``pgd`` and ``apgd`` is random too.
        seed: seed of the starts.
        batch: images at a time.
        shared: whether the three channels of a pixel change together, which makes a witness a third as large and a
            little harder to find.
    """

    method: Literal["fgsm", "pgd", "apgd"] = "pgd"
    steps: int = 20
    restarts: int = 1
    seed: int = 0
    batch: int = 50
    shared: bool = False

    def signs(
        self, model: nn.Module, images: Images, labels: np.ndarray, eps: int, past: float = 0.0
    ) -> tuple[Signs, Margins]:
        """Search for changes of ``eps`` grey levels that bring the true class's margin below ``-past``.

        Args:
            model: takes float32 (n, 3, H, W) of 0 to 255, see :class:`compress.attacks.pixels.Pixels`.
            images: samples of one size, uint8 (n, H, W, 3).
            labels: true classes, (n,).
            eps: grey levels.
            past: distance below 0 at which a margin needs no further restart.

        Returns:
            The best signs found, (n, H, W, 3), and their margins on this model, (n,).
        """
        best = np.ones(images.shape, dtype=np.int8)
        margins = np.full(len(images), np.inf)
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(1 if self.method == "fgsm" else self.restarts):
            places = np.flatnonzero(margins > -past)
            for part in (places[i : i + self.batch] for i in range(0, len(places), self.batch)):
                pixels = torch.from_numpy(images[part]).permute(0, 3, 1, 2).float()
                truth = torch.from_numpy(np.asarray(labels)[part].astype(np.int64))
                search = _Search(model, pixels, truth, float(eps), self.shared)
                _RUNS[self.method](search, self.steps, generator)
                found = search.margins.numpy()
                better = found < margins[part]
                corners = search.corners.permute(0, 2, 3, 1).numpy()
                margins[part[better]], best[part[better]] = found[better], corners[better]
        return best, margins


class _Search:
    """One batch under attack, and the best corner found so far.

    Args:
        model: takes grey levels.
        pixels: samples, (n, 3, H, W).
        labels: true classes, (n,).
        eps: maximum change.
        shared: whether channels change together.
    """

    def __init__(
        self, model: nn.Module, pixels: torch.Tensor, labels: torch.Tensor, eps: float, shared: bool = False
    ) -> None:
        self.model, self.pixels, self.labels, self.eps, self.shared = model, pixels, labels, eps, shared
        self.low, self.high = (pixels - eps).clamp_min(0), (pixels + eps).clamp_max(255)
        self.corners = torch.ones_like(pixels, dtype=torch.int8)
        self.margins = torch.full((len(pixels),), float("inf"), dtype=torch.float64)

    def inside(self, at: torch.Tensor) -> torch.Tensor:
        """Project a point to the maximum change."""
        return torch.minimum(torch.maximum(at, self.low), self.high)

    def start(self, generator: torch.Generator) -> torch.Tensor:
        """Return a random starting point."""
        shape = (len(self.pixels), 1 if self.shared else self.pixels.shape[1], *self.pixels.shape[2:])
        noise = torch.rand(shape, generator=generator)
        return self.inside(self.pixels + self.eps * (2 * noise - 1))

    def gradient(self, at: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the loss of each sample, (n,), and its gradient at a point."""
        at = at.detach().requires_grad_(True)
        with torch.enable_grad():
            loss = F.cross_entropy(self.model(at), self.labels, reduction="none")
            (gradient,) = torch.autograd.grad(loss.sum(), at)
        return loss.detach(), gradient.sum(1, keepdim=True).expand_as(gradient) if self.shared else gradient

    def look(self, at: torch.Tensor, gradient: torch.Tensor) -> None:
        """Try the corner in the direction of a point; a value that did not change follows its gradient."""
        change = at - self.pixels
        if self.shared:  # some channels may have reached the end of their range
            change = change.sum(1, keepdim=True).expand_as(change)
        moved = torch.sign(change)
        signs = torch.where(moved == 0, torch.where(gradient < 0, -1.0, 1.0), moved)
        corner = (self.pixels + self.eps * signs).clamp(0, 255)
        with torch.no_grad():
            found = margin(self.model(corner), self.labels).double()
        better = found < self.margins
        self.margins = torch.where(better, found, self.margins)
        self.corners[better] = signs[better].to(torch.int8)


def margin(outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Return the output of the true class less the largest other one, (n,).

    Example:
        >>> margin(torch.tensor([[3.0, 1.0]]), torch.tensor([0])).tolist()
        [2.0]
    """
    true = outputs.gather(1, labels[:, None])[:, 0]
    others = outputs.scatter(1, labels[:, None], float("-inf")).amax(1)
    return true - others


def _fgsm(search: _Search, steps: int, generator: torch.Generator) -> None:
    _, gradient = search.gradient(search.pixels)
    search.look(search.pixels, gradient)


def _pgd(search: _Search, steps: int, generator: torch.Generator) -> None:
    at = search.start(generator)
    # Madry et al.: the steps add up to 2.5 times the radius, so an attack can reach any point of the box and leave it.
    step = max(2.5 * search.eps / steps, search.eps / 10)
    for number in range(steps):
        _, gradient = search.gradient(at)
        at = search.inside(at + step * gradient.sign())
        # Each check costs a forward pass, and early points are still close to the random start.
        if number >= steps // 2 or number + 1 == steps:
            search.look(at, gradient)


def _apgd(search: _Search, steps: int, generator: torch.Generator) -> None:
    """Run APGD: halve the step of a sample when its loss rose too seldom or its best did not change."""
    at = before = search.start(generator)
    best_loss, gradient = search.gradient(at)
    best_at, best_gradient, last = at.clone(), gradient.clone(), best_loss.clone()
    step = torch.full((len(at), 1, 1, 1), 2 * search.eps)
    halved = torch.zeros(len(at), dtype=torch.bool)
    rose, best_before = torch.zeros(len(at)), best_loss.clone()
    wait, last_check = max(int(FIRST_CHECK * steps), 1), 0
    for number in range(steps):
        ahead = search.inside(at + step * gradient.sign())
        # The first step has no previous move to mix in.
        weight = MOMENTUM if number else 1.0
        mixed = search.inside(at + weight * (ahead - at) + (1 - weight) * (at - before))
        before, at = at, mixed
        loss, gradient = search.gradient(at)
        rose += (loss > last).float()
        last = loss
        better = loss > best_loss
        best_loss = torch.where(better, loss, best_loss)
        best_at[better], best_gradient[better] = at[better], gradient[better]
        if number - last_check + 1 == wait:
            few = rose < RISING * wait
            # The conditions of section 3.1: too few rises, or no better point without a halving.
            halve = few | (~halved & (best_loss <= best_before))
            step[halve] /= 2
            at, gradient, last = at.clone(), gradient.clone(), last.clone()
            # After halving, the search goes back to the best point.
            at[halve], gradient[halve], last[halve] = best_at[halve], best_gradient[halve], best_loss[halve]
            halved, best_before = halve, best_loss.clone()
            rose.zero_()
            last_check, wait = number + 1, max(wait - int(SHORTER * steps), int(SHORTEST * steps), 1)
        if number >= steps // 2:
            search.look(at, gradient)
    search.look(best_at, best_gradient)


_RUNS = {"fgsm": _fgsm, "pgd": _pgd, "apgd": _apgd}
