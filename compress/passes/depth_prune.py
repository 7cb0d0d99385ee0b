"""Depth pruning: whole blocks whose absence is felt least are dropped."""

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
    """Drop blocks of a network, one after the other, until the multiply-adds fall to a target.

    A block is a part of a sequence that gives what it takes in shape: a residual block, an encoder layer of a
    transformer. In each round every block that is left is taken out for a trial, and the one goes without which the
    outputs on calibration samples change least (Kullback-Leibler divergence from those of the model as it came).
    Depth costs latency even where it costs few multiply-adds, so what is dropped here is felt on every device.

    Papers: Veit, Wilber and Belongie, "Residual Networks Behave Like Ensembles of Relatively Shallow Networks",
    NeurIPS 2016 (arXiv 1605.06431) for why it works; Men et al., "ShortGPT", 2024 (arXiv 2403.03853) for transformers.

    When not to use it: without training afterwards (put `distill` behind it), on networks without residual
    connections or with few blocks a stage (declined where too few are left to reach the target), or before a pass
    that would rather have the block narrow (`structured_prune` keeps accuracy better down to about half).

    Example:
        >>> DepthPrune(macs=0.6).samples
        128
    """

    name: ClassVar[str] = "depth_prune"
    version: ClassVar[int] = 2
    tags: ClassVar[PassTags] = PassTags(tried_on="blocks")

    macs: float = Field(default=0.75, gt=0, lt=1, description="Multiply-adds to be left, as a share of the original's.")
    samples: int = Field(
        default=128, ge=2, le=100_000, description="Calibration samples that a block's absence is judged on."
    )

    reconstruct: Reconstruct = RECONSTRUCT
    refit_samples: int = REFIT_SAMPLES

    @property
    def asked(self) -> Mapping[str, float]:
        """See :attr:`Pass.asked`."""
        return {"macs": self.macs}

    def apply(self, model: nn.Module, context: PassContext) -> tuple[nn.Module, PassRecord]:
        """See :meth:`Pass.apply`. A model that can't be brought to the target comes back unchanged, declined.

        Raises:
            UsageError: there are test samples only.
        """
        refit = samples_to_refit(self.reconstruct, self.refit_samples, context)
        return pruning.drop_blocks(model, context, macs=self.macs, samples=self.samples, refit_samples=refit)
