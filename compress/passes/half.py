"""Weights and activations as 16-bit floats."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from compress.core.context import PassContext
from compress.core.pass_protocol import OnnxPass, PassRecord, PassTags
from compress.quantization import post_training


class Half(OnnxPass):
    """Store and compute in 16-bit floats; the model's inputs and outputs keep their types.

    The ranges of all values are first measured on calibration samples: an operator that reads or returns a value beyond
    65,504 would overflow in fp16 and stays in 32 bits. bf16 has the range of 32-bit floats and less precision.

    Papers: Micikevicius et al., "Mixed Precision Training", ICLR 2018 (arXiv 1710.03740), for fp16; Kalamkar et al.
    2019 (arXiv 1905.12322) for bf16.

    When not to use it: on CPUs, where ONNX Runtime has few kernels for fp16 and converts back and forth (the file is
    half as large but not faster), and none for bf16 (the pass then declines); on GPUs where `quantize_static` does not
    lose accuracy.

    Example:
        >>> Half(kind="bf16").margin
        2.0
    """

    name: ClassVar[str] = "half"
    version: ClassVar[int] = 1
    tags: ClassVar[PassTags] = PassTags(quick={"samples": 16})

    kind: Literal["fp16", "bf16"] = Field(default="fp16", description="Which 16-bit floats.")
    samples: int = Field(default=64, ge=1, le=100_000, description="Calibration samples for the ranges of values.")
    batch: int = Field(default=16, ge=1, le=1024, description="Calibration samples per run of the model.")
    margin: float = Field(default=2.0, ge=1, le=1000, description="Safety factor on the largest value seen.")
    keep_nodes: tuple[str, ...] = Field(default=(), description="Names of ONNX nodes that stay in 32 bits.")

    @property
    def goals(self) -> Mapping[str, float]:
        """See :attr:`Pass.goals`."""
        # An estimate for the plan: nodes that would overflow stay in 32 bits.
        return {"bytes": 16 / 32}

    def apply(self, model: Path, context: PassContext) -> tuple[Path, PassRecord]:
        """See :meth:`Pass.apply`.

        Raises:
            UsageError: ``keep_nodes`` names a node that does not exist, or there are no calibration samples.
            ModelError: ONNX Runtime cannot prepare, convert or run the file, or a value is not finite.
        """
        return post_training.to_float16(model, context, pass_name=self.name, **dict(self))
