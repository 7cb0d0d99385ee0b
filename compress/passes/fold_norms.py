"""Batch norms folded away, so that no layer mixes samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import torch

from certify.core.errors import ModelError
from compress.core.context import PassContext
from compress.core.pass_protocol import Declined, PassRecord, PassTags, TorchPass
from compress.core.samples import as_tensor
from compress.private.norms import fold

if TYPE_CHECKING:
    from torch import nn

SAMPLES = 16
TOLERANCE = 1e-4


class FoldNorms(TorchPass):
    """Fold batch norms into the layers before them, so that no layer mixes samples in the training that follows.

    A norm whose layer before is read by nothing else goes into that layer's weights; any other becomes a scale and a
    shift for each channel. The network stays the same: its outputs on made-up samples agree to 1e-4 of the largest, or
    the pass fails. Group norms in the place of batch norms are another network, which must be trained again.

    Papers: none for the folding; Jacob et al. 2018 (arXiv 1712.05877, section 3.2) describe it for quantization.

    When not to use it: where a training without privacy follows, which batch norms help. The ONNX export folds norms
    by itself.

    Example:
        >>> FoldNorms().name
        'fold_norms'
    """

    name: ClassVar[str] = "fold_norms"
    version: ClassVar[int] = 1
    tags: ClassVar[PassTags] = PassTags()

    def apply(self, model: nn.Module, context: PassContext) -> tuple[nn.Module, PassRecord]:
        """See :meth:`Pass.apply`.

        Raises:
            ModelError: the outputs differ.
        """
        made, folded, left = fold(model)
        declined = tuple(Declined(name, why) for name, why in left.items())
        if not folded:
            return made, PassRecord.refused("it has no batch norm that can be folded", declined)
        samples = as_tensor(context.preprocess.noise(SAMPLES))
        with torch.no_grad():
            before, after = model.eval()(samples), made(samples)
        error = float((after - before).abs().max() / before.abs().max().clamp_min(1e-12))
        if not error <= TOLERANCE:
            raise ModelError(f"With its norms folded the model's outputs differ by {error:.2g} of the largest.")
        return made, PassRecord({"folded": len(folded), "norms": folded, "output_error": error}, declined)
