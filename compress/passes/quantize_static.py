"""Static quantization of an ONNX file to 8-bit integers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from compress import costs
from compress.core.context import PassContext
from compress.core.pass_protocol import OnnxPass, PassRecord, PassTags
from compress.passes.cost_options import COSTS, OPTIONS, CostTarget
from compress.quantization import post_training
from compress.quantization.integer_pass import IntegerPass
from compress.quantization.post_training.ranges import Calibration


class QuantizeStatic(CostTarget, IntegerPass, OnnxPass):
    """Store weights and activations as 8-bit integers, with ranges computed on calibration samples.

    Every quantized operator is placed between QuantizeLinear and DequantizeLinear (QDQ), which the runtime fuses into
    integer kernels; weights have one scale per output channel. In convolutional networks residual additions and pooling
    are quantized too, so that no value between two convolutions returns to float. In networks with LayerNorm or
    attention only operators with weights are quantized; LayerNorm, Softmax, GELU and the products of attention stay
    float, except those of queries and keys for OpenVINO if the loss allows it. The integer types follow the target:
    where the processor accumulates products in 16 bits (AVX2 without VNNI), weights use 7 bits, and the values that
    would saturate are simulated and recorded.

    Before rounding, outliers after a LayerNorm are moved into the weights (SmoothQuant), single outlier channels that
    other products read are multiplied apart, and neighbouring layers can be equalised; afterwards biases are corrected
    for the mean error of the rounded weights. If validation data shows a loss above the budget, or the outputs no
    longer distinguish samples, neighbouring layers are equalised if that helps, and the layers with the largest loss
    return to float, as few as necessary; if that is not enough, the pass declines.

    With `energy` or `latency`, a knapsack chooses which blocks stay float: it weighs the loss of each rounded block on
    validation data against the extra cost of the block in floats, measured here (HAWQ-V3, Yao et al. 2021, arXiv
    2011.10680). A block is a run of layers between values that are on all paths. Blocks of matrix products may get int4
    weights where these cost less than int8. The share is relative to the float file, and the budget still applies.
    Without a target, formats are those that an earlier `structured_prune` chose together with its widths, if it did.

    Papers: Jacob et al., "Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
    Inference", CVPR 2018 (arXiv 1712.05877); Krishnamoorthi 2018 (arXiv 1806.08342) for scales by channel;
    Migacz 2017 ("8-bit Inference with TensorRT") for entropy calibration; Nagel et al. 2019 (arXiv 1906.04721) for
    equalisation and bias correction; Xiao et al. 2022 (arXiv 2211.10438) for SmoothQuant; Dettmers et al. 2022 (arXiv
    2208.07339) for outlier channels; Pandey et al. 2023 (arXiv 2302.05397) for the order of the layers.

    When not to use it: for runtimes without integer kernels, where the file is smaller but not faster; on language
    models whose inputs vary so much that the ranges of a few samples mislead (try `quantize_dynamic`); with calibration
    samples that are not representative of the data.

    Example:
        >>> QuantizeStatic(calibration="mse", keep_first=True).per_channel
        True
    """

    name: ClassVar[str] = "quantize_static"
    version: ClassVar[int] = 10
    tags: ClassVar[PassTags] = PassTags(quick={"samples": 16})

    calibration: Calibration = Field(
        default="minmax", description="How the range of an activation is computed from the samples."
    )
    batch: int | None = Field(
        default=None, ge=1, le=1024,
        description="Calibration samples per run of the model. Default: as many as fit into memory, at most 16.",
    )  # fmt: skip
    equalize: bool | None = Field(
        default=None,
        description="Whether neighbouring layers without a ReLU6 between them are equalised. Default: where "
        "per_channel is off, or the loss is too large otherwise.",
    )
    smooth: float = Field(
        default=0.5, ge=0, lt=1,
        description="SmoothQuant migration strength alpha (0 disables). Where a residual addition also reads the "
        "LayerNorm's output, the scale is applied by an inserted multiplication.",
    )  # fmt: skip
    outliers: int = Field(
        default=2, ge=0, le=16,
        description="Most channels of a matrix product's input that are multiplied apart, in floats, where the range "
        "of the others then halves (0 disables). Outputs of LayerNorms are smoothed instead.",
    )  # fmt: skip
    correct_bias: bool = Field(default=True, description="Whether biases compensate the mean error of rounded weights.")
    max_loss: float | None = Field(
        default=None, ge=0, le=100,
        description="Relative loss of validation accuracy, in %, above which layers stay float. Default: the budget.",
    )  # fmt: skip
    max_float: float = Field(
        default=0.5, ge=0, le=1, description="Largest share of layers that may stay float to keep the loss low."
    )
    max_time: float | None = Field(
        default=None, gt=0,
        description="Maximum time in the target's runtime, measured here, as a fraction of the float file's; "
        "above it the pass declines. Default: 1 for openvino; not measured for others.",
    )  # fmt: skip
    keep_nodes: tuple[str, ...] = Field(default=(), description="Names of additional ONNX nodes that stay float.")

    @property
    def goals(self) -> Mapping[str, float]:
        """See :attr:`Pass.goals`."""
        shares: Mapping[str, float] = {name: each for name in COSTS if (each := getattr(self, name)) is not None}
        return shares or super().goals

    def apply(self, model: Path, context: PassContext) -> tuple[Path, PassRecord]:
        """See :meth:`Pass.apply`.

        Raises:
            UsageError: ``keep_nodes`` names a node that does not exist, or there are no calibration samples.
            ModelError: ONNX Runtime cannot prepare, quantize, run or load the file.
            MeasureError: the target is energy or latency, and a measurement failed.
        """
        elsewhere = {*OPTIONS, "target", "activation_type", "reduce_range"}
        shared = {name: value for name, value in self if name not in elsewhere}
        target = self.target_for(context.target)
        settings = post_training.StaticSettings(pass_name=self.name, target=target, **shared)
        goal = self.cost_goal(target.runtime)
        if goal is not None and not target.runtime:
            return model, PassRecord.refused(f"costs for {target.name} cannot be measured: no adapter runs its files")
        chooser = None if goal is None else costs.format_choice(goal, self, context)
        return post_training.quantize_static(settings, model, context, chooser)
