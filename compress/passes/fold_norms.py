"""Folding of batch norms, so that no layer mixes samples."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from compress import private as engines
from compress.core.context import PassContext
from compress.core.pass_protocol import Declined, PassRecord, PassTags, TorchPass

if TYPE_CHECKING:
    from torch import nn

SAMPLES = 16


class FoldNorms(TorchPass):
    """Fold batch norms into the preceding layers, so that no layer mixes samples in the training that follows.

    A norm is folded into the weights of the layer before it if nothing else reads that layer; any other becomes a scale
    and a shift per channel. The network stays the same: its outputs on random samples agree to 1e-4 of the largest, or
    the pass fails. Replacing batch norms by group norms would give another network, which must be trained again.

    Papers: none for the folding; Jacob et al. 2018 (arXiv 1712.05877, section 3.2) describe it for quantization.

    When not to use it: before training without differential privacy, which benefits from batch norms. The ONNX export
    folds norms by itself.

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
        # Use noise instead of samples, so that only the private training reads private records.
        without_norms, folded, left, error = engines.fold_exactly(model, context.preprocess.noise(SAMPLES))
        declined = tuple(Declined(name, why) for name, why in left.items())
        if not folded:
            return without_norms, PassRecord.refused("it has no batch norm that can be folded", declined)
        return without_norms, PassRecord({"folded": len(folded), "norms": folded, "output_error": error}, declined)
