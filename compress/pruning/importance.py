"""Importance of channels: torch-pruning's measures, and the data on which some of them are estimated."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

import torch
import torch_pruning as tp
from torch import nn

from compress.core.context import PassContext
from compress.core.forward_hooks import attach_hooks
from compress.core.samples import as_tensor
from compress.pruning.rules import IMPORTANCES
from compress.training.task import Task

MEASURES: dict[str, Callable[[], Any]] = {
    "magnitude_l1": lambda: tp.importance.GroupMagnitudeImportance(p=1),
    "magnitude_l2": lambda: tp.importance.GroupMagnitudeImportance(p=2),
    "lamp": tp.importance.LAMPImportance,
    "fpgm": tp.importance.FPGMImportance,
    "bn_scale": tp.importance.BNScaleImportance,
    "taylor": tp.importance.GroupTaylorImportance,
    # Weight times gradient, summed: with half of weight times curvature as the gradient, this is the second-order term.
    "hessian": tp.importance.GroupTaylorImportance,
    "activation": tp.importance.ActivationImportance,
    "obs": lambda: tp.importance.ActivationImportance(normalizer=None),  # its scores are already comparable
    "random": tp.importance.RandomImportance,
}

FROM_DATA = frozenset({"taylor", "hessian", "activation", "obs"})
AT_ONCE = frozenset({"obs"})
"""Importances whose scores already account for the removal of other units."""
BATCH = 64
NOTED = "_importance"
"""Attribute of a layer in which torch-pruning looks up the importance of its input channels."""


def measure(name: str) -> Any:
    """Return the measure that scores the channels of a group.

    Args:
        name: name of an importance; see :data:`compress.pruning.rules.IMPORTANCES`.
    """
    return MEASURES[name]() if name in MEASURES else IMPORTANCES.make(name)


class Estimator:
    """Estimates a data-based importance for the current model.

    Args:
        name: name of the importance.
        context: context of the pass, whose train samples are used.
        batches: number of batches of 64 samples.
        pass_name: name of the pass, for the error.

    Raises:
        UsageError: there are no train samples.
    """

    def __init__(self, name: str, context: PassContext, batches: int, pass_name: str) -> None:
        self._name, self._context = name, context
        self._train = context.data.part("train", f"{pass_name} with {name} importance")
        generator = torch.Generator().manual_seed(context.seed)
        # Files are often sorted by class, so the first samples would represent only some of them.
        order = torch.randperm(len(self._train), generator=generator).tolist()
        self._chosen = order[: batches * BATCH]

    def estimate(self, model: nn.Module) -> None:
        """Store on the model what the measure reads: gradients of the weights, or scores of the layers' inputs.

        ``taylor``: the gradient of the mean cross-entropy. ``hessian``: half of the weight times the mean squared
        gradient of single samples, the diagonal of the empirical Fisher matrix. ``activation``: the mean absolute
        input of each channel.
        """
        model.zero_grad(set_to_none=True)
        if self._name == "activation":
            self._note_activations(model)
        elif self._name == "hessian":
            self._put_curvature(model)
        else:
            for loss in self._losses(model, BATCH):
                loss.backward()  # type: ignore[no-untyped-call]

    def clear(self, model: nn.Module) -> None:
        """Remove what :meth:`estimate` stored."""
        clear_notes(model)

    def _losses(self, model: nn.Module, size: int) -> Iterator[torch.Tensor]:
        """Yield the cross-entropy of one batch after the other."""
        task = Task.of(self._train, self._context.preprocess)
        for begin in range(0, len(self._chosen), size):
            chosen = self._chosen[begin : begin + size]
            outputs = model(as_tensor(self._context.preprocess.batch(self._train, chosen)))
            yield task.loss(outputs, torch.from_numpy(self._train.labels[chosen]))

    def _put_curvature(self, model: nn.Module) -> None:
        squares = {p: torch.zeros_like(p) for p in model.parameters() if p.requires_grad}
        # Square the gradients of single samples, because opposite ones would cancel in a batch's mean.
        for loss in self._losses(model, 1):
            model.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            for parameter, square in squares.items():
                if parameter.grad is not None:
                    square += parameter.grad.square()
        for parameter, square in squares.items():
            # The measure multiplies by the weight once more, which gives weight squared times curvature over 2, the
            # second-order term of the loss.
            parameter.grad = 0.5 * parameter.detach() * square / len(self._chosen)

    def _note_activations(self, model: nn.Module) -> None:
        sums: dict[nn.Module, torch.Tensor] = {}

        def note(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            sizes = inputs[0].abs()
            # All axes but that of the channels, which is the second of a map and the last of a linear layer's input.
            over = (0, *range(2, sizes.ndim)) if isinstance(module, nn.Conv2d) else tuple(range(sizes.ndim - 1))
            sums[module] = sums.get(module, 0) + sizes.mean(over)

        layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
        with attach_hooks((module, note) for module in layers), torch.no_grad():
            # The generator runs the model, and the hooks do the rest; the losses are not needed.
            for _ in self._losses(model, BATCH):
                pass
        for module, noted in sums.items():
            setattr(module, NOTED, noted)


def clear_notes(model: nn.Module) -> None:
    """Remove what an estimator stored on a model."""
    model.zero_grad(set_to_none=True)
    for module in model.modules():
        with contextlib.suppress(AttributeError):
            delattr(module, NOTED)


def reindex(group: Any) -> None:
    """Remove pruned channels from the scores stored on the layers that read them; gradients shrink on their own.

    Args:
        group: torch-pruning's group, already pruned.
    """
    for dependency, indices in group:
        layer = dependency.target.module
        takes = dependency.handler in (tp.prune_conv_in_channels, tp.prune_linear_in_channels)
        if takes and hasattr(layer, NOTED):
            noted = getattr(layer, NOTED)
            kept = torch.ones(len(noted), dtype=torch.bool)
            kept[list(indices)] = False
            setattr(layer, NOTED, noted[kept])


@dataclass(frozen=True)
class Part:
    """The entries of one tensor that belong to the scored units.

    Attributes:
        values: (units, entries) weights.
        gradients: their gradients in the same shape, or None.
        noted: (units,) scores that :class:`Estimator` stored for them on the layer that reads them, or None.
        role: whether they are a layer's outputs, its inputs, or scales of a batch norm.
    """

    values: torch.Tensor
    gradients: torch.Tensor | None
    noted: torch.Tensor | None
    role: Literal["out", "in", "norm"]


class _Entry(NamedTuple):
    """One layer of a group, in the form that torch-pruning's measures read."""

    dependency: Any
    indices: list[int]

    @property
    def root_idxs(self) -> list[int]:
        return self.indices


