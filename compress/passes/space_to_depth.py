"""Space-to-depth layout of the first convolution, with which integer kernels gather fewer and longer pieces."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from compress import onnx_graph
from compress.core.context import PassContext
from compress.core.pass_protocol import OnnxPass, PassRecord


class SpaceToDepth(OnnxPass):
    """Turn the first convolution, of stride s, into one of stride 1 over s * s times the channels.

    Each block of s x s pixels becomes one pixel with the channels of all of them, and the weights are rearranged, with
    zeros where the kernel does not fill its last block. The outputs change only by the order of summation. A 7 x 7
    kernel over 3 channels becomes a 4 x 4 kernel over 12: a third more multiply-adds, which integer kernels compute in
    less time, because they copy 16 pieces per output instead of 49.

    Papers: Ying et al., "Image Classification at Supercomputer Scale", 2018 (arXiv 1811.06992).

    When not to use it: on models that stay in floats, whose kernels read images directly and would become slower. A
    first convolution for which an earlier pass chose floats stays as it is.

    Example:
        >>> SpaceToDepth().config()
        {}
    """

    name: ClassVar[str] = "space_to_depth"
    version: ClassVar[int] = 2

    def apply(self, model: Path, context: PassContext) -> tuple[Path, PassRecord]:
        """See :meth:`Pass.apply`.

        Raises:
            ModelError: the file is damaged.
        """
        return onnx_graph.first_layers_by_blocks(model, context.workspace, context.earlier)
