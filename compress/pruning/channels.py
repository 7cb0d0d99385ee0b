"""Removal of channels down to a number of multiply-adds or parameters, with torch-pruning's dependency groups."""

from __future__ import annotations

import fnmatch
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch_pruning as tp
from torch import nn

from certify.core.errors import UsageError
from compress.core.forward_hooks import attach_hooks
from compress.core.pass_protocol import Declined
from compress.pruning.importance import measure, reindex
from compress.pruning.provenance import Provenance
from compress.pruning.rules import PruningRules
from compress.pruning.tracing import with_gradients

PERCENT = 100
KEPT = "the recipe keeps its channels"
HEAD = "the head keeps its outputs, which are the classes"

LAYERS = (nn.modules.conv._ConvNd, nn.Linear)


class _InstanceNormPruner(tp.function.InstanceNormPruner):  # type: ignore[misc]
    """Prunes an instance norm's statistics along with its channels, if it has any."""

    # torch-pruning only cuts weight and bias of instance norms, not their running statistics.
    def prune_out_channels(self, layer: nn.Module, idxs: Sequence[int]) -> nn.Module:
        """Remove the channels ``idxs`` in place."""
        kept = sorted(set(range(layer.num_features)) - set(idxs))  # type: ignore[arg-type]
        if layer.running_mean is not None:
            layer.running_mean, layer.running_var = layer.running_mean[kept], layer.running_var[kept]  # type: ignore[index]
        pruned: nn.Module = super().prune_out_channels(layer, idxs)
        return pruned

    prune_in_channels = prune_out_channels


INSTANCE_NORMS = (nn.InstanceNorm1d, nn.InstanceNorm2d, nn.InstanceNorm3d)
OWN_PRUNERS = dict.fromkeys(INSTANCE_NORMS, _InstanceNormPruner())


def find_head(model: nn.Module, sample: torch.Tensor) -> nn.Module | None:
    """Return the last convolution or linear layer of a forward pass: its outputs are the classes."""
    last: list[nn.Module] = []
    layers = (module for module in model.modules() if isinstance(module, LAYERS))
    with attach_hooks((layer, lambda module, inputs, output: last.append(module)) for layer in layers), torch.no_grad():
        model(sample)
    return last[-1] if last else None


def count_by_layers(
    model: nn.Module, sample: torch.Tensor, count: Callable[[nn.Module], int]
) -> Callable[[nn.Module], int]:
    """Return a function that counts a model's multiply-adds without running it, if all of them are in its layers.

    Each weight is used once per output position of its layer, and pruning channels does not change the positions.

    Args:
        model: model to count repeatedly, while its layers are narrowed in place.
        sample: (1, ...) input of the model.
        count: counts by running the model; returned if the two disagree.
    """
    positions: dict[nn.Module, int] = {}

    def note(module: nn.Module, inputs: tuple[object, ...], output: torch.Tensor) -> None:
        channels = int(module.weight.shape[0])  # type: ignore[index, union-attr, arg-type]
        # Added up, because a layer that is called twice multiplies twice.
        positions[module] = positions.get(module, 0) + output.numel() // channels

    layers = (module for module in model.modules() if isinstance(module, LAYERS))
    with attach_hooks((layer, note) for layer in layers), torch.no_grad():
        model(sample)

    def by_layers(_: nn.Module) -> int:
        return sum(layer.weight.numel() * places for layer, places in positions.items())  # type: ignore[operator, union-attr, misc]

    # The counts differ where operators without weights multiply, such as attention's products.
    return by_layers if by_layers(model) == count(model) else count


def find_layers(model: nn.Module, patterns: Sequence[str]) -> frozenset[str]:
    """Return the names of the convolutions and linear layers that match a pattern; ``*`` matches any part of a name.

    Raises:
        UsageError: a pattern matches no layer.
    """
    layers = [name for name, module in model.named_modules() if isinstance(module, LAYERS)]
    found: set[str] = set()
    for pattern in patterns:
        names = fnmatch.filter(layers, pattern)
        if not names:
            raise UsageError(
                f"keep_layers: no layer matches {pattern}; the first layer is {layers[0] if layers else 'none'}."
            )
        found.update(names)
    return frozenset(found)


def multiple_of(model: nn.Module, head: nn.Module, most: int) -> int:
    """Return the largest power of two that is at most ``most`` and at most an eighth of the median width."""
    widths = [m.weight.shape[0] for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear) and m is not head]
    # Coarser multiples would leave a narrow layer hardly any choice of widths.
    wanted = min(most, statistics.median(widths) / 8) if widths else 1
    return 1 << max(0, int(wanted).bit_length() - 1)


def group_penalty(
    model: nn.Module, sample: torch.Tensor, head: nn.Module | None, strength: float
) -> Callable[[], None]:
    """Return a function that adds a pull towards 0 to the gradients, stronger for groups of channels with a small norm.

    Raises:
        Exception: whatever torch-pruning raises on an architecture that it does not support.
    """
    with with_gradients(model):
        pruner = tp.pruner.GroupNormPruner(
            model,
            sample,
            importance=tp.importance.GroupMagnitudeImportance(p=2, normalizer=None),
            reg=strength,
            ignored_layers=[] if head is None else [head],
            in_channel_groups={},
            out_channel_groups={},
            num_heads={},
            customized_pruners=OWN_PRUNERS,
        )
    return lambda: pruner.regularize(model)


