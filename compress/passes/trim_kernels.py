"""Cutting off the parts of convolution kernels that only ever meet padding, and means of one value."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from compress import onnx_graph
from compress.core.context import PassContext
from compress.core.pass_protocol import OnnxPass, PassRecord, PassTags


class TrimKernels(OnnxPass):
    """Cut off the kernel taps that never meet a real value, because the feature map is smaller than the kernel.

    A network made for 224 x 224 pixels and run on 32 x 32 ends in feature maps of one value, where eight of the nine
    taps of a 3 x 3 convolution multiply padding. The outputs stay what they were, bit for bit but for the order of
    sums. Integer kernels, which multiply padding like anything else, gain time; float kernels that skip it gain size.
    A mean over such a map, which is its one value, is taken out.

    Papers: none is needed; the arithmetic is that of Dumoulin and Visin, "A guide to convolution arithmetic for deep
    learning", 2016 (arXiv 1603.07285).

    When not to use it: never harmful, but it fixes the input size.

    Example:
        >>> TrimKernels().config()
        {}
    """

    name: ClassVar[str] = "trim_kernels"
    version: ClassVar[int] = 1
    tags: ClassVar[PassTags] = PassTags(tried_on="idle_taps")

    def apply(self, model: Path, context: PassContext) -> tuple[Path, PassRecord]:
        """See :meth:`Pass.apply`.

        Raises:
            ModelError: the file is damaged.
        """
        return onnx_graph.crop_kernels(model, context.workspace)
