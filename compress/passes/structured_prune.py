"""Structured pruning: channels, heads and widths are really removed, with everything that depends on them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, field_validator, model_validator

from compress import costs, pruning
from compress.core.context import PassContext
from compress.core.pass_protocol import PassRecord, PassTags
from compress.passes.cost_options import COSTS, OPTIONS, CostOptions
from compress.passes.distill import Distill
from compress.passes.reconstruct_options import RECONSTRUCT, REFIT_SAMPLES, Reconstruct, samples_to_refit
from compress.pruning.rules import Importance, Scope, known_importance

if TYPE_CHECKING:
    from torch import nn

    from compress.training.optimization import Hooks

Attention = Literal["heads", "head_dims", "none"]
TARGETS = ("macs", "parameters", *COSTS)
DEFAULT_MACS = 0.5


class StructuredPrune(CostOptions):
    """Remove channels, heads or widths, least important first, until a share of cost, multiply-adds or weights is left.

    Channels that depend on each other (through residual additions, concatenations, batch norms, grouped
    convolutions) form a group and go together; torch-pruning finds the groups from a trace of the model. Models with
    attention, and those on which that trace fails, are pruned inside of their blocks instead: the hidden width of
    MLPs, the channels between two convolutions, heads or the numbers inside of them, and on request the width between
    the blocks of a transformer. Both ways first prove that removing units gives what masking them gives. The share that
    each layer loses is raised in small steps to the target.

    With `energy` or `latency`, all widths and the blocks that are left out are chosen at once: by a knapsack of what
    each narrowing loses on validation data against what it saves, measured here in the form that ships (ZipLM, Kurtic
    et al. 2023, arXiv 2302.04089; HALP, Shen et al. 2022, arXiv 2110.10811). The share refers to the unpruned model in
    that form: integers where `quantize_static` or `qat` follows, else floats. A pruned model that is not cheaper is
    declined. `scope`, `steps`, `round_to` and training between rounds do not count then; two runs may differ.

    Where nothing is trained afterwards, the layers are refitted to the original's activations on unlabelled samples
    (`reconstruct`), layer by layer: GRAIL (arXiv 2602.23795), CORP (arXiv 2602.05243), OSSCAR (arXiv 2403.12983).
    Papers: Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023 (arXiv 2301.12900), with its sparse
    learning where `sparsify_epochs` asks for it; heads: Michel, Levy and Neubig 2019 (arXiv 1905.10650). Scope
    `isomorphic`: Fang et al. 2024 (arXiv 2407.04616). Importance: `magnitude` Li et al. 2017 (arXiv 1608.08710);
    `lamp` Lee et al. 2021 (arXiv 2010.07611); `fpgm` He et al. 2019 (arXiv 1811.00250); `bn_scale` Liu et al. 2017
    (arXiv 1708.06519); `taylor` Molchanov et al. 2019 (arXiv 1906.10771); `hessian` LeCun, Denker and Solla 1990 with
    the curvature of single channels as in OBD-C of Wang et al. 2019 (arXiv 1905.05934); `activation` Hu et al. 2016
    (arXiv 1607.03250); `obs` ZipLM (arXiv 2302.04089), without labels.

    When not to use it: below two thirds of the multiply-adds with no `distill` behind it, or for the file's size alone.

    Example:
        >>> StructuredPrune().macs, StructuredPrune(energy=0.8).macs
        (0.5, None)
    """

    name: ClassVar[str] = "structured_prune"
    version: ClassVar[int] = 4
    tags: ClassVar[PassTags] = PassTags(quick={"round_to": 4})

    macs: float | None = Field(
        default=None, gt=0, lt=1, description="Target multiply-adds as a fraction of the original's. Default: 0.5."
    )
    parameters: float | None = Field(
        default=None, gt=0, lt=1, description="Target parameters likewise, instead of macs."
    )
    attention: Attention = Field(
        default="heads", description="What to prune in attention: whole heads, head dimensions, or nothing."
    )
    embedding: bool = Field(
        default=False,
        description="Whether to prune a transformer's width between its blocks too, with its layer norms.",
    )
    importance: Importance | Annotated[str, AfterValidator(known_importance)] = Field(
        default="magnitude_l2",
        description="How the importance of a channel is judged; package.module:function names one of your own.",
    )
    scope: Scope = Field(
        default="local",
        description="Whether each layer gives the same share, all channels are ranked together, or those of one kind.",
    )
    steps: int = Field(default=4, ge=1, le=100, description="Rounds; importance from data is estimated again in each.")
    recover_epochs: int = Field(
        default=0, ge=0, le=10_000, description="Epochs of distillation from the original between two rounds."
    )
    sparsify_epochs: int = Field(
        default=0, ge=0, le=10_000,
        description="Epochs of training before, in which unimportant channels are pulled towards 0 as groups.",
    )  # fmt: skip
    sparsify: float = Field(default=1e-4, gt=0, le=1, description="How strongly they are pulled.")
    round_to: int | None = Field(
        default=None, ge=1, le=128,
        description="Channels of a layer are a multiple of this; by default what the target's kernels take at a "
        "time, but at most an eighth of the median layer's width.",
    )  # fmt: skip
    keep_layers: tuple[str, ...] = Field(
        default=(), description="Layers that are never pruned, as glob patterns (layer1.*.conv2)."
    )
    max_ratio: float = Field(
        default=0.9, gt=0, lt=1, description="Largest share of its channels that a layer may lose."
    )
    time_limit_s: float = Field(
        default=120.0, gt=0, le=3600, description="Seconds after which the tracing, or a round of pruning, is given up."
    )
    batches: int = Field(
        default=8, ge=1, le=1000,
        description="Batches of 64 that taylor, hessian and activation importance are estimated on.",
    )  # fmt: skip
    reconstruct: Reconstruct = RECONSTRUCT
    refit_samples: int = REFIT_SAMPLES

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

    @property
    def asked(self) -> Mapping[str, float]:
        """See :attr:`Pass.asked`."""
        return {name: share for name in TARGETS if (share := getattr(self, name)) is not None}

    def apply(self, model: nn.Module, context: PassContext) -> tuple[nn.Module, PassRecord]:
        """See :meth:`Pass.apply`. A model that can't be pruned to the target comes back unchanged, declined.

        Raises:
            UsageError: the importance rests on data, or there is training between the rounds, and samples or the
                original are missing; or no layer has a name that is to be kept.
            ModelError: the target is energy or latency, and the model or a block of it can't be exported.
            MeasureError: the target is energy or latency, and measuring failed.
        """
        wanted = samples_to_refit(self.reconstruct, self.refit_samples, context) > 0
        goal = self.cost_goal(refit=wanted, refit_samples=self.refit_samples)
        if goal is not None:
            return costs.narrow(self.settings(reconstruct=self.reconstruct is not False), goal, model, context)
        return pruning.prune(self.settings(reconstruct=wanted), model, context, _teach)

    def settings(self, *, reconstruct: bool = False) -> pruning.PruneSettings:
        """What the engine is asked for."""
        shared = {name: value for name, value in self if name not in (*OPTIONS, "attention", "reconstruct")}
        attention = None if self.attention == "none" else self.attention
        return pruning.PruneSettings(**shared, attention=attention, asked_by=self.name, reconstruct=reconstruct)


def _teach(model: nn.Module, context: PassContext, hooks: Hooks | None, **schedule: Any) -> None:
    """Train a model in place, with the original as its teacher."""
    Distill.model_validate(schedule).teach(model, context, hooks)