def unit_scores(name: str, parts: Sequence[Part]) -> torch.Tensor | None:
    """Score units that are not a group of torch-pruning, such as heads: (units,), mostly with mean 1.

    Each part is passed to the measure as a layer of its own that produces or reads the units, one channel each.

    Args:
        name: name of the importance.
        parts: parts of one set of units.

    Returns:
        The scores, or None if the measure does not apply (``bn_scale`` without batch norms).
    """
    found = measure(name)([_entry(part) for part in parts])
    return None if found is None else found.detach().float()


def _entry(part: Part) -> _Entry:
    units = len(part.values)
    layer: nn.Module = nn.Linear(1, 1, bias=False)
    # torch-pruning's measures tell roles apart by the pruning function and read weights as (outputs, inputs).
    pruning, laid = tp.prune_linear_out_channels, part.values
    if part.role == "in":
        pruning, laid = tp.prune_linear_in_channels, part.values.t()
    elif part.role == "norm":
        layer, pruning, laid = nn.BatchNorm1d(units), tp.prune_batchnorm_out_channels, part.values.flatten()
    layer.weight = nn.Parameter(laid.contiguous())
    if part.gradients is not None:
        gradients = part.gradients.t() if part.role == "in" else part.gradients
        layer.weight.grad = gradients.reshape(laid.shape)
    else:
        # Taylor importance reads a gradient of every layer, even of one that no loss reached.
        layer.weight.grad = torch.zeros_like(layer.weight)
    if part.noted is not None:
        setattr(layer, NOTED, part.noted)
    dependency = SimpleNamespace(layer=layer, pruning_fn=pruning, handler=pruning, target=SimpleNamespace(module=layer))
    return _Entry(dependency, list(range(units)))