class ChannelPruner:
    """Prunes a model in place, by ratios that grow in whole percents.

    Args:
        model: model in eval mode on the CPU; modified in place.
        sample: one preprocessed sample (1, ...), with which the model is traced.
        rules: how channels are chosen, and what stays.

    Raises:
        Exception: whatever torch-pruning raises on an architecture that it does not support.
    """

    separate = False
    """Groups share layers, so the norms of one change when another loses channels."""

    def __init__(self, model: nn.Module, sample: torch.Tensor, rules: PruningRules) -> None:
        self.model, self.rules, self.provenance = model, rules, Provenance()
        self._whole = [rules.head, *(model.get_submodule(name) for name in rules.keep)]
        self.last_percent = int(rules.most * PERCENT)
        self.percent = 0
        with with_gradients(model):
            self._pruner = tp.pruner.BasePruner(
                model,
                sample,
                importance=measure(rules.importance),
                global_pruning=rules.scope != "local",
                isomorphic=rules.scope == "isomorphic",
                pruning_ratio=1.0,
                iterative_steps=PERCENT,  # step i aims at i percent
                max_pruning_ratio=rules.most,
                ignored_layers=self._whole,
                round_to=rules.multiple,
                in_channel_groups={},  # the defaults are dicts that all instances would share
                out_channel_groups={},
                num_heads={},
                customized_pruners=OWN_PRUNERS,
            )
        self._names = {module: name for name, module in model.named_modules()}
        self._groups, self.takers = self._find_groups()

    @property
    def ratio(self) -> float:
        """Current pruning ratio: the share of its channels that each layer loses."""
        return self.percent / PERCENT

    def widths(self) -> dict[str, int]:
        """Return the number of output channels of each convolution and linear layer, by name."""
        return {
            # Weights of transposed convolutions are stored as (inputs, outputs).
            name: module.weight.shape[1] if getattr(module, "transposed", False) else module.weight.shape[0]
            for module, name in self._names.items()
            if isinstance(module, LAYERS)
        }

    def left(self) -> int:
        """Return the current value of the counted quantity."""
        return self.rules.count(self.model)

    def prune_to(self, wanted: int) -> int:
        """Remove channels until at most ``wanted`` of the counted quantity remains, or nothing more can be removed.

        Returns:
            What remains.
        """
        with with_gradients(self.model):  # pruned tensors become new parameters, which may have to be frozen again
            left = self.left()
            while left > wanted and self.percent < self.last_percent:
                self.percent = self._next_percent(left, wanted)
                self._pruner.current_step = self.percent - 1  # step() adds one
                # Interactive, so that pruning can stop between two groups: a whole percent may overshoot.
                for group in self._pruner.step(interactive=True):
                    self._note(group)
                    group.prune()
                    reindex(group)
                    left = self.left()
                    if left <= wanted:
                        break
            return left

    def _note(self, group: Any) -> None:
        """Record what the layers of a group are about to lose."""
        graph = self._pruner.DG
        for dependency, indices in group:
            module = dependency.target.module
            if isinstance(module, LAYERS):
                path = self._names[module]
                if graph.is_out_channel_pruning_fn(dependency.handler):
                    self.provenance.remove_outputs(path, indices, self.widths()[path])
                else:
                    self.provenance.lose_inputs(path)

    def _next_percent(self, left: int, wanted: int) -> int:
        """Go half the way to the ratio that would meet the goal if the count fell with the square of the width."""
        # After p percent a layer has (100 - p) / 100 of its width, and its multiply-adds fall with the width on both
        # sides.
        kept = PERCENT - self.percent
        # Take half, because a step cannot be undone and the square is only an estimate.
        there = kept * (1 - math.sqrt(wanted / left))
        return min(self.last_percent, self.percent + max(1, int(there / 2)))

    def _find_groups(self) -> tuple[set[str], set[str]]:
        """Return the layers whose outputs, and those whose inputs, belong to a group that may be pruned."""
        graph = self._pruner.DG
        makers: set[str] = set()
        takers: set[str] = set()
        for group in graph.get_all_groups(ignored_layers=self._whole, root_module_types=[*LAYERS]):
            for dependency, _ in group:
                module = dependency.target.module
                if isinstance(module, LAYERS):
                    makes = graph.is_out_channel_pruning_fn(dependency.handler)
                    (makers if makes else takers).add(self._names[module])
        return makers, takers

    def left_out(self, widths: dict[str, int]) -> Iterator[Declined]:
        """Yield the layers that could not be pruned, each with the reason.

        Args:
            widths: remaining output channels.
        """
        # The order of the reasons matters: the head may also have no group.
        for name, width in widths.items():
            if name == self._names[self.rules.head]:
                yield Declined(name, HEAD)
            elif name in self.rules.keep:
                yield Declined(name, KEPT)
            elif name not in self._groups:
                yield Declined(name, "its output channels belong to no group that can be removed together")
            elif width <= self.rules.multiple:
                yield Declined(name, f"it has {width} channels, no more than the multiple of {self.rules.multiple}")
