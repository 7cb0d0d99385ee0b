"""One attempt to prune a model to its target: traced as a whole, or inside its blocks."""

from __future__ import annotations

import contextlib
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from compress.core.context import PassContext
from compress.core.foreign_code import MODEL_FAILURES, describe_error, eval_copy
from compress.core.model_stats import count_macs, count_parameters
from compress.core.pass_protocol import Declined, PassRecord
from compress.pruning.blocks import BlockPruner, block_penalty
from compress.pruning.channels import (
    HEAD,
    LAYERS,
    ChannelPruner,
    count_by_layers,
    find_head,
    find_layers,
    group_penalty,
    multiple_of,
)
from compress.pruning.elimination import EliminationEstimator
from compress.pruning.equivalence import why_broken, why_inexact
from compress.pruning.heads import loosen
from compress.pruning.importance import AT_ONCE, FROM_DATA, Estimator
from compress.pruning.limits import LimitExceeded, limits
from compress.pruning.program import NotTraceable
from compress.pruning.provenance import Provenance
from compress.pruning.reconstruction import Changes
from compress.pruning.refitting import reconstructed
from compress.pruning.rules import PruneSettings, PruningRules
from compress.pruning.tracing import buffers_as_parameters, with_gradients
from compress.training.optimization import Hooks

Pruner = ChannelPruner | BlockPruner
Teach = Callable[..., object]
"""Trains a model in place: ``teach(model, context, hooks, **schedule)``."""

DEFAULT_MACS = 0.5
SPARSIFY_LR = 0.01
"""Learning rate of sparse learning, by SGD: Adam would divide the pull by its own size."""
NEAR = 0.9
"""Share of the target below which a model is smaller than requested; a smaller multiple of channels is tried first."""
TRACE_S, TRACE_S_PER_LAYER = 5.0, 1.0
"""Limit of the first tracing: a network with few layers that takes longer is one whose groups grow without bound."""
WAYS = {"channels": "torch-pruning", "buffers": "torch-pruning", "blocks": "pruning inside of blocks"}


class PruningImpossible(Exception):
    """A model cannot be pruned in the way that was tried."""


class TargetUnreached(PruningImpossible):
    """The target cannot be reached in the way that was tried.

    Args:
        record: record of the model, unchanged.
        left: share of the counted quantity that would remain.
    """

    def __init__(self, record: PassRecord, left: float) -> None:
        super().__init__(record.declined[0].why)
        self.record, self.left = record, left


def _most_common(declined: list[Declined]) -> str:
    """Return the most common reason why layers lose nothing, with the first layer that has it."""
    layers = [each for each in declined if each.why != HEAD]
    whys = Counter(each.why for each in layers).most_common(1)
    if not whys:
        return "its only layer is the head"
    why, count = whys[0]
    first = next(each.what for each in layers if each.why == why)
    return f"{why} ({count} of {len(layers)} layers, such as '{first}')"


