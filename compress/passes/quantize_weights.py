"""Blockwise 4-bit or 8-bit weights for matrix products."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from compress.core.context import PassContext
from compress.core.pass_protocol import OnnxPass, PassRecord, PassTags
from compress.quantization import post_training
from compress.quantization.post_training.blockwise import RoundingMethod


class QuantizeWeights(OnnxPass):
    """Store the weights of matrix products in blocks of 4 or 8 bits (MatMulNBits); activations stay float.

    Each block of neighbouring inputs has its own scale and zero point. `gptq` rounds one input at a time and lets the
    remaining ones compensate the error, weighted by the inputs seen on calibration samples. Without samples, `rtn`
    rounds to nearest, and `hqq` fits the scales so that most weights come closer while a few may stay far off.

    Papers: Frantar et al., "GPTQ: Accurate Post-Training Quantization for Generative Pre-trained Transformers", ICLR
    2023 (arXiv 2210.17323); Badri and Shaji, "Half-Quadratic Quantization of Large Machine Learning Models", 2023;
    Dettmers and Zettlemoyer 2023 (arXiv 2212.09720) for 4 bits in small blocks.

    When not to use it: on convolutional networks, whose convolutions stay unchanged; where arithmetic takes the time
    rather than reading weights (large batches, small models), since the weights are unpacked in every run:
    `quantize_static` and `quantize_dynamic` are then much faster.

    Example:
        >>> QuantizeWeights(bits=8, rounding="hqq").block
        32
    """

    name: ClassVar[str] = "quantize_weights"
    version: ClassVar[int] = 1
    tags: ClassVar[PassTags] = PassTags(quick={"block": 16})

    bits: Literal[4, 8] = Field(default=4, description="Bits per weight.")
    block: Literal[16, 32, 64, 128, 256] = Field(default=32, description="Inputs that share a scale.")
    rounding: RoundingMethod = Field(default="gptq", description="How weights are rounded.")
    symmetric: bool = Field(default=False, description="Whether the zero point is the middle of the code range.")
    int8_activations: bool = Field(
        default=False,
        description="Whether the runtime may round activations to 8 bits in blocks, which is faster.",
    )
    samples: int = Field(default=128, ge=1, le=100_000, description="Calibration samples for gptq.")
    batch: int | None = Field(
        default=None, ge=1, le=1024,
        description="Calibration samples per run of the model. Default: as many as fit into memory, at most 16.",
    )  # fmt: skip
    keep_nodes: tuple[str, ...] = Field(default=(), description="Names of ONNX nodes that stay float.")

    @property
    def goals(self) -> Mapping[str, float]:
        """See :attr:`Pass.goals`."""
        # An estimate for the plan: scales and zero points, and layers left in floats, come on top.
        return {"bytes": self.bits / 32}

    def apply(self, model: Path, context: PassContext) -> tuple[Path, PassRecord]:
        """See :meth:`Pass.apply`.

        Raises:
            UsageError: ``keep_nodes`` names a node that does not exist, or gptq has no calibration samples.
            ModelError: ONNX Runtime cannot prepare, run or load the file.
        """
        settings = post_training.WeightSettings(pass_name=self.name, **dict(self))
        return post_training.quantize_weights(settings, model, context)
