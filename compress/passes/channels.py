"""Removing channels down to a number of multiply-adds, on torch-pruning's dependency groups."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch_pruning as tp
from torch import nn

from compress.facts import count_macs
from compress.passes.base import Declined

PERCENT = 100

LAYERS = (nn.modules.conv._ConvNd, nn.Linear)


def find_head(model: nn.Module, sample: torch.Tensor) -> nn.Module | None:
    """The last convolution or linear layer that a forward pass runs: its outputs are the classes."""
    last: list[nn.Module] = []
    hooks = [
        module.register_forward_hook(lambda module, inputs, output: last.append(module))
        for module in model.modules()
        if isinstance(module, LAYERS)
    ]
    try:
        with torch.no_grad():
            model(sample)
    finally:
        for hook in hooks:
            hook.remove()
    return last[-1] if last else None


def _importance(name: str) -> Any:
    if name == "bn_scale":
        return tp.importance.BNScaleImportance()
    if name == "taylor":
        return tp.importance.GroupTaylorImportance()
    if name == "random":
        return tp.importance.RandomImportance()
    return tp.importance.GroupMagnitudeImportance(p=1 if name == "magnitude_l1" else 2)


class ChannelPruner:
    """Prunes a model in place, by ratios that grow in whole percents.

    Args:
        model: in eval mode on the CPU; changed in place.
        sample: one preprocessed sample (1, ...), which the model is traced with.
        head: layer that keeps its outputs.
        importance: see StructuredPrune.
        scope: ``local`` or ``global``.
        multiple: channels are kept at multiples of this.
        most: largest share of its channels that a layer may lose.

    Raises:
        whatever torch-pruning raises on an architecture that it does not understand.
    """

    def __init__(
        self,
        model: nn.Module,
        sample: torch.Tensor,
        head: nn.Module,
        *,
        importance: str,
        scope: str,
        multiple: int,
        most: float,
    ) -> None:
        self.model = model
        self.sample = sample
        self.head = head
        self.multiple = multiple
        self.last_percent = int(most * PERCENT)
        self.percent = 0
        self._pruner = tp.pruner.BasePruner(
            model,
            sample,
            importance=_importance(importance),
            global_pruning=scope == "global",
            pruning_ratio=1.0,
            iterative_steps=PERCENT,  # step i aims at i percent
            max_pruning_ratio=most,
            ignored_layers=[head],
            round_to=multiple,
            in_channel_groups={},  # the defaults are dicts that all instances would share
            out_channel_groups={},
            num_heads={},
        )
        self._names = {module: name for name, module in model.named_modules()}
        self._groups = self._find_groups()

    @property
    def ratio(self) -> float:
        """Share of its channels that a layer was last asked to lose."""
        return self.percent / PERCENT

    def widths(self) -> dict[str, int]:
        """Output channels of each convolution and linear layer, by name."""
        return {
            name: module.weight.shape[1] if getattr(module, "transposed", False) else module.weight.shape[0]
            for module, name in self._names.items()
            if isinstance(module, LAYERS)
        }

    def prune_to(self, macs: int) -> int:
        """Remove channels until at most ``macs`` multiply-adds are left, or nothing more can be removed.

        Returns:
            The multiply-adds that are left.
        """
        left = count_macs(self.model, self.sample)
        while left > macs and self.percent < self.last_percent:
            self.percent = self._next_percent(left, macs)
            self._pruner.current_step = self.percent - 1  # step() adds one
            for group in self._pruner.step(interactive=True):
                group.prune()
                left = count_macs(self.model, self.sample)
                if left <= macs:
                    break
        return left

    def _next_percent(self, left: int, macs: int) -> int:
        """Half the way to the ratio at which the goal would be met if multiply-adds went with its square."""
        kept = PERCENT - self.percent
        there = kept * (1 - math.sqrt(macs / left))
        return min(self.last_percent, self.percent + max(1, int(there / 2)))

    def _find_groups(self) -> set[str]:
        """Names of the layers whose output channels belong to some group that may be pruned."""
        graph = self._pruner.DG
        found = set()
        for group in graph.get_all_groups(ignored_layers=[self.head], root_module_types=[*LAYERS]):
            for dependency, _ in group:
                module = dependency.target.module
                if isinstance(module, LAYERS) and graph.is_out_channel_pruning_fn(dependency.handler):
                    found.add(self._names[module])
        return found

    def left_out(self, widths: dict[str, int]) -> Iterator[Declined]:
        """The layers that could not be pruned, each with the reason.

        Args:
            widths: the output channels that are left.
        """
        for name, width in widths.items():
            if name == self._names[self.head]:
                yield Declined(name, "the head keeps its outputs, which are the classes")
            elif name not in self._groups:
                yield Declined(name, "its output channels belong to no group that can be removed together")
            elif width <= self.multiple:
                yield Declined(name, f"it has {width} channels, no more than the multiple of {self.multiple}")
