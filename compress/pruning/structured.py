"""Structured pruning of a model down to a share of its multiply-adds, its parameters or its time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from compress.core.context import PassContext
from compress.core.foreign_code import MODEL_FAILURES, describe_error, eval_copy
from compress.core.model_stats import count_macs, count_parameters
from compress.core.pass_protocol import Declined, PassRecord
from compress.pruning.blocks import BlockPruner, block_penalty
from compress.pruning.channels import ChannelPruner, count_by_layers, find_head, find_layers, group_penalty, multiple_of
from compress.pruning.equivalence import why_broken, why_inexact
from compress.pruning.heads import Unit, has_attention
from compress.pruning.importance import FROM_DATA, Estimator
from compress.pruning.latency import prune_to_latency
from compress.pruning.limits import LimitExceeded, enforceable, limits
from compress.pruning.rules import PruningRules
from compress.training.optimization import Hooks

Pruner = ChannelPruner | BlockPruner
Teach = Callable[..., object]
"""Trains a model in place: ``teach(model, context, hooks, **schedule)``."""

DEFAULT_MACS = 0.5
SPARSIFY_LR = 0.01
"""Of sparse learning, by SGD: Adam would divide the pull by its own size."""
WAYS = {"channels": "torch-pruning", "blocks": "pruning inside of blocks"}
NO_LIMIT = "it can be enforced in the main thread of a POSIX system only"


@dataclass(frozen=True)
class PruneSettings:
    """What structured pruning is asked for; the fields are those of the pass StructuredPrune.

    Attributes:
        asked_by: name of the pass, for errors.
        macs: share of the original's multiply-adds to be left, or None.
        parameters: share of its parameters, or None.
        latency: share of its time, or None.
        attention: what attention loses: ``heads``, ``head_dims`` or None.
        embedding: whether the width between the blocks of a transformer is pruned.
        importance: how units are scored (:mod:`compress.pruning.importance`).
        scope: ``local``, ``global`` or ``isomorphic``.
        steps: rounds of pruning.
        recover_epochs: of training between two rounds.
        sparsify_epochs: of sparse learning before the first.
        sparsify: strength of its penalty.
        round_to: multiple that widths are kept at; None for one that suits the target.
        keep_layers: patterns of layers that keep their outputs.
        max_ratio: largest share of its units that a layer loses.
        time_limit_s: for the tracing and for each round.
        batches: of 64 samples that an importance is estimated on.
    """

    asked_by: str
    macs: float | None
    parameters: float | None
    latency: float | None
    attention: Unit | None
    embedding: bool
    importance: str
    scope: str
    steps: int
    recover_epochs: int
    sparsify_epochs: int
    sparsify: float
    round_to: int | None
    keep_layers: tuple[str, ...]
    max_ratio: float
    time_limit_s: float
    batches: int


class NotThisWay(Exception):
    """A model can't be pruned the way that was tried."""


def prune(
    settings: PruneSettings, model: nn.Module, context: PassContext, teach: Teach
) -> tuple[nn.Module, PassRecord]:
    """Prune a copy of a model to its target; one that can't be comes back unchanged, declined.

    Args:
        settings: what is asked for.
        model: left as it is.
        context: the shares refer to its teacher, where it has one.
        teach: trains a model in place, between the rounds and for sparse learning.

    Raises:
        UsageError: samples or the original are missing, or no layer has a name that is to be kept.
        ModelError: the target is a latency, and the model can't be exported.
    """
    if settings.latency is None:
        return _prune_by_count(settings, model, context, teach)

    def at_share(share: float, *, trial: bool) -> tuple[nn.Module, PassRecord]:
        counted = replace(settings, macs=share, latency=None)
        if trial:
            counted = replace(counted, steps=1, recover_epochs=0, sparsify_epochs=0)
        return _prune_by_count(counted, model, context, teach)

    return prune_to_latency(at_share, model, context, settings.latency)


def _prune_by_count(
    settings: PruneSettings, model: nn.Module, context: PassContext, teach: Teach
) -> tuple[nn.Module, PassRecord]:
    reasons: list[str] = []
    for way in ("blocks",) if has_attention(model) else ("channels", "blocks"):
        try:
            pruned, record = _Attempt(settings, way, context, teach).prune(model)
        except NotThisWay as error:
            reasons.append(str(error))
            continue
        across = [Declined("channels across blocks", why) for why in reasons]
        no_limit = [] if enforceable() else [Declined("time limit", NO_LIMIT)]
        return pruned, PassRecord(record.done, (*record.declined, *across, *no_limit))
    return eval_copy(model), PassRecord.refused("; ".join(reasons))


