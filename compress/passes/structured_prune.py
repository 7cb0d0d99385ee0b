"""Structured pruning: remove channels, heads and widths physically, together with everything that depends on them."""

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
    """Remove channels, heads or widths, least important first, down to a share of cost, multiply-adds or parameters.

    Channels that depend on each other (through residual additions, concatenations, batch norms, grouped convolutions)
    form a group and are removed together; torch-pruning finds the groups from a trace of the model. Models with
    attention, and models that cannot be traced, are pruned inside their blocks instead: the hidden width of MLPs, the
    channels between two convolutions, heads or head dimensions, and optionally the width between the blocks of a
    transformer. Both ways first verify that removing units gives the same result as masking them. The pruning ratio of
    each layer is raised in small steps until the target is reached.

    With `energy` or `latency`, a knapsack chooses all widths, the blocks to drop and, if `quantize_static` follows, the
    formats (int8, float, int4 weights). It weighs the loss of each variant on validation data against its saving,
    measured here in the precision that ships (ZipLM, Kurtic et al. 2023, arXiv 2302.04089; HALP, Shen et al. 2022,
    arXiv 2110.10811). The share is relative to the unpruned model in that precision: integers where `quantize_static`
    or `qat` follows, otherwise floats. `scope`, `steps`, `round_to` and training between rounds then have no effect,
    and two runs may differ. A job that measures declines a pruned model that costs more, whatever the target.

    If no training follows, the layers are refitted to the original's activations on unlabelled samples
    (`reconstruct`), layer by layer: GRAIL (arXiv 2602.23795), CORP (arXiv 2602.05243), OSSCAR (arXiv 2403.12983).
    Papers: Fang et al., "DepGraph: Towards Any Structural Pruning", CVPR 2023 (arXiv 2301.12900), including its sparse
    learning (`sparsify_epochs`); heads: Michel, Levy and Neubig 2019 (arXiv 1905.10650). Scope
    `isomorphic`: Fang et al. 2024 (arXiv 2407.04616). Importance: `magnitude` Li et al. 2017 (arXiv 1608.08710);
    `lamp` Lee et al. 2021 (arXiv 2010.07611); `fpgm` FPGM, CVPR 2019 (arXiv 1811.00250); `bn_scale` Liu et al. 2017
    (arXiv 1708.06519); `taylor` Molchanov et al. 2019 (arXiv 1906.10771); `hessian` LeCun, Denker and Solla 1990 with
    the curvature of single channels as in OBD-C of Wang et al. 2019 (arXiv 1905.05934); `activation` Hu et al. 2016
    (arXiv 1607.03250); `obs` ZipLM (arXiv 2302.04089), without labels.

    When not to use it: below two thirds of the multiply-adds without `distill` after it, or only for the file's size.

    Example:
        >>> StructuredPrune().macs, StructuredPrune(energy=0.8).macs
        (0.5, None)
    """

    name: ClassVar[str] = "structured_prune"
    version: ClassVar[int] = 10
    tags: ClassVar[PassTags] = PassTags(quick={"round_to": 4}, measures=True)

    macs: float | None = Field(
        default=None, gt=0, lt=1, description="Target MACs as a fraction of the original's. Default: 0.5."
    )
    parameters: float | None = Field(
        default=None, gt=0, lt=1, description="Target number of parameters likewise. Replaces macs."
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
        description="How the importance of a channel is estimated; package.module:function names your own.",
    )
    scope: Scope = Field(
        default="local",
        description="Rank channels within each layer (one ratio), among all, or among layers of a kind.",
    )
    steps: int = Field(default=4, ge=1, le=100, description="Rounds; data-based importance is recomputed in each.")
    recover_epochs: int = Field(
        default=0, ge=0, le=10_000, description="Epochs of distillation from the original between rounds."
    )
    sparsify_epochs: int = Field(
        default=0, ge=0, le=10_000,
        description="Epochs of training before pruning, in which groups of unimportant channels are pulled towards 0.",
    )  # fmt: skip
    sparsify: float = Field(default=1e-4, gt=0, le=1, description="Strength of that pull.")
    round_to: int | None = Field(
        default=None, ge=1, le=128,
        description="Round the channels of a layer to a multiple of this. Default: the vector width of the target's "
        "kernels, at most an eighth of the median layer's width.",
    )  # fmt: skip
    keep_layers: tuple[str, ...] = Field(
        default=(), description="Layers that are never pruned, as glob patterns (layer1.*.conv2)."
    )
    max_ratio: float = Field(default=0.9, gt=0, lt=1, description="Largest share of channels that a layer may lose.")
    time_limit_s: float = Field(
        default=120.0, gt=0, le=3600, description="Time limit of the tracing, and of each round, in seconds."
    )
    batches: int = Field(
        default=8, ge=1, le=1000,
        description="Batches of 64 for estimating taylor, hessian and activation importance.",
    )  # fmt: skip
    reconstruct: Reconstruct = RECONSTRUCT
    refit_samples: int = REFIT_SAMPLES

    @field_validator("keep_layers", mode="before")
    @classmethod
    def _as_tuple(cls, value: Any) -> Any:
        return tuple(value) if isinstance(value, list) else value  # recipes hold lists

    @model_validator(mode="before")
    @classmethod
    def _one_target(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        named = [name for name in TARGETS if values.get(name) is not None]
        if len(named) > 1:
            raise ValueError(f"{' and '.join(named)} are both given; choose one target")
        return values if named else {**values, "macs": DEFAULT_MACS}

    @property
    def goals(self) -> Mapping[str, float]:
        """See :attr:`Pass.goals`."""
        return {name: share for name in TARGETS if (share := getattr(self, name)) is not None}

    def apply(self, model: nn.Module, context: PassContext) -> tuple[nn.Module, PassRecord]:
        """See :meth:`Pass.apply`. A model that cannot reach the target is returned unchanged, declined.

        Raises:
            UsageError: samples or the original are missing although the importance needs data or training runs between
                the rounds; or no layer matches ``keep_layers``.
            ModelError: the target is energy or latency, and the model or one of its blocks cannot be exported.
            MeasureError: the target is energy or latency, and a measurement failed.
        """
        wanted = samples_to_refit(self.reconstruct, self.refit_samples, context) > 0
        refit_samples = self.refit_samples if wanted else 0
        if (goal := self.cost_goal(precision=self.precision, refit_samples=refit_samples)) is not None:
            return costs.narrow(self.settings(reconstruct=self.reconstruct is not False), goal, model, context)
        pruned, record = pruning.prune(self.settings(reconstruct=wanted), model, context, _teach)
        return costs.unless_costlier(model, pruned, record, context) if record.changed else (pruned, record)

    def settings(self, *, reconstruct: bool = False) -> pruning.PruneSettings:
        """Return the settings of the pruning engine."""
        shared = {name: value for name, value in self if name not in (*OPTIONS, "attention", "reconstruct")}
        attention = None if self.attention == "none" else self.attention
        return pruning.PruneSettings(**shared, attention=attention, pass_name=self.name, reconstruct=reconstruct)


def _teach(model: nn.Module, context: PassContext, hooks: Hooks | None, **schedule: Any) -> None:
    """Train a model in place with the original as its teacher."""
    Distill.model_validate(schedule).teach(model, context, hooks)
