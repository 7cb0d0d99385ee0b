"""Structured pruning: channels are really removed, together with everything that depends on them."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from compress.facts import count_macs
from compress.passes.base import Declined, PassContext, PassRecord, TorchPass
from compress.passes.time_limit import TimeLimitExceeded, time_limit

if TYPE_CHECKING:
    import torch
    from torch import nn

Importance = Literal["magnitude_l1", "magnitude_l2", "bn_scale", "taylor", "random"]

TRACE_FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What torch-pruning raises on an architecture that its tracing does not understand."""


class StructuredPrune(TorchPass):
    """Remove whole channels, least important first, until the multiply-adds fall to a target.

    Channels that depend on each other (through residual additions, concatenations, batch norms, grouped
    convolutions) form a group and go together; torch-pruning finds the groups from a trace of the model. The pass
    raises the share of channels that each layer loses, in whole percents, and stops at the first group that brings
    the multiply-adds to the target, so that they are never above it and hardly below.

    Papers: Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023 (arXiv 2301.12900). Importance:
    Li et al. 2017 (arXiv 1608.08710) for magnitude, Liu et al. 2017 (arXiv 1708.06519) for batch norm scales,
    Molchanov et al. 2019 (arXiv 1906.10771) for first-order Taylor.

    When not to use it: without training afterwards (put `distill` behind it; accuracy collapses without), on
    models whose attention heads or windows the trace does not understand (declined, with the reason), or where
    only the file must be smaller (`quantize_static` alone costs less accuracy).
    """

    name: ClassVar[str] = "structured_prune"
    version: ClassVar[int] = 1

    macs: float = Field(0.5, gt=0, lt=1, description="Multiply-adds to be left, as a share of the original's.")
    importance: Importance = Field("magnitude_l2", description="How the importance of a channel is judged.")
    scope: Literal["local", "global"] = Field(
        "local", description="Whether each layer gives the same share of its channels, or all are ranked together."
    )
    steps: int = Field(4, ge=1, le=100, description="Rounds; Taylor importance is estimated anew in each.")
    round_to: int | None = Field(
        None,
        ge=1,
        le=128,
        description="Channels of a layer are a multiple of this; by default what the target's kernels take at a "
        "time, but at most an eighth of the median layer's width.",
    )
    max_ratio: float = Field(0.9, gt=0, lt=1, description="Largest share of its channels that a layer may lose.")
    time_limit_s: float = Field(
        120.0, gt=0, le=3600, description="Seconds after which tracing and pruning are given up."
    )
    batches: int = Field(8, ge=1, le=1000, description="Batches of 64 that Taylor importance is estimated on.")

    def apply(self, model: nn.Module, context: PassContext) -> tuple[nn.Module, PassRecord]:
        """See :meth:`Pass.apply`. A model that can't be pruned to the target comes back unchanged, declined."""
        import torch

        sample = context.sample(1)
        pruned = copy.deepcopy(model).cpu().eval()
        with torch.random.fork_rng(devices=[]), context.progress.task("Pruning") as bar:
            torch.manual_seed(context.seed)
            try:
                with time_limit(self.time_limit_s) as limit:
                    record = self._prune(pruned, sample, context, bar.advance)
            except TimeLimitExceeded:
                return self._unchanged(model, f"tracing and pruning took longer than {self.time_limit_s:g} s")
            except TRACE_FAILURES as error:
                return self._unchanged(
                    model, f"torch-pruning could not work through this architecture ({_named(error)})"
                )
        if not record.changed:
            return self._unchanged(model, record.declined[0].why)
        if why := _broken(pruned, model, context):
            return self._unchanged(model, why)
        if not limit.enforced:
            no_limit = Declined("time limit", "it can be enforced in the main thread of a POSIX system only")
            record = PassRecord(record.done, (*record.declined, no_limit))
        return pruned, record

    def _unchanged(self, model: nn.Module, why: str) -> tuple[nn.Module, PassRecord]:
        return copy.deepcopy(model).cpu().eval(), PassRecord.refused(why)

    def _prune(
        self, model: nn.Module, sample: torch.Tensor, context: PassContext, advance: Callable[..., None]
    ) -> PassRecord:
        from compress.passes.channels import ChannelPruner, find_head

        original = count_macs(context.teacher or model, sample)
        before = count_macs(model, sample)
        if before <= self.macs * original:
            return PassRecord.refused(f"it has {before / original:.3f} of the original's multiply-adds already")
        head = find_head(model, sample)
        if head is None:
            return PassRecord.refused("it has no convolution or linear layer")
        multiple = self.round_to or _multiple(model, head, context.target.channel_multiple)
        pruner = ChannelPruner(
            model, sample, head, importance=self.importance, scope=self.scope, multiple=multiple, most=self.max_ratio
        )
        widths = pruner.widths()
        left = before
        for step in range(1, self.steps + 1):
            if self.importance == "taylor":
                self._accumulate_gradients(model, context)
            wanted = (self.macs * original / before) ** (step / self.steps) * before
            left = pruner.prune_to(int(wanted))
            advance(1 / self.steps, f"{left / original:.2f} of the multiply-adds")
        model.zero_grad(set_to_none=True)
        if left > self.macs * original:
            return PassRecord.refused(
                f"{self.macs:g} of the multiply-adds can't be reached, only {left / original:.3f}, with at most "
                f"{self.max_ratio:g} of a layer removed in multiples of {multiple}"
            )
        after = pruner.widths()
        done = {
            "macs_share": left / original,
            "ratio": pruner.ratio,
            "round_to": multiple,
            "channels_before": sum(widths.values()),
            "channels_after": sum(after.values()),
            "layers": {name: [widths[name], after[name]] for name in widths if after[name] != widths[name]},
        }
        return PassRecord(done, tuple(pruner.left_out(after)))

    def _accumulate_gradients(self, model: nn.Module, context: PassContext) -> None:
        """Gradients of the cross-entropy over some train batches, summed into the parameters."""
        import torch
        from torch.nn import functional

        train = context.data.part("train", f"{self.name} with taylor importance")
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(context.seed)).tolist()
        columns = None if context.data.class_map is None else list(context.data.class_map)
        model.zero_grad(set_to_none=True)
        for begin in range(0, min(len(order), self.batches * 64), 64):
            chosen = order[begin : begin + 64]
            logits = model(torch.from_numpy(context.preprocess.batch(train, chosen)))
            labels = torch.from_numpy(train.labels[chosen])
            functional.cross_entropy(logits if columns is None else logits[:, columns], labels).backward()


def _multiple(model: nn.Module, head: nn.Module, most: int) -> int:
    """Largest power of two that is at most ``most`` and at most an eighth of the median width."""
    from torch import nn

    widths = [m.weight.shape[0] for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear) and m is not head]
    wanted = min(most, statistics.median(widths) / 8) if widths else 1
    return 1 << max(0, int(wanted).bit_length() - 1)


def _broken(pruned: nn.Module, original: nn.Module, context: PassContext) -> str:
    """Why the pruned model can't be used, or an empty string: it must run in both modes and keep its outputs."""
    import torch

    sample = context.sample(2)
    training = copy.deepcopy(pruned).train()
    try:
        with torch.no_grad():
            outputs = pruned(sample)
            training(sample)
            wanted = copy.deepcopy(original).cpu().eval()(sample).shape
    except TRACE_FAILURES as error:
        return f"its forward pass fails once channels are removed ({_named(error)})"
    if outputs.shape != wanted:
        return f"its output changes its shape from {tuple(wanted)} to {tuple(outputs.shape)} once channels are removed"
    if not bool(torch.isfinite(outputs).all()):
        return "its outputs are not finite once channels are removed"
    return ""


def _named(error: Exception) -> str:
    """Type and message of an error in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
