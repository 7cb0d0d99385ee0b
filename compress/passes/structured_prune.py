"""Structured pruning: channels, heads and widths are really removed, with everything that depends on them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from compress.core.context import PassContext
from compress.core.model_stats import count_macs, count_parameters
from compress.core.pass_protocol import Declined, PassRecord, TorchPass
from compress.pruning.equivalence import TRACE_FAILURES, describe_error, why_broken, why_inexact
from compress.pruning.limits import LimitExceeded, enforceable, limits

if TYPE_CHECKING:
    import torch
    from torch import nn

    from compress.pruning.blocks import BlockPruner
    from compress.pruning.channels import ChannelPruner

    Pruner = ChannelPruner | BlockPruner

Importance = Literal[
    "magnitude_l1", "magnitude_l2", "lamp", "fpgm", "bn_scale", "taylor", "hessian", "activation", "random"
]
Scope = Literal["local", "global", "isomorphic"]
Attention = Literal["heads", "head_dims", "none"]
TARGETS = ("macs", "parameters", "latency")
DEFAULT_MACS = 0.5
SPARSIFY_LR = 0.01
"""Of sparse learning, by SGD: Adam would divide the pull by its own size."""

WAYS = {"channels": "torch-pruning", "blocks": "pruning inside of blocks"}
NO_LIMIT = "it can be enforced in the main thread of a POSIX system only"


class _NotThisWay(Exception):
    """A model can't be pruned the way that was tried."""


