"""Dynamic quantization of matrix products: integer weights, activation ranges computed at run time."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from compress.core.context import PassContext
from compress.core.pass_protocol import OnnxPass, PassRecord, PassTags
from compress.quantization import post_training


class QuantizeDynamic(OnnxPass):
    """Store the weights of matrix products as 8-bit integers, and round activations at run time.

    It needs no calibration samples, and no range can be wrong. Convolutions stay float: ONNX Runtime's dynamic kernel
    is slower than the float one, since nothing is fused with it. A model whose multiply-adds are mostly in convolutions
    is therefore declined.

    Papers: Zafrir et al., "Q8BERT: Quantized 8Bit BERT", 2019 (arXiv 1910.06188), for 8-bit matrix products in
    transformers; Jacob et al., CVPR 2018 (arXiv 1712.05877), for the arithmetic.

    When not to use it: on convolutional networks, and for runtimes without these kernels (such as TensorRT). With
    calibration samples, `quantize_static` also rounds a transformer's convolutions and can smooth outliers.

    Example:
        >>> QuantizeDynamic(least_share=0.3).stage
        'onnx'
    """

    name: ClassVar[str] = "quantize_dynamic"
    version: ClassVar[int] = 1
    tags: ClassVar[PassTags] = PassTags(quick={"least_share": 0})

    least_share: float = Field(
        default=0.5, ge=0, le=1, description="Share of multiply-adds in matrix products below which the pass declines."
    )
    per_channel: bool = Field(default=True, description="Whether each output channel of a weight has its own scale.")
    reduce_range: bool | None = Field(
        default=None, description="Whether weights use only 7 bits. Default: where the target saturates."
    )
    keep_nodes: tuple[str, ...] = Field(default=(), description="Names of ONNX nodes that stay float.")

    def apply(self, model: Path, context: PassContext) -> tuple[Path, PassRecord]:
        """See :meth:`Pass.apply`.

        Raises:
            UsageError: ``keep_nodes`` names a node that does not exist.
            ModelError: ONNX Runtime cannot prepare, quantize or load the file.
        """
        reduce_range = context.target.reduce_range if self.reduce_range is None else self.reduce_range
        return post_training.quantize_dynamic(model, context, **{**dict(self), "reduce_range": reduce_range})
