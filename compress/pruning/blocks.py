"""Removal of channels, heads and widths inside blocks, down to a number of multiply-adds or parameters."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Callable, Iterator, Mapping

import torch
from torch import nn

from compress.core.foreign_code import MODEL_FAILURES
from compress.core.pass_protocol import Declined
from compress.pruning.chains import find_chains
from compress.pruning.channels import HEAD, KEPT
from compress.pruning.embedding import EmbeddingUnclear, embedding_group
from compress.pruning.equivalence import verified_groups
from compress.pruning.groups import LAYERS, Group, Kept, add_sparsity_gradient
from compress.pruning.heads import Unit, attentions, head_group, loosen
from compress.pruning.provenance import Provenance
from compress.pruning.rules import PruningRules

STEPS_PER_RATIO = 100
LARGE = 1 << 20
"""Number of weights from which shapes alone are usually counted faster than the model runs."""


class BlockPruner:
    """Prunes a model in place, by groups that are each local to one place and verified.

    It has the same interface as `channels.ChannelPruner` and needs no trace: it works where that fails, but cannot
    remove channels that couple blocks with each other.

    Args:
        model: model in eval mode on the CPU; modified in place.
        sample: one preprocessed sample (1, ...).
        rules: how units are chosen, and what stays.
        attention: what to prune in attention: whole ``heads``, ``head_dims`` of all heads, or nothing (None).
        embedding: whether the width between the blocks is pruned too.
    """

    separate = True
    """Nearly all groups share no layer with another."""

    def __init__(
        self,
        model: nn.Module,
        sample: torch.Tensor,
        rules: PruningRules,
        *,
        attention: Unit | None,
        embedding: bool,
    ) -> None:
        self.model, self.rules, self.provenance = model, rules, Provenance()
        self._refused = dict.fromkeys(rules.keep, KEPT)
        if attention is not None or embedding:
            loosen(model, sample)
        self.groups = [group for group in self._find(sample, attention, embedding) if group.name not in rules.keep]
        # The original numbers, to which shares and limits refer after several rounds.
        self._units = {group.name: group.units for group in self.groups}
        self._without_data = _same_without_data(model, rules.count)

    def _find(self, sample: torch.Tensor, attention: Unit | None, embedding: bool) -> list[Group]:
        found = list(attentions(self.model))
        apart = {path for module in found for path in (module.path, module.back)}
        chains = find_chains(self.model, sample, apart)
        heads = [head_group(self.model, module, attention) for module in found] if attention is not None else []
        groups = verified_groups(self.model, sample, chains) + verified_groups(self.model, sample, heads)
        kept = {group.name for group in groups}
        for group in (*chains, *heads):
            if group.name not in kept:
                self._refused[group.name] = "removing its units is not equivalent to masking them"
        if embedding:
            groups += self._embedding(sample, groups)
        return groups

    def _embedding(self, sample: torch.Tensor, groups: list[Group]) -> list[Group]:
        try:
            return [embedding_group(self.model, sample, groups, self.rules.head)]
        except EmbeddingUnclear as error:
            self._refused["the embedding width"] = str(error)
            return []

    @property
    def takers(self) -> set[str]:
        """Paths of the layers that read units of a group."""
        found = {cut.path for group in self.groups for cut in group.cuts if cut.dim and cut.tensor == "weight"}
        return {path for path in found if isinstance(self.model.get_submodule(path), LAYERS)}

    @property
    def ratio(self) -> float:
        """Share of the units that is removed."""
        return 1 - sum(self.widths().values()) / max(1, sum(self._units.values()))

    def widths(self) -> dict[str, int]:
        """Return the number of units of each group, by name."""
        return {group.name: group.units for group in self.groups}

    def left(self) -> int:
        """Return the current value of the counted quantity."""
        return self.rules.count(self.model)

    def prune_to(self, wanted: int) -> int:
        """Remove units until at most ``wanted`` of the counted quantity remains, or nothing more can be removed.

        Returns:
            What remains.
        """
        scores = {group.name: group.scores(self.model, self.rules.importance) for group in self.groups}
        for name, found in scores.items():
            if found is None:
                self._refused[name] = f"it has nothing that {self.rules.importance} importance reads"
        order = [group for group in self.groups if scores[group.name] is not None]
        known = {name: found for name, found in scores.items() if found is not None}
        # The search counts dozens of plans; tensors without data make a copy and a count nearly free.
        skeleton = copy.deepcopy(self.model).to("meta") if self._without_data else self.model
        last = STEPS_PER_RATIO * len(order)
        # What remains falls with each step, so bisection finds the first step that is enough.
        step = self._first(last, lambda at: self._left_after(skeleton, self._plan(order, known, at), wanted))
        plan = self._plan(order, known, step)
        for group in self.groups:
            if group.name in plan:
                group.note(self.provenance, self.model, plan[group.name])
        self.groups = [
            group.remove(self.model, plan[group.name]) if group.name in plan else group for group in self.groups
        ]
        return self.left()

    def _left_after(self, skeleton: nn.Module, plan: Mapping[str, Kept], wanted: int) -> bool:
        """Return whether a plan brings the model to the target."""
        tried = copy.deepcopy(skeleton)
        for group in self.groups:
            if group.name in plan:
                group.remove(tried, plan[group.name])
        with torch.device("meta") if self._without_data else contextlib.nullcontext():
            return self.rules.count(tried) <= wanted

    def _first(self, last: int, enough: Callable[[int], bool]) -> int:
        """Return the first of the steps 0 to last that is enough, or the last."""
        low, high = 0, last
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if enough(middle) else (middle + 1, high)
        return high

    def _plan(self, order: list[Group], scores: Mapping[str, torch.Tensor], step: int) -> dict[str, Kept]:
        """Choose the units that stay after that many steps, for the groups that lose any.

        With ``local`` scope each step takes one percent more of one group, in turn. Otherwise the same share of all
        units is removed, among all groups or those of a kind, lowest scores first.
        """
        plan = {}
        for place, group in enumerate(order):
            ranked = scores[group.name].sort(dim=1)
            if self.rules.scope == "local":
                # Groups take turns, so that the search can stop in the middle of a percent.
                percent = step // len(order) + (place < step % len(order))
                gone = self._units[group.name] * percent / STEPS_PER_RATIO - self._units[group.name] + group.units
            else:
                pooled = self._pool(order, scores, group)
                # One threshold for all; rows of a group (query, key, value) lose equally many units, hence the mean.
                share = step / (STEPS_PER_RATIO * len(order))
                threshold = pooled.sort().values[min(len(pooled) - 1, int(share * len(pooled)))]
                gone = float((ranked.values.mean(0) < threshold).sum()) if share < 1 else float(group.units)
            kept = self._kept(group, gone)
            if kept < group.units:
                plan[group.name] = ranked.indices[:, group.units - kept :].sort(dim=1).values
        return plan

    def _pool(self, order: list[Group], scores: Mapping[str, torch.Tensor], group: Group) -> torch.Tensor:
        """Return the scores of all units that are ranked together with a group's."""
        together = [other for other in order if self.rules.scope == "global" or other.kind == group.kind]
        return torch.cat([scores[other.name].sort(dim=1).values.mean(0) for other in together])

    def _kept(self, group: Group, gone: float) -> int:
        """Return how many units stay when that many of a group may be removed."""
        multiple = self._multiple(group)
        least = max(1, self._units[group.name] * (1 - self.rules.most))
        kept = max(least, group.units - gone)
        # Round up, because a group may lose less but not more; the slack absorbs products such as 30 * (1 - 0.7).
        return min(group.units, math.ceil(kept / multiple - 1e-9) * multiple)

    def _multiple(self, group: Group) -> int:
        if group.kind == "heads":
            return 1
        if group.kind == "head_dims":  # at most a quarter, or there is nothing to choose from
            return min(self.rules.multiple, 1 << max(0, (self._units[group.name] // 4).bit_length() - 1))
        return self.rules.multiple

    def left_out(self, widths: Mapping[str, int]) -> Iterator[Declined]:
        """Yield the groups and layers that could not be pruned, each with the reason.

        Args:
            widths: remaining units.
        """
        for name, why in self._refused.items():
            yield Declined(name, why)
        makers = {cut.path for group in self.groups for cut in group.cuts if cut.dim == 0}
        for name, module in self.model.named_modules():
            if module is self.rules.head:
                yield Declined(name, HEAD)
            elif isinstance(module, LAYERS) and name not in makers and name not in self._refused:
                yield Declined(name, "its outputs are read outside of its block")
        for group in self.groups:
            if group.name in widths and widths[group.name] <= self._multiple(group):
                yield Declined(group.name, f"it has {widths[group.name]} {group.kind}, no more than the multiple")


def block_penalty(model: nn.Module, sample: torch.Tensor, strength: float) -> Callable[[], None]:
    """Return a function that adds a groupwise pull towards 0 to the gradients, like `channels.group_penalty`.

    Heads that `loosen` would have to replace are excluded: they are replaced after the training.
    """
    found = list(attentions(model))
    apart = {path for module in found for path in (module.path, module.back)}
    heads = [head_group(model, module, "heads") for module in found]
    groups = verified_groups(model, sample, find_chains(model, sample, apart)) + verified_groups(model, sample, heads)
    return lambda: add_sparsity_gradient(model, groups, strength)


def _same_without_data(model: nn.Module, count: Callable[[nn.Module], int]) -> bool:
    """Return whether counting works on tensors that have shapes only, with the same result and in less time."""
    if sum(each.numel() for each in model.parameters()) < LARGE:
        return False
    try:
        with torch.device("meta"):
            return count(copy.deepcopy(model).to("meta")) == count(model)
    except MODEL_FAILURES:
        return False