class StructuredPrune(TorchPass):
    """Remove channels, heads or widths, least important first, until multiply-adds, parameters or time meet a target.

    Channels that depend on each other (through residual additions, concatenations, batch norms, grouped
    convolutions) form a group and go together; torch-pruning finds the groups from a trace of the model. Models with
    attention, and those on which that trace fails, are pruned inside of their blocks instead: the hidden width of
    MLPs, the channels between two convolutions, heads or the numbers inside of them, and on request the width between
    the blocks of a transformer. Both ways first prove, on a sample, that removing units gives what masking them gives:
    groups inside of blocks one by one, those of a trace together. The share that each layer loses is raised in small
    steps to the first that meets the target, so that the model is never above it and hardly below.

    Latency is that of the exported file, one sample in ONNX Runtime on one core of this machine, timed in turn with
    the original; it is met when the whole 95 % interval of the median ratio is below the target, and what was measured
    is recorded. Two runs of it need not give the same model.

    Papers: Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023 (arXiv 2301.12900), with its sparse
    learning where `sparsify_epochs` asks for it; heads: Michel, Levy and Neubig 2019 (arXiv 1905.10650). Scope
    `isomorphic`: Fang et al. 2024 (arXiv 2407.04616). Importance: `magnitude` Li et al. 2017 (arXiv 1608.08710);
    `lamp` Lee et al. 2021 (arXiv 2010.07611); `fpgm` He et al. 2019 (arXiv 1811.00250); `bn_scale` Liu et al. 2017
    (arXiv 1708.06519); `taylor` Molchanov et al. 2019 (arXiv 1906.10771); `hessian` LeCun, Denker and Solla 1990 with
    the curvature of single channels as in OBD-C of Wang et al. 2019 (arXiv 1905.05934); `activation` Hu et al. 2016
    (arXiv 1607.03250).

    When not to use it: without training afterwards (put `distill` behind it; accuracy collapses without), or where
    only the file must be smaller (`quantize_static` alone costs less accuracy).
    """

    name: ClassVar[str] = "structured_prune"
    version: ClassVar[int] = 3

    macs: float | None = Field(
        None, gt=0, lt=1, description="Multiply-adds to be left, as a share of the original's; 0.5 if nothing is said."
    )
    parameters: float | None = Field(
        None, gt=0, lt=1, description="Parameters to be left, as a share of the original's; instead of macs."
    )
    latency: float | None = Field(
        None, gt=0, lt=1, description="Time to be left, as a share of the original's, measured here; instead of macs."
    )
    attention: Attention = Field("heads", description="What attention loses: whole heads, numbers inside of all, none.")
    embedding: bool = Field(
        False, description="Whether a transformer's width between its blocks is pruned too, with its layer norms."
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
    keep_layers: tuple[str, ...] = Field(
        (), description="Layers that keep all their outputs, by name; * stands for any part of one (layer1.*.conv2)."
    )
    max_ratio: float = Field(0.9, gt=0, lt=1, description="Largest share of its channels that a layer may lose.")
    time_limit_s: float = Field(
        120.0, gt=0, le=3600, description="Seconds after which the tracing, or a round of pruning, is given up."
    )
    batches: int = Field(
        8, ge=1, le=1000, description="Batches of 64 that taylor, hessian and activation importance are estimated on."
    )

    @field_validator("keep_layers", mode="before")
    @classmethod
    def _as_tuple(cls, given: Any) -> Any:
        return tuple(given) if isinstance(given, list) else given  # what a recipe holds is a list

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
                original are missing; or no layer has a name that is to be kept.
            ModelError: the target is a latency, and the model can't be exported.
        """
        if self.latency is not None:
            from compress.pruning.latency import prune_to_latency

            return prune_to_latency(self._with_macs, model, context, self.latency)
        from compress.pruning.heads import has_attention

        reasons: list[str] = []
        for way in ("blocks",) if has_attention(model) else ("channels", "blocks"):
            try:
                pruned, record = self._by(way, model, context)
            except _NotThisWay as error:
                reasons.append(str(error))
                continue
            across = [Declined("channels across blocks", why) for why in reasons]
            no_limit = [] if enforceable() else [Declined("time limit", NO_LIMIT)]
            return pruned, PassRecord(record.done, (*record.declined, *across, *no_limit))
        return copy.deepcopy(model).cpu().eval(), PassRecord.refused("; ".join(reasons))

    def _by(self, way: str, model: nn.Module, context: PassContext) -> tuple[nn.Module, PassRecord]:
        """Prune a copy one way, or give an unchanged one with the reason why the target can't be reached.

        Raises:
            _NotThisWay: the architecture does not allow it, or takes too long.
        """
        import torch

        pruned = copy.deepcopy(model).cpu().eval()
        with torch.random.fork_rng(devices=[]), context.progress.task("Pruning") as bar:
            torch.manual_seed(context.seed)
            try:
                if way == "channels" and (why := self._why_inexact(model, context)):
                    raise _NotThisWay(why)
                record = self._prune(way, pruned, context, bar.advance)
            except LimitExceeded as error:
                raise _NotThisWay(f"{WAYS[way]} {error}") from error
            except TRACE_FAILURES as error:
                raise _NotThisWay(
                    f"{WAYS[way]} could not work through this architecture ({describe_error(error)})"
                ) from error
        if not record.changed:
            return copy.deepcopy(model).cpu().eval(), record
        if why := why_broken(pruned, model, context.sample(2)):
            raise _NotThisWay(why)
        return pruned, record

    def _why_inexact(self, model: nn.Module, context: PassContext) -> str:
        """Why the groups that a trace finds are not to be trusted, or an empty string."""
        trial = self.model_copy(update={"importance": "magnitude_l2"})
        sample = context.sample(1)
        _, share, count = self._target(sample)

        def cut(copied: nn.Module) -> None:
            if (pruner := trial._pruner("channels", copied, sample, context, count)) is not None:
                pruner.prune_to(int(share * pruner.left()))

        with limits(self.time_limit_s):
            return why_inexact(model, cut, context.sample(2))

    def _with_macs(self, share: float, *, trial: bool) -> StructuredPrune:
        """The same pass with a target in multiply-adds; without any training where it is for a trial."""
        plain = {"steps": 1, "recover_epochs": 0, "sparsify_epochs": 0} if trial else {}
        return self.model_copy(update={"macs": share, "latency": None, **plain})

    def _target(self, sample: torch.Tensor) -> tuple[str, float, Callable[[nn.Module], int]]:
        """What is to fall, to which share of the original's, and what counts it."""
        if self.parameters is not None:
            return "parameters", self.parameters, count_parameters

        def macs(model: nn.Module) -> int:
            return count_macs(model, sample.to(next(model.parameters()).device))

        return "multiply-adds", self.macs or DEFAULT_MACS, macs

    def _prune(self, way: str, model: nn.Module, context: PassContext, advance: Callable[..., None]) -> PassRecord:
        sample = context.sample(1)
        what, share, count = self._target(sample)
        if self.sparsify_epochs:
            self._sparsify(way, model, sample, context)
        with limits(self.time_limit_s):
            original, before = count(context.teacher or model), count(model)
            if before <= share * original:
                return PassRecord.refused(f"it has {before / original:.3f} of the original's {what} already")
            pruner = self._pruner(way, model, sample, context, count)
        if pruner is None:
            return PassRecord.refused("it has no convolution or linear layer")
        widths = pruner.widths()
        left = self._rounds(pruner, context, share * original, advance)
        if left > share * original:
            return PassRecord.refused(
                f"{share:g} of the {what} can't be reached, only {left / original:.3f}, with at most "
                f"{self.max_ratio:g} of a layer removed in multiples of {pruner.rules.multiple}",
                pruner.left_out(pruner.widths()),
            )
        after = pruner.widths()
        done = {
            f"{'parameters' if self.parameters else 'macs'}_share": left / original,
            "way": way,
            "ratio": pruner.ratio,
            "round_to": pruner.rules.multiple,
            "channels_before": sum(widths.values()),
            "channels_after": sum(after.values()),
            "layers": {name: [widths[name], after[name]] for name in widths if after[name] != widths[name]},
        }
        return PassRecord(done, tuple(pruner.left_out(after)))

    def _pruner(
        self, way: str, model: nn.Module, sample: torch.Tensor, context: PassContext, count: Callable[[nn.Module], int]
    ) -> Pruner | None:
        """What removes channels of the model; None where it has no layer that has any."""
        from compress.pruning.blocks import BlockPruner
        from compress.pruning.channels import ChannelPruner, count_by_layers, find_head, find_layers, multiple_of
        from compress.pruning.rules import PruningRules

        head = find_head(model, sample)
        if head is None:
            return None
        rules = PruningRules(
            head=head,
            importance=self.importance,
            scope=self.scope,
            multiple=self.round_to or multiple_of(model, head, context.target.channel_multiple),
            most=self.max_ratio,
            count=count_by_layers(model, sample, count) if way == "channels" and self.parameters is None else count,
            keep=find_layers(model, self.keep_layers),
        )
        if way == "channels":
            return ChannelPruner(model, sample, rules)
        attention = None if self.attention == "none" else self.attention
        return BlockPruner(model, sample, rules, attention=attention, embedding=self.embedding)

    def _rounds(self, pruner: Pruner, context: PassContext, wanted: float, advance: Callable[..., None]) -> int:
        """Prune in equal factors, with estimation before and recovery after each; what is left of the counted."""
        from compress.pruning.importance import FROM_DATA, Estimator

        from_data = self.importance in FROM_DATA
        estimator = Estimator(self.importance, context, self.batches, self.name) if from_data else None
        before = left = pruner.left()
        # the norms of what lies inside of blocks do not change while nothing is learnt between the rounds
        steps = self.steps if estimator or self.recover_epochs or not pruner.separate else 1
        for step in range(1, steps + 1):
            if estimator is not None:
                estimator.estimate(pruner.model)
            with limits(self.time_limit_s):
                left = pruner.prune_to(int((wanted / before) ** (step / steps) * before))
            if estimator is not None:
                estimator.clear(pruner.model)
            advance(1 / steps, f"{left / before:.2f} left")
            if self.recover_epochs and step < steps:
                self._recover(pruner.model, context)
        return left

    def _sparsify(self, way: str, model: nn.Module, sample: torch.Tensor, context: PassContext) -> None:
        """Sparse learning of DepGraph, section 3.3: a penalty on the norm of each group, most on the weakest."""
        from compress.passes.distill import Distill
        from compress.pruning.blocks import block_penalty
        from compress.pruning.channels import find_head, group_penalty
        from compress.training.optimization import Hooks

        with limits(self.time_limit_s):
            if way == "channels":
                penalty = group_penalty(model, sample, find_head(model, sample), self.sparsify)
            else:
                penalty = block_penalty(model, sample, self.sparsify)
        config = {"epochs": self.sparsify_epochs, "optimizer": "sgd", "lr": SPARSIFY_LR, "keep": "last"}
        Distill.model_validate(config).teach(model, context, Hooks(adjust=penalty))

    def _recover(self, model: nn.Module, context: PassContext) -> None:
        from compress.passes.distill import Distill

        Distill.model_validate({"epochs": self.recover_epochs}).teach(model, context)
