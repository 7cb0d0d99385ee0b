"""Cropping of kernel taps that only meet padding, and removal of means over one value."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from compress import onnx_graph
from compress.core.context import PassContext
from compress.core.pass_protocol import OnnxPass, PassRecord, PassTags


class TrimKernels(OnnxPass):
    """Crop convolution kernels to the taps that meet real values, where the feature map is smaller than the kernel.

    A network designed for 224 x 224 pixels and run on 32 x 32 ends in feature maps of one value, where eight of the
    nine taps of a 3 x 3 convolution multiply padding. The outputs change only by the order of summation. Integer
    kernels, which multiply padding like anything else, become faster; float kernels, which skip it, become smaller. A
    mean over a map of one value is removed.

    Papers: none needed; the arithmetic is that of Dumoulin and Visin, "A guide to convolution arithmetic for deep
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
