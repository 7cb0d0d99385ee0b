"""Depth pruning: drop the whole blocks that contribute least."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from compress import pruning
from compress.core.context import PassContext
from compress.core.pass_protocol import PassRecord, PassTags, TorchPass
from compress.passes.reconstruct_options import RECONSTRUCT, REFIT_SAMPLES, Reconstruct, samples_to_refit

if TYPE_CHECKING:
    from torch import nn


class DepthPrune(TorchPass):
    """Drop blocks of a network one at a time until the multiply-adds reach a target.

    A block is a part of a sequence whose output has the shape of its input: a residual block, or an encoder layer of a
    transformer. Each round tries the network without every remaining block and drops the one whose absence changes the
    outputs on calibration samples least (Kullback-Leibler divergence from the outputs of the input model). Depth costs
    latency even where it costs few multiply-adds, so dropping blocks helps on every device.

    Papers: Veit, Wilber and Belongie, "Residual Networks Behave Like Ensembles of Relatively Shallow Networks",
    NeurIPS 2016 (arXiv 1605.06431) for why it works; Men et al., "ShortGPT", 2024 (arXiv 2403.03853) for transformers.

    When not to use it: without training afterwards (follow it with `distill`), on networks without residual
    connections or with few blocks per stage (declined where too few remain to reach the target), or where narrowing
    the blocks is enough (`structured_prune` preserves accuracy better down to about half of the multiply-adds).

    Example:
        >>> DepthPrune(macs=0.6).samples
        128
    """

    name: ClassVar[str] = "depth_prune"
    version: ClassVar[int] = 4
    tags: ClassVar[PassTags] = PassTags(tried_on="blocks")

    macs: float = Field(default=0.75, gt=0, lt=1, description="Target MACs as a fraction of the original's.")
    samples: int = Field(
        default=128, ge=2, le=100_000, description="Calibration samples for judging the absence of a block."
    )

    reconstruct: Reconstruct = RECONSTRUCT
    refit_samples: int = REFIT_SAMPLES

    @property
    def goals(self) -> Mapping[str, float]:
        """See :attr:`Pass.goals`."""
        return {"macs": self.macs}

    def apply(self, model: nn.Module, context: PassContext) -> tuple[nn.Module, PassRecord]:
        """See :meth:`Pass.apply`. A model that cannot reach the target is returned unchanged, declined.

        Raises:
            UsageError: the data has only test samples.
        """
        refit = samples_to_refit(self.reconstruct, self.refit_samples, context)
        return pruning.drop_blocks(model, context, macs=self.macs, samples=self.samples, refit_samples=refit)
