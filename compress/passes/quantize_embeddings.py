"""Integer embedding tables."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field

from compress.core.context import PassContext
from compress.core.pass_protocol import OnnxPass, PassRecord, PassTags
from compress.core.targets import ChosenTarget, choose
from compress.quantization import post_training


class QuantizeEmbeddings(OnnxPass):
    """Store embedding tables as 8-bit integers with a scale per row, or as 4-bit integers in blocks.

    Rows are looked up as integers and only then converted to floats, so the table takes a quarter (8 bits) or less
    than a sixth (4 bits in blocks of 32) of the bytes, on disk and in memory. 8 bits use standard operators that every
    runtime supports; 4 bits need ONNX Runtime's GatherBlockQuantized and a target that supports it.

    Papers: Guan et al., "Post-Training 4-bit Quantization on Embedding Tables", 2019 (arXiv 1911.02079), for scales by
    row; Badri and Shaji, "Half-Quadratic Quantization of Large Machine Learning Models", 2023, for those of 4 bits.

    When not to use it: before passes that read the table as floats; on models without large tables, where it
    declines. It makes a model smaller, not faster.

    Example:
        >>> QuantizeEmbeddings(bits=4).block
        32
    """

    name: ClassVar[str] = "quantize_embeddings"
    version: ClassVar[int] = 1
    tags: ClassVar[PassTags] = PassTags(tried_on="attention", quick={"smallest": 1})

    target: ChosenTarget | None = Field(
        default=None, description="Processor or runtime that runs the model. Default: the job's."
    )
    bits: Literal[4, 8] = Field(default=8, description="Bits per element.")
    block: Literal[16, 32, 64, 128] = Field(default=32, description="Elements that share a scale, for 4 bits.")
    smallest: int = Field(default=65_536, ge=1, description="Tables with fewer elements stay float.")

    def apply(self, model: Path, context: PassContext) -> tuple[Path, PassRecord]:
        """See :meth:`Pass.apply`.

        Raises:
            ModelError: the file is damaged, or ONNX Runtime cannot load the result.
        """
        target = context.target if self.target is None else choose(self.target)
        settings = post_training.EmbeddingSettings(target, self.bits, self.block, self.smallest)
        return post_training.quantize_embeddings(settings, model, context)
