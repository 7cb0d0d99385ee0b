"""The groups of a model that can be narrowed, the blocks that contain them, and the importance of their units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from compress.core.context import PassContext
from compress.core.foreign_code import eval_copy
from compress.core.model_stats import count_parameters
from compress.core.pass_protocol import Declined
from compress.costs.items import Item, Variant, find_items
from compress.costs.neighbours import with_neighbours
from compress.pruning.blocks import BlockPruner
from compress.pruning.channels import find_head, find_layers
from compress.pruning.elimination import EliminationEstimator
from compress.pruning.equivalence import verified_groups
from compress.pruning.importance import FROM_DATA, Estimator
from compress.pruning.rules import PruneSettings, PruningRules
from compress.pruning.tracing import with_gradients

COUPLED = "its units can only be removed together with those of other layers"


@dataclass(frozen=True)
class Narrowable:
    """A model with the parts that can be narrowed.

    Attributes:
        model: a copy of the original, with attention modules whose heads can be removed.
        items: its blocks.
        scores: (rows, units) importance of the units, by the group's name.
        declined: what cannot be narrowed, and why.
    """

    model: nn.Module
    items: tuple[Item, ...]
    scores: Mapping[str, torch.Tensor]
    declined: tuple[Declined, ...]


def find_narrowable(
    settings: PruneSettings, model: nn.Module, context: PassContext, *, formats: Sequence[Variant] = ()
) -> Narrowable:
    """Find verified groups inside blocks, and score their units.

    Args:
        settings: importance, attention pruning, layers to keep, largest share lost.
        model: model in eval mode on the CPU; not modified.
        context: data for a data-based importance.
        formats: formats that blocks may have instead of integers.

    Raises:
        UsageError: data for the importance is missing, or no layer matches ``keep_layers``.
    """
    found, sample = eval_copy(model), context.sample(1)
    head = find_head(found, sample)
    if head is None:
        return Narrowable(found, (), {}, ())
    rules = PruningRules(
        head=head,
        importance=settings.importance,
        scope="local",
        # Widths come from the ladder of each item, not from rounding.
        multiple=1,
        most=settings.max_ratio,
        count=count_parameters,
        keep=find_layers(found, settings.keep_layers),
    )
    pruner = BlockPruner(found, sample, rules, attention=settings.attention, embedding=False)
    scores = _scores(pruner, settings, context)
    # Groups coupled by an addition pass a common test, in which all of them lose the same units; here each block is
    # narrowed by itself.
    known = [group for group in pruner.groups if group.name in scores]
    groups = [group for group in known if verified_groups(found, sample, [group])]
    items = find_items(found, sample, groups, most=settings.max_ratio, keep=rules.keep, formats=formats)
    if formats:
        items = with_neighbours(found, sample, items)
    declined = [each for each in pruner.left_out({}) if each.what not in scores]
    declined += [Declined(group.name, COUPLED) for group in known if group not in groups]
    return Narrowable(found, tuple(items), scores, tuple(declined))


def _scores(pruner: BlockPruner, settings: PruneSettings, context: PassContext) -> dict[str, torch.Tensor]:
    model = pruner.model
    estimator: Estimator | EliminationEstimator
    if settings.importance == "obs":
        heads = settings.attention == "heads"
        estimator = EliminationEstimator(context, settings.refit_samples, pruner.takers, whole_heads=heads)
    elif settings.importance in FROM_DATA:
        estimator = Estimator(settings.importance, context, settings.batches, settings.pass_name)
    else:
        return _known(pruner, settings.importance)
    with with_gradients(model):
        estimator.estimate(model)
        found = _known(pruner, settings.importance)
    estimator.clear(model)
    return found


def _known(pruner: BlockPruner, importance: str) -> dict[str, torch.Tensor]:
    scores = {group.name: group.scores(pruner.model, importance) for group in pruner.groups}
    return {name: found for name, found in scores.items() if found is not None}
