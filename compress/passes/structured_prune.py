"""Structured pruning: channels are really removed, together with everything that depends on them."""

from __future__ import annotations

import copy
import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from compress.facts import count_macs, count_parameters
from compress.passes.base import Declined, PassContext, PassRecord, TorchPass
from compress.passes.time_limit import TimeLimitExceeded, enforceable, time_limit

if TYPE_CHECKING:
    import torch
    from torch import nn

    from compress.passes.channels import ChannelPruner

Importance = Literal[
    "magnitude_l1", "magnitude_l2", "lamp", "fpgm", "bn_scale", "taylor", "hessian", "activation", "random"
]
Scope = Literal["local", "global", "isomorphic"]
TARGETS = ("macs", "parameters")
DEFAULT_MACS = 0.5
SPARSIFY_LR = 0.01
"""Of sparse learning, by SGD: Adam would divide the pull by its own size."""

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
    """Remove whole channels, least important first, until the multiply-adds or the parameters fall to a target.

    Channels that depend on each other (through residual additions, concatenations, batch norms, grouped
    convolutions) form a group and go together; torch-pruning finds the groups from a trace of the model. The pass
    raises the share of channels that each layer loses, in whole percents, and stops at the first group that brings
    the model to the target, so that it is never above it and hardly below.

    Papers: Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023 (arXiv 2301.12900), with its sparse
    learning where `sparsify_epochs` asks for it. Scope
    `isomorphic`: Fang et al. 2024 (arXiv 2407.04616). Importance: `magnitude` Li et al. 2017 (arXiv 1608.08710);
    `lamp` Lee et al. 2021 (arXiv 2010.07611); `fpgm` He et al. 2019 (arXiv 1811.00250); `bn_scale` Liu et al. 2017
    (arXiv 1708.06519); `taylor` Molchanov et al. 2019 (arXiv 1906.10771); `hessian` LeCun, Denker and Solla 1990 with
    the curvature of single channels as in OBD-C of Wang et al. 2019 (arXiv 1905.05934); `activation` Hu et al. 2016
    (arXiv 1607.03250).

    When not to use it: without training afterwards (put `distill` behind it; accuracy collapses without), on
    models whose attention heads or windows the trace does not understand (declined, with the reason), or where
    only the file must be smaller (`quantize_static` alone costs less accuracy).
    """

    name: ClassVar[str] = "structured_prune"
    version: ClassVar[int] = 2

    macs: float | None = Field(
        None, gt=0, lt=1, description="Multiply-adds to be left, as a share of the original's; 0.5 if nothing is said."
    )
    parameters: float | None = Field(
        None, gt=0, lt=1, description="Parameters to be left, as a share of the original's; instead of macs."
    )
    importance: Importance = Field("magnitude_l2", description="How the importance of a channel is judged.")
    scope: Scope = Field(
        "local",
        description="Whether each layer gives the same share of its channels, all are ranked together, or those of "
        "layers of one kind are.",
    )
    steps: int = Field(4, ge=1, le=100, description="Rounds; importance from data is estimated anew in each.")
    recover_epochs: int = Field(
        0, ge=0, le=10_000, description="Epochs of distillation from the original between two rounds."
    )
    sparsify_epochs: int = Field(
        0,
        ge=0,
        le=10_000,
        description="Epochs of training before, in which unimportant channels are pulled towards 0 as groups.",
    )
    sparsify: float = Field(1e-4, gt=0, le=1, description="How strongly they are pulled.")
    round_to: int | None = Field(
        None,
        ge=1,
        le=128,
        description="Channels of a layer are a multiple of this; by default what the target's kernels take at a "
        "time, but at most an eighth of the median layer's width.",
    )
    max_ratio: float = Field(0.9, gt=0, lt=1, description="Largest share of its channels that a layer may lose.")
    time_limit_s: float = Field(
        120.0, gt=0, le=3600, description="Seconds after which the tracing, or a round of pruning, is given up."
    )
    batches: int = Field(
        8, ge=1, le=1000, description="Batches of 64 that taylor, hessian and activation importance are estimated on."
    )

    @model_validator(mode="before")
    @classmethod
    def _one_target(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        named = [name for name in TARGETS if given.get(name) is not None]
        if len(named) > 1:
            raise ValueError(f"{' and '.join(named)} are both given; name one target")
        return given if named else {**given, "macs": DEFAULT_MACS}

    def apply(self, model: nn.Module, context: PassContext) -> tuple[nn.Module, PassRecord]:
        """See :meth:`Pass.apply`. A model that can't be pruned to the target comes back unchanged, declined.

        Raises:
            UsageError: the importance rests on data, or there is training between the rounds, and samples or the
                original are missing.
        """
        import torch

        pruned = copy.deepcopy(model).cpu().eval()
        with torch.random.fork_rng(devices=[]), context.progress.task("Pruning") as bar:
            torch.manual_seed(context.seed)
            try:
                record = self._prune(pruned, context, bar.advance)
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
        if not enforceable():
            no_limit = Declined("time limit", "it can be enforced in the main thread of a POSIX system only")
            record = PassRecord(record.done, (*record.declined, no_limit))
        return pruned, record

    def _unchanged(self, model: nn.Module, why: str) -> tuple[nn.Module, PassRecord]:
        return copy.deepcopy(model).cpu().eval(), PassRecord.refused(why)

    def _target(self, sample: torch.Tensor) -> tuple[str, float, Callable[[nn.Module], int]]:
        """What is to fall, to which share of the original's, and what counts it."""
        if self.parameters is not None:
            return "parameters", self.parameters, count_parameters
        return "multiply-adds", self.macs or DEFAULT_MACS, lambda model: count_macs(model, sample)

    def _prune(self, model: nn.Module, context: PassContext, advance: Callable[..., None]) -> PassRecord:
        sample = context.sample(1)
        what, share, count = self._target(sample)
        if self.sparsify_epochs:
            self._sparsify(model, sample, context)
        with time_limit(self.time_limit_s):
            original, before = count(context.teacher or model), count(model)
            if before <= share * original:
                return PassRecord.refused(f"it has {before / original:.3f} of the original's {what} already")
            pruner = self._pruner(model, sample, context, count)
        if pruner is None:
            return PassRecord.refused("it has no convolution or linear layer")
        widths = pruner.widths()
        left = self._rounds(pruner, context, share * original, advance)
        if left > share * original:
            return PassRecord.refused(
                f"{share:g} of the {what} can't be reached, only {left / original:.3f}, with at most "
                f"{self.max_ratio:g} of a layer removed in multiples of {pruner.multiple}"
            )
        after = pruner.widths()
        done = {
            f"{'parameters' if self.parameters else 'macs'}_share": left / original,
            "ratio": pruner.ratio,
            "round_to": pruner.multiple,
            "channels_before": sum(widths.values()),
            "channels_after": sum(after.values()),
            "layers": {name: [widths[name], after[name]] for name in widths if after[name] != widths[name]},
        }
        return PassRecord(done, tuple(pruner.left_out(after)))

    def _pruner(
        self, model: nn.Module, sample: torch.Tensor, context: PassContext, count: Callable[[nn.Module], int]
    ) -> ChannelPruner | None:
        """What removes channels of the model; None where it has no layer that has any."""
        from compress.passes.channels import ChannelPruner, find_head

        head = find_head(model, sample)
        if head is None:
            return None
        return ChannelPruner(
            model,
            sample,
            head,
            importance=self.importance,
            scope=self.scope,
            multiple=self.round_to or _multiple(model, head, context.target.channel_multiple),
            most=self.max_ratio,
            count=count,
        )

    def _rounds(self, pruner: ChannelPruner, context: PassContext, wanted: float, advance: Callable[..., None]) -> int:
        """Prune in equal factors, with estimation before and recovery after each; what is left of the counted."""
        from compress.passes.importance import FROM_DATA, Estimator

        from_data = self.importance in FROM_DATA
        estimator = Estimator(self.importance, context, self.batches, self.name) if from_data else None
        before = left = pruner.left()
        for step in range(1, self.steps + 1):
            if estimator is not None:
                estimator.estimate(pruner.model)
            with time_limit(self.time_limit_s):
                left = pruner.prune_to(int((wanted / before) ** (step / self.steps) * before))
            if estimator is not None:
                estimator.clear(pruner.model)
            advance(1 / self.steps, f"{left / before:.2f} left")
            if self.recover_epochs and step < self.steps:
                self._recover(pruner.model, context)
        return left

    def _sparsify(self, model: nn.Module, sample: torch.Tensor, context: PassContext) -> None:
        """Sparse learning of DepGraph, section 3.3: a penalty on the norm of each group, most on the weakest."""
        from compress.optimization import Hooks
        from compress.passes.channels import find_head, group_penalty
        from compress.passes.distill import Distill

        with time_limit(self.time_limit_s):
            pull = group_penalty(model, sample, find_head(model, sample), self.sparsify)
        config = {"epochs": self.sparsify_epochs, "optimizer": "sgd", "lr": SPARSIFY_LR, "keep": "last"}
        Distill.model_validate(config).teach(model, context, Hooks(adjust=pull))

    def _recover(self, model: nn.Module, context: PassContext) -> None:
        from compress.passes.distill import Distill

        Distill.model_validate({"epochs": self.recover_epochs}).teach(model, context)


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
