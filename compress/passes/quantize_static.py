"""Static quantization of an ONNX file to 8-bit integers."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from compress.core.context import PassContext
from compress.core.pass_protocol import OnnxPass, PassRecord, PassTags
from compress.quantization import post_training
from compress.quantization.integer_pass import IntegerPass
from compress.quantization.post_training.ranges import Calibration


class QuantizeStatic(IntegerPass, OnnxPass):
    """Store weights and activations as 8-bit integers, with ranges found on calibration samples.

    Every quantized operator stands between QuantizeLinear and DequantizeLinear (QDQ), which the runtime fuses into
    integer kernels; weights have a scale of their own for each output channel. In convolutional networks residual
    additions and pooling are quantized too, so that nothing between two convolutions goes back to float; in networks
    with LayerNorm or attention only operators with weights are, and LayerNorm, Softmax, GELU and the products of
    attention stay float. The integer types follow the target: where the processor adds products into 16 bits (AVX2
    without VNNI), weights are held to 7 bits, and what would be clipped is simulated and recorded.

    Before rounding, outliers behind a LayerNorm are moved into the weights (SmoothQuant) and neighbouring layers can
    be equalised; after it, biases take back the mean error of the rounded weights. Where validation data shows a loss
    above the budget, or the outputs no longer tell samples apart, neighbouring layers are equalised if that helps, and
    the layers that cost most go back to float, as few as will do; if that is not enough, the pass declines.

    Papers: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference", CVPR 2018 (arXiv 1712.05877); Krishnamoorthi 2018 (arXiv 1806.08342) for scales by channel;
    Migacz 2017 ("8-bit Inference with TensorRT") for entropy calibration; Nagel et al. 2019 (arXiv 1906.04721) for
    equalisation and bias correction; Xiao et al. 2022 (arXiv 2211.10438) for SmoothQuant; Pandey et al. 2023
    (arXiv 2302.05397) for the order of the layers.

    When not to use it: for runtimes without integer kernels, where the file shrinks and nothing gets faster; on
    language models whose inputs vary so much that ranges of a few samples mislead (try `quantize_dynamic`); with
    calibration samples that do not look like the data.

    Example:
        >>> QuantizeStatic(calibration="mse", keep_first=True).per_channel
        True
    """

    name: ClassVar[str] = "quantize_static"
    version: ClassVar[int] = 4
    tags: ClassVar[PassTags] = PassTags(quick={"samples": 16})

    calibration: Calibration = Field(
        default="minmax", description="How the range of an activation follows from the samples."
    )
    batch: int | None = Field(
        default=None, ge=1, le=1024,
        description="Calibration samples in one run of the model; by default as many as fit into memory, up to 16.",
    )  # fmt: skip
    equalize: bool | None = Field(
        default=None,
        description="Whether neighbouring layers without a ReLU6 between them are equalised; by default where "
        "per_channel is off, or the loss is too large otherwise.",
    )
    smooth: float = Field(
        default=0.5, ge=0, lt=1,
        description="SmoothQuant migration strength alpha (0 disables). Where a residual addition also reads the "
        "LayerNorm's output, the scale is applied by an inserted multiplication.",
    )  # fmt: skip
    correct_bias: bool = Field(default=True, description="Whether biases take back the mean error of rounded weights.")
    max_loss: float | None = Field(
        default=None, ge=0, le=100,
        description="Relative loss of validation accuracy, in %, above which layers stay float; by default the budget.",
    )  # fmt: skip
    max_float: float = Field(
        default=0.5, ge=0, le=1, description="Largest share of the layers that may stay float for that."
    )
    max_time: float | None = Field(
        default=None, gt=0,
        description="Share of the float file's time in the target's runtime, measured on this machine, above which the "
        "pass declines; by default 1 for openvino, and nothing is measured for others.",
    )  # fmt: skip
    keep_nodes: tuple[str, ...] = Field(
        default=(), description="Names of further nodes of the ONNX graph that stay float."
    )

    def apply(self, model: Path, context: PassContext) -> tuple[Path, PassRecord]:
        """See :meth:`Pass.apply`.

        Raises:
            UsageError: ``keep_nodes`` names a node that does not exist, or there are no calibration samples.
            ModelError: ONNX Runtime can't prepare, quantize, run or load the file.
        """
        shared = {name: value for name, value in self if name not in ("target", "activation_type", "reduce_range")}
        settings = post_training.StaticSettings(asked_by=self.name, target=self.target_for(context.target), **shared)
        return post_training.quantize_static(settings, model, context)
