"""Low-rank factors: replace a layer by two or three thinner ones with nearly the same product."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from compress import pruning
from compress.core.context import PassContext
from compress.core.pass_protocol import PassRecord, PassTags, TorchPass
from compress.passes.reconstruct_options import RECONSTRUCT, REFIT_SAMPLES, Reconstruct, samples_to_refit

if TYPE_CHECKING:
    from torch import nn


class LowRank(TorchPass):
    """Replace linear layers and convolutions by low-rank factors where that takes fewer multiply-adds.

    A linear layer or a 1 x 1 convolution becomes two layers by a truncated singular value decomposition. A larger
    convolution becomes three by a Tucker decomposition of its two channel dimensions: 1 x 1 down, the kernel between
    the two ranks, 1 x 1 up. Each rank is the smallest that keeps the requested share of the energy (the sum of the
    squared singular values). A layer whose factors would not be cheaper stays unchanged.

    Papers: Denton et al. 2014 (arXiv 1404.0736) for the SVD; Kim et al., "Compression of Deep Convolutional Neural
    Networks for Fast and Low Power Mobile Applications", ICLR 2016 (arXiv 1511.06530) for Tucker-2.

    When not to use it: on depthwise or grouped convolutions (skipped), on networks that are narrow already (their
    weights have hardly any small singular values), or where latency counts more than multiply-adds: two thin layers
    need more memory traffic than one. Follow it with `distill` or `finetune`.

    Example:
        >>> LowRank(energy=0.8).least_saving
        0.1
    """

    name: ClassVar[str] = "low_rank"
    version: ClassVar[int] = 4
    tags: ClassVar[PassTags] = PassTags(quick={"energy": 0.5})

    energy: float = Field(
        default=0.9, gt=0, lt=1, description="Share of the squared singular values that each factor keeps."
    )
    least_saving: float = Field(
        default=0.1,
        ge=0,
        lt=1,
        description="Smallest saving, as a share of a layer's multiply-adds, for which the layer is replaced.",
    )

    reconstruct: Reconstruct = RECONSTRUCT
    refit_samples: int = REFIT_SAMPLES

    def apply(self, model: nn.Module, context: PassContext) -> tuple[nn.Module, PassRecord]:
        """See :meth:`Pass.apply`. A model in which no layer becomes cheaper is returned unchanged, declined.

        Raises:
            UsageError: the data has only test samples.
        """
        refit = samples_to_refit(self.reconstruct, self.refit_samples, context)
        saving = self.least_saving
        return pruning.factorize(model, context, energy=self.energy, least_saving=saving, refit_samples=refit)