class Attempt:
    """Pruning in one way.

    Args:
        settings: settings of the pass.
        way: by a trace of the whole model (``channels``), by one that includes its constants (``buffers``), or inside
            its ``blocks``.
        context: context of the pass; shares refer to its teacher, if it has one.
        teach: trains a model in place.
    """

    def __init__(self, settings: PruneSettings, way: str, context: PassContext, teach: Teach) -> None:
        self._settings, self._way, self._context, self._teach = settings, way, context, teach
        self._sample = context.sample(1)
        self._what = "multiply-adds" if settings.parameters is None else "parameters"
        self._share = settings.parameters or settings.macs or DEFAULT_MACS
        self._key = f"{'parameters' if settings.parameters else 'macs'}_share"
        self._multiple: int | None = settings.round_to
        self._form = buffers_as_parameters if way == "buffers" else contextlib.nullcontext

    def prune(self, model: nn.Module) -> tuple[nn.Module, PassRecord]:
        """Prune a copy, or return an unchanged one with the reason why the target cannot be reached.

        Raises:
            PruningImpossible: the architecture does not allow it, or pruning takes too long.
        """
        task = self._context.progress.task("Pruning")
        # Random importances and training seed torch's generator, but a pass must leave the caller's alone.
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings(), task as bar:
            warnings.simplefilter("ignore")  # torch-pruning warns about properties that are verified here
            torch.manual_seed(self._context.seed)
            try:
                # Groups inside blocks are proven one by one when they are found, those of a trace together here.
                if self._way != "blocks" and (why := self._why_inexact(eval_copy(model))):
                    raise PruningImpossible(why)
                pruned, record, provenance = self._nearest(model, bar.advance)
            except LimitExceeded as error:
                raise PruningImpossible(f"{WAYS[self._way]} {error}") from error
            except NotTraceable as error:
                raise PruningImpossible(
                    f"{self._settings.importance} importance cannot be estimated: {error}"
                ) from error
            except MODEL_FAILURES as error:
                why = f"{WAYS[self._way]} cannot handle this architecture ({describe_error(error)})"
                raise PruningImpossible(why) from error
        if not record.changed:
            return eval_copy(model), record
        if why := why_broken(pruned, model, self._context.sample(2)):
            raise PruningImpossible(why)
        if self._settings.reconstruct:
            record = self._reconstructed(model, pruned, record, provenance)
        return pruned, record

    def _reconstructed(
        self, model: nn.Module, pruned: nn.Module, record: PassRecord, provenance: Provenance
    ) -> PassRecord:
        """Refit the pruned model's layers in place; return the record with the result."""
        original, settings = eval_copy(model), self._settings
        # Replace attention as in the pruned model, because layers are matched by their operators.
        if self._way == "blocks" and (settings.attention is not None or settings.embedding):
            loosen(original, self._sample)
        changes = Changes(provenance.outputs, provenance.inputs)
        return reconstructed(record, original, pruned, changes, self._context, settings.refit_samples)

    def _count(self, model: nn.Module) -> int:
        if self._settings.parameters is not None:
            return count_parameters(model)
        return count_macs(model, self._sample.to(next(model.parameters()).device))

    def _why_inexact(self, model: nn.Module) -> str:
        """Return why the groups found by a trace cannot be trusted, or an empty string."""

        def cut(copied: nn.Module) -> None:
            if (pruner := self._pruner(copied, "magnitude_l2")) is not None:
                pruner.prune_to(int(self._share * pruner.left()))

        layers = sum(isinstance(module, LAYERS) for module in model.modules())
        with limits(self._settings.time_limit_s, TRACE_S + TRACE_S_PER_LAYER * layers), self._form(model):
            return why_inexact(model, cut, self._context.sample(2))

    def _nearest(self, model: nn.Module, advance: Callable[..., None]) -> tuple[nn.Module, PassRecord, Provenance]:
        """Prune copies with ever smaller multiples of channels until one is near the target; return the nearest.

        Raises:
            TargetUnreached: none of them reaches it.
        """
        settings, found, missed = self._settings, [], None
        fixed = settings.round_to or settings.sparsify_epochs or settings.recover_epochs
        while True:
            pruned = eval_copy(model)
            torch.manual_seed(self._context.seed)
            try:
                with self._form(pruned):
                    record, provenance = self._prune(pruned, advance)
            except TargetUnreached as error:
                missed = error
            else:
                if not record.changed:
                    return pruned, record, provenance
                found.append((record.done[self._key], pruned, record, provenance))
            near = found and found[-1][0] >= NEAR * self._share
            if near or fixed or (self._multiple or 1) == 1:
                break
            self._multiple = (self._multiple or 1) // 2
        if not found:
            raise missed or PruningImpossible("it has no channels")
        left, pruned, record, provenance = max(found, key=lambda each: each[0])
        return pruned, PassRecord(record.done, (*record.declined, *self._overshoot(left, record))), provenance

    def _overshoot(self, left: float, record: PassRecord) -> list[Declined]:
        if left >= NEAR * self._share:
            return []
        why = (
            f"{left:.3f} of the {self._what} remain where {self._share:g} was requested: channels that depend on each "
            f"other are removed together, in multiples of {record.done['round_to']}; one step less misses the target"
        )
        self._context.progress.say(f"{self._settings.pass_name}: {why}.")
        return [Declined("the target", why)]

    def _prune(self, model: nn.Module, advance: Callable[..., None]) -> tuple[PassRecord, Provenance]:
        settings, share = self._settings, self._share
        if settings.sparsify_epochs:
            sparsify(settings, self._way, model, self._context, self._teach)
        with limits(settings.time_limit_s):
            original, before = self._count(self._context.teacher or model), self._count(model)
            if before <= share * original:
                why = f"it already has {before / original:.3f} of the original's {self._what}"
                return PassRecord.refused(why), Provenance()
            pruner = self._pruner(model, settings.importance)
        if pruner is None:
            return PassRecord.refused("it has no convolution or linear layer"), Provenance()
        widths = pruner.widths()
        left = self._rounds(pruner, share * original, advance)
        after = pruner.widths()
        if left > share * original:
            declined = list(pruner.left_out(after))
            why = f"no channel can be removed: {_most_common(declined)}"
            if left < before:
                why = (
                    f"{share:g} of the {self._what} cannot be reached, only {left / original:.3f}, with at most "
                    f"{settings.max_ratio:g} of a layer removed in multiples of {pruner.rules.multiple}"
                )
            raise TargetUnreached(PassRecord.refused(why, declined), left / original)
        done: dict[str, Any] = {
            self._key: left / original,
            "way": "channels" if self._way == "buffers" else self._way,
            "ratio": pruner.ratio,
            "round_to": pruner.rules.multiple,
            "channels_before": sum(widths.values()),
            "channels_after": sum(after.values()),
            "layers": {name: [widths[name], after[name]] for name in widths if after[name] != widths[name]},
        }
        return PassRecord(done, tuple(pruner.left_out(after))), pruner.provenance

    def _pruner(self, model: nn.Module, importance: str) -> Pruner | None:
        """Return a pruner for the model, or None if no layer has channels."""
        settings, sample = self._settings, self._sample
        head = find_head(model, sample)
        if head is None:
            return None
        by_layers = self._way != "blocks" and settings.parameters is None
        self._multiple = self._multiple or multiple_of(model, head, self._context.target.channel_multiple)
        rules = PruningRules(
            head=head,
            importance=importance,
            scope=settings.scope,
            multiple=self._multiple,
            most=settings.max_ratio,
            count=count_by_layers(model, sample, self._count) if by_layers else self._count,
            keep=find_layers(model, settings.keep_layers),
        )
        if self._way != "blocks":
            return ChannelPruner(model, sample, rules)
        return BlockPruner(model, sample, rules, attention=settings.attention, embedding=settings.embedding)

    def _estimator(self, pruner: Pruner) -> Estimator | EliminationEstimator | None:
        """Return the estimator of a data-based importance, or None for the others."""
        settings, context = self._settings, self._context
        if settings.importance == "obs":
            whole_heads = settings.attention == "heads"
            return EliminationEstimator(context, settings.refit_samples, pruner.takers, whole_heads=whole_heads)
        if settings.importance in FROM_DATA:
            return Estimator(settings.importance, context, settings.batches, settings.pass_name)
        return None

    def _rounds(self, pruner: Pruner, wanted: float, advance: Callable[..., None]) -> int:
        """Prune by equal factors, with estimation before and recovery after each; return what remains."""
        settings, context = self._settings, self._context
        estimator = self._estimator(pruner)
        before = left = pruner.left()
        # norms inside blocks do not change unless training runs between the rounds
        again = (estimator or not pruner.separate) and settings.importance not in AT_ONCE
        steps = settings.steps if again or settings.recover_epochs else 1
        for step in range(1, steps + 1):
            if estimator is not None:
                with with_gradients(pruner.model):
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
    """Train in place with a penalty on the norm of each group, largest for the weakest: section 3.3 of DepGraph."""
    sample = context.sample(1)
    with limits(settings.time_limit_s):
        if way == "channels":
            penalty = group_penalty(model, sample, find_head(model, sample), settings.sparsify)
        else:
            penalty = block_penalty(model, sample, settings.sparsify)
    schedule = {"epochs": settings.sparsify_epochs, "optimizer": "sgd", "lr": SPARSIFY_LR, "keep": "last"}
    teach(model, context, Hooks(adjust=penalty), **schedule)
