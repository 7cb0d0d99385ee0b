"""Zero channels that let depthwise convolutions use fast integer kernels."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from compress import onnx_graph
from compress.core.context import PassContext
from compress.core.pass_protocol import OnnxPass, PassRecord, PassTags


class PadChannels(OnnxPass):
    """Pad the channels of depthwise convolutions to a multiple of the vector width of the target's kernels.

    The new channels are zeros: the convolutions that produce them get zero rows and those that read them zero columns,
    so the outputs change only by the order of summation. A depthwise convolution over 120 channels costs ONNX Runtime's
    integer kernels about twice as much as one over 128. Where padding would add more than a quarter of the channels,
    they stay unchanged.

    Papers: none is needed; the kernels are those of ONNX Runtime's MLAS (convsym.cpp).

    When not to use it: on models that stay in floats, or for runtimes other than ONNX Runtime on x86, whose kernels
    have no such threshold; the pass declines there.

    Example:
        >>> PadChannels().config()
        {}
    """

    name: ClassVar[str] = "pad_channels"
    version: ClassVar[int] = 1
    tags: ClassVar[PassTags] = PassTags(tried_on="depthwise")

    def apply(self, model: Path, context: PassContext) -> tuple[Path, PassRecord]:
        """See :meth:`Pass.apply`.

        Raises:
            ModelError: the file is damaged.
        """
        if context.target.depthwise_multiple == 1:
            why = f"kernels of {context.target.name} take any number of channels, as far as is known"
            return model, PassRecord.refused(why)
        return onnx_graph.pad_depthwise(model, context.workspace, context.target.depthwise_multiple)
