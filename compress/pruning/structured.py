"""Structured pruning of a model down to a share of its multiply-adds or parameters."""

from __future__ import annotations

from torch import nn

from compress.core.context import PassContext
from compress.core.foreign_code import eval_copy
from compress.core.pass_protocol import Declined, PassRecord
from compress.pruning.attempt import Attempt, PruningImpossible, TargetUnreached, Teach
from compress.pruning.heads import has_attention
from compress.pruning.limits import enforceable
from compress.pruning.rules import PruneSettings
from compress.pruning.tracing import has_plain_buffers

NO_LIMIT = "it can only be enforced in the main thread of a POSIX system"


def prune(
    settings: PruneSettings, model: nn.Module, context: PassContext, teach: Teach
) -> tuple[nn.Module, PassRecord]:
    """Prune a copy of a model to its target; return it unchanged, declined, if that is impossible.

    Args:
        settings: settings of the pass.
        model: model to prune; not modified.
        context: context of the pass; the shares refer to its teacher, if it has one.
        teach: trains a model in place, between the rounds and for sparse learning.

    Raises:
        UsageError: samples or the original are missing, or no layer matches ``keep_layers``.
    """
    failed: list[PruningImpossible] = []
    for way in _ways(settings, model):
        try:
            pruned, record = Attempt(settings, way, context, teach).prune(model)
        except PruningImpossible as error:
            failed.append(error)
            continue
        no_limit = [] if enforceable() else [Declined("time limit", NO_LIMIT)]
        return pruned, PassRecord(record.done, (*record.declined, *_across(failed), *no_limit))
    unreached = [error for error in failed if isinstance(error, TargetUnreached)]
    if not unreached:
        return eval_copy(model), PassRecord.refused("; ".join(str(error) for error in failed))
    nearest = min(unreached, key=lambda error: error.left)
    others = _across([error for error in failed if error is not nearest])
    return eval_copy(model), PassRecord({}, (*nearest.record.declined, *others))


def _ways(settings: PruneSettings, model: nn.Module) -> tuple[str, ...]:
    # Reshapes into heads break the trace, or make it run forever.
    if has_attention(model):
        return ("blocks",)
    # Buffers as parameters would be trained.
    untrained = not settings.sparsify_epochs and not settings.recover_epochs
    return ("channels", "buffers", "blocks") if untrained and has_plain_buffers(model) else ("channels", "blocks")


def _across(failed: list[PruningImpossible]) -> list[Declined]:
    return [Declined("channels across blocks", why) for why in dict.fromkeys(str(error) for error in failed)]
