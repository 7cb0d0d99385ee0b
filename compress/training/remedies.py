"""Remedies for groups that compression harms: balanced sampling, weight on the worst group, forgetting an attribute.

No remedy is used by default: in one trial on Adult income, distilling for longer removed every shown loss of a group,
while forgetting sex by gradient reversal moved the harm to other groups. Measure all groups again afterwards
(``leanmark fairness``).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import nn

from certify.core.errors import DataError, ModelError
from certify.core.suggest import unknown_name
from certify.data import Preprocess, Split
from compress.core.samples import as_tensor
from compress.training import distributed
from compress.training.task import UNLABELLED

WORST_GROUP_STEP = 0.01
"""Step size of the group weights: eta_q of Sagawa et al. 2020, algorithm 1."""
ADVERSARY_WIDTH = 64
PROBE_STEPS, PROBE_RATE, PROBE_DECAY = 200, 0.05, 1e-3
BATCH = 256
NO_GROUP = -1


@dataclass(frozen=True)
class Attribute:
    """A group column of one part of the data.

    A batch carries one number per sample, so the loader joins label and group into it and the loss separates them.

    Attributes:
        column: name of the column.
        names: names of the groups, sorted.
        groups: index of each sample's group, (n,).
        classes: number of classes.
    """

    column: str
    names: tuple[str, ...]
    groups: npt.NDArray[np.int64]
    classes: int

    @classmethod
    def of(cls, split: Split, column: str) -> Attribute:
        """Read a group column.

        Raises:
            UsageError: the data have no such column.
            DataError: all samples are in one group, or the data hold numeric targets.
        """
        values = _column(split, column)
        if split.targets is not None:
            raise DataError(f"Remedies for groups of '{column}' need classes, and the data hold numbers to predict.")
        names, groups = np.unique(values, return_inverse=True)
        if len(names) < 2:
            raise DataError(f"All samples have the same value of '{column}'; a remedy needs at least two groups.")
        return cls(column, tuple(map(str, names)), groups.astype(np.int64), int(split.label_range()[1]) + 1)

    def join(self, labels: torch.Tensor, rows: npt.NDArray[np.int64]) -> torch.Tensor:
        """Return label + classes * group for the samples at ``rows``, (n,)."""
        return labels + self.classes * torch.from_numpy(self.groups[rows])

    def separate(self, joint: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return labels and groups, (n,) each; a sample without a label has the group ``NO_GROUP``."""
        known = joint != UNLABELLED
        # UNLABELLED is negative, and % would turn it into a class.
        labels = torch.where(known, joint % self.classes, joint)
        return labels, torch.where(known, joint // self.classes, torch.full_like(joint, NO_GROUP))


def _column(split: Split, column: str) -> npt.NDArray[np.str_]:
    """Return the group of each sample, (n,).

    Raises:
        UsageError: the data have no such column.
    """
    if column not in split.groups:
        raise unknown_name("column of groups", column, tuple(split.groups), "Remedies need the column in the data.")
    return np.asarray(split.groups[column])


def balancing_weights(labels: npt.NDArray[np.int64], groups: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return the probability of drawing each sample so that all cells of group and label are drawn equally often.

    Args:
        labels: class of each sample, (n,).
        groups: group of each sample, (n,).

    Source: RWG of Idrissi et al. 2022 (arXiv 2110.14503), who found it as good as more elaborate methods.

    Example:
        >>> balancing_weights(np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1])).round(3).tolist()
        [0.167, 0.167, 0.333, 0.333]
    """
    _, cells, counts = np.unique(np.stack([labels, groups]), axis=1, return_inverse=True, return_counts=True)
    return np.asarray(1 / (len(counts) * counts[cells.reshape(-1)]), np.float64)


class WorstGroup(nn.Module):
    """Loss in which each group's weight grows with its past losses: group DRO.

    Source: Sagawa et al. 2020 (arXiv 1911.08731), algorithm 1: after each batch, the weight of a group is multiplied by
    exp(eta * its mean loss), and the weights are normalised to sum to 1. Means are taken over the batches of all
    processes, so that several processes weight the groups like one.

    Args:
        groups: number of groups.

    Example:
        >>> worst = WorstGroup(2)
        >>> loss = worst(torch.tensor([4.0, 0.0]), torch.tensor([0, 1]))  # 4 times the raised weight of group 0
        >>> round(float(loss), 3)
        2.04
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.weights: torch.Tensor
        self.register_buffer("weights", torch.full((groups,), 1 / groups))

    def forward(self, losses: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """Return the weighted loss of a batch, a scalar; losses (n,), groups (n,)."""
        known = groups != NO_GROUP
        counts = distributed.total(torch.bincount(groups[known], minlength=len(self.weights))).clamp(min=1)
        sums = torch.zeros_like(self.weights).index_add(0, groups[known], losses[known])
        if self.training:
            raised = self.weights * (WORST_GROUP_STEP * distributed.total(sums) / counts).exp()
            self.weights = raised / raised.sum()
        # Each process contributes its own samples; the factor undoes the mean that is taken over processes.
        return distributed.world_size() * (self.weights * sums / counts).sum()


class _Reverse(torch.autograd.Function):
    """The identity, with its gradient reversed and scaled: Ganin and Lempitsky 2015 (arXiv 1409.7495), section 3."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, values: torch.Tensor, strength: float) -> torch.Tensor:
        ctx.strength = strength  # type: ignore[attr-defined]
        return values.view_as(values)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return -ctx.strength * gradients[0], None  # type: ignore[attr-defined]


class Representation:
    """Context manager that records the inputs of a model's last linear layer.

    Raises:
        ModelError: the model has no linear layer.
    """

    def __init__(self, model: nn.Module) -> None:
        layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
        if not layers:
            raise ModelError("A model without a linear layer has no representation from which to forget an attribute.")
        self.width = layers[-1].in_features
        self.values: torch.Tensor | None = None
        self._layer = layers[-1]

    def __enter__(self) -> Representation:
        self._hook = self._layer.register_forward_pre_hook(self._keep)
        return self

    def _keep(self, module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        self.values = inputs[0].flatten(1)

    def __exit__(self, *_: object) -> None:
        self._hook.remove()

    def read(self) -> torch.Tensor:
        """Return the inputs of the layer in the last forward pass, (n, width).

        Raises:
            ModelError: the layer was not run.
        """
        if self.values is None:
            raise ModelError("The model's last linear layer does not run, so an attribute cannot be forgotten from it.")
        return self.values


class Forgetting(nn.Module):
    """Adversary that predicts an attribute from a representation, which is trained to mislead it.

    Sources: Ganin and Lempitsky 2015 (arXiv 1409.7495) for the reversed gradient; Zhang et al. 2018 (arXiv 1801.07593)
    for its use against an attribute of people.

    Args:
        width: width of the representation.
        groups: number of groups.
        strength: factor of the reversed gradient.
    """

    def __init__(self, width: int, groups: int, strength: float) -> None:
        super().__init__()
        self.strength = strength
        self.adversary = nn.Sequential(nn.Linear(width, ADVERSARY_WIDTH), nn.ReLU(), nn.Linear(ADVERSARY_WIDTH, groups))

    def forward(self, representation: torch.Tensor, groups: torch.Tensor) -> torch.Tensor:
        """Return the adversary's loss, a scalar; its gradient reaches the representation (n, width) reversed."""
        answers = self.adversary(_Reverse.apply(representation.float(), self.strength))
        return F.cross_entropy(answers, groups, ignore_index=NO_GROUP)


def probe(model: nn.Module, train: Split, held_out: Split, preprocess: Preprocess, column: str) -> dict[str, float]:
    """Measure how well a linear probe predicts an attribute from a model's representation.

    The probe is a logistic regression on the standardised inputs of the last linear layer, fitted on one part and
    scored on another. A probe that fails does not show that no information is left: a stronger one may succeed.

    Args:
        model: model in evaluation mode; not modified.
        train: samples to fit the probe on; fewer than 10,000 of them are used, evenly spaced.
        held_out: samples to score the probe on.
        preprocess: preprocessing contract.
        column: group column of the attribute.

    Returns:
        ``balanced_accuracy``, the mean over groups of the share recognised correctly, and ``chance``, 1 / groups.

    Raises:
        UsageError: one of the parts has no such column.
        DataError: all training samples are in one group, or the data hold numeric targets.
        ModelError: the model has no linear layer.
    """
    attribute, scored = Attribute.of(train, column), _column(held_out, column)
    rows = np.arange(len(train))[:: max(1, len(train) // 5_000)]
    x, y = _representations(model, train, preprocess, rows), torch.from_numpy(attribute.groups[rows])
    mean, deviation = x.mean(0), x.std(0).clamp_min(1e-6)
    x = (x - mean) / deviation
    with torch.random.fork_rng(devices=[]), torch.enable_grad():
        torch.manual_seed(0)
        layer = nn.Linear(x.shape[1], len(attribute.names))
        optimizer = torch.optim.Adam(layer.parameters(), PROBE_RATE, weight_decay=PROBE_DECAY)
        # Balance it like the score, or the probe would always predict the largest group.
        weights = 1 / torch.bincount(y, minlength=len(attribute.names)).clamp(min=1)
        for _ in range(PROBE_STEPS):
            optimizer.zero_grad()
            F.cross_entropy(layer(x), y, weight=weights.float()).backward()
            optimizer.step()
    with torch.no_grad():
        answers = layer(
            (_representations(model, held_out, preprocess, np.arange(len(held_out))) - mean) / deviation
        ).argmax(1)
    right = answers.numpy() == np.searchsorted(np.asarray(attribute.names), scored)
    shares = [right[scored == name].mean() for name in attribute.names if (scored == name).any()]
    return {"balanced_accuracy": float(np.mean(shares)), "chance": 1 / len(attribute.names)}


@torch.no_grad()
def _representations(
    model: nn.Module, split: Split, preprocess: Preprocess, rows: npt.NDArray[np.int64]
) -> torch.Tensor:
    """Return the inputs of the last linear layer for some samples, float32 (n, width)."""
    parts = []
    with Representation(model) as recorded:
        for batch in np.array_split(rows, max(1, -(-len(rows) // BATCH))):
            model(as_tensor(preprocess.batch(split, batch)))
            parts.append(recorded.read().float().cpu())
    return torch.cat(parts)