class _Attempt:
    """Pruning one way: by a trace of the whole model (``channels``) or inside of its ``blocks``."""

    def __init__(self, settings: PruneSettings, way: str, context: PassContext, teach: Teach) -> None:
        self._settings, self._way, self._context, self._teach = settings, way, context, teach
        self._sample = context.sample(1)
        self._what = "multiply-adds" if settings.parameters is None else "parameters"
        self._share = settings.parameters or settings.macs or DEFAULT_MACS

    def prune(self, model: nn.Module) -> tuple[nn.Module, PassRecord]:
        """Prune a copy, or give an unchanged one with the reason why the target can't be reached.

        Raises:
            NotThisWay: the architecture does not allow it, or takes too long.
        """
        pruned = eval_copy(model)
        with torch.random.fork_rng(devices=[]), self._context.progress.task("Pruning") as bar:
            torch.manual_seed(self._context.seed)
            try:
                if self._way == "channels" and (why := self._why_inexact(model)):
                    raise NotThisWay(why)
                record = self._prune(pruned, bar.advance)
            except LimitExceeded as error:
                raise NotThisWay(f"{WAYS[self._way]} {error}") from error
            except MODEL_FAILURES as error:
                why = f"{WAYS[self._way]} could not work through this architecture ({describe_error(error)})"
                raise NotThisWay(why) from error
        if not record.changed:
            return eval_copy(model), record
        if why := why_broken(pruned, model, self._context.sample(2)):
            raise NotThisWay(why)
        return pruned, record

    def _count(self, model: nn.Module) -> int:
        if self._settings.parameters is not None:
            return count_parameters(model)
        return count_macs(model, self._sample.to(next(model.parameters()).device))

    def _why_inexact(self, model: nn.Module) -> str:
        """Why the groups that a trace finds are not to be trusted, or an empty string."""

        def cut(copied: nn.Module) -> None:
            if (pruner := self._pruner(copied, "magnitude_l2")) is not None:
                pruner.prune_to(int(self._share * pruner.left()))

        with limits(self._settings.time_limit_s):
            return why_inexact(model, cut, self._context.sample(2))

    def _prune(self, model: nn.Module, advance: Callable[..., None]) -> PassRecord:
        settings, share = self._settings, self._share
        if settings.sparsify_epochs:
            sparsify(settings, self._way, model, self._context, self._teach)
        with limits(settings.time_limit_s):
            original, before = self._count(self._context.teacher or model), self._count(model)
            if before <= share * original:
                return PassRecord.refused(f"it has {before / original:.3f} of the original's {self._what} already")
            pruner = self._pruner(model, settings.importance)
        if pruner is None:
            return PassRecord.refused("it has no convolution or linear layer")
        widths = pruner.widths()
        left = self._rounds(pruner, share * original, advance)
        after = pruner.widths()
        if left > share * original:
            return PassRecord.refused(
                f"{share:g} of the {self._what} can't be reached, only {left / original:.3f}, with at most "
                f"{settings.max_ratio:g} of a layer removed in multiples of {pruner.rules.multiple}",
                pruner.left_out(after),
            )
        done: dict[str, Any] = {
            f"{'parameters' if settings.parameters else 'macs'}_share": left / original,
            "way": self._way,
            "ratio": pruner.ratio,
            "round_to": pruner.rules.multiple,
            "channels_before": sum(widths.values()),
            "channels_after": sum(after.values()),
            "layers": {name: [widths[name], after[name]] for name in widths if after[name] != widths[name]},
        }
        return PassRecord(done, tuple(pruner.left_out(after)))

    def _pruner(self, model: nn.Module, importance: str) -> Pruner | None:
        """What removes channels of the model; None where it has no layer that has any."""
        settings, sample = self._settings, self._sample
        head = find_head(model, sample)
        if head is None:
            return None
        by_layers = self._way == "channels" and settings.parameters is None
        rules = PruningRules(
            head=head,
            importance=importance,
            scope=settings.scope,
            multiple=settings.round_to or multiple_of(model, head, self._context.target.channel_multiple),
            most=settings.max_ratio,
            count=count_by_layers(model, sample, self._count) if by_layers else self._count,
            keep=find_layers(model, settings.keep_layers),
        )
        if self._way == "channels":
            return ChannelPruner(model, sample, rules)
        return BlockPruner(model, sample, rules, attention=settings.attention, embedding=settings.embedding)

    def _rounds(self, pruner: Pruner, wanted: float, advance: Callable[..., None]) -> int:
        """Prune in equal factors, with estimation before and recovery after each; what is left of the counted."""
        settings, context = self._settings, self._context
        from_data = settings.importance in FROM_DATA
        estimator = Estimator(settings.importance, context, settings.batches, settings.asked_by) if from_data else None
        before = left = pruner.left()
        # the norms of what lies inside of blocks do not change while nothing is learnt between the rounds
        steps = settings.steps if estimator or settings.recover_epochs or not pruner.separate else 1
        for step in range(1, steps + 1):
            if estimator is not None:
                estimator.estimate(pruner.model)
            with limits(settings.time_limit_s):
                left = pruner.prune_to(int((wanted / before) ** (step / steps) * before))
            if estimator is not None:
                estimator.clear(pruner.model)
            advance(1 / steps, f"{left / before:.2f} left")
            if settings.recover_epochs and step < steps:
                self._teach(pruner.model, context, None, epochs=settings.recover_epochs)
        return left


def sparsify(settings: PruneSettings, way: str, model: nn.Module, context: PassContext, teach: Teach) -> None:
    """Train in place with a penalty on the norm of each group, most on the weakest: section 3.3 of DepGraph."""
    sample = context.sample(1)
    with limits(settings.time_limit_s):
        if way == "channels":
            penalty = group_penalty(model, sample, find_head(model, sample), settings.sparsify)
        else:
            penalty = block_penalty(model, sample, settings.sparsify)
    schedule = {"epochs": settings.sparsify_epochs, "optimizer": "sgd", "lr": SPARSIFY_LR, "keep": "last"}
    teach(model, context, Hooks(adjust=penalty), **schedule)
