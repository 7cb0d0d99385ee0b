"""Operators written in the form for which the runtime has its fast kernels."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from compress import onnx_graph
from compress.core.context import PassContext
from compress.core.pass_protocol import OnnxPass, PassRecord, PassTags
from compress.core.targets import TargetName, choose


class FastKernels(OnnxPass):
    """Keep ONNX Runtime off two slow kernels on the CPU; the outputs stay what they were but for rounding.

    An Add before a LayerNormalization is written as Sum. The runtime fuses the two otherwise, and the fused kernel adds
    one number after the other, where LayerNormalization alone works on vectors. Masks of attention lower scores by 50
    and no more. What lies lower comes out of Softmax as a denormal number, with which processors compute slowly.

    On an Intel Xeon with AVX512-VNNI (busy, so CPU time, one thread) MiniLM in int8 takes 5.67 of 7.78 ms with both and
    6.61 of 7.84 with sums alone; in floats 13.0 of 14.8 (`python tests/benchmarks/transformer_speed.py`). How much the
    masks bring depends on how many tokens are padding. A certified file states no shapes, without which the runtime
    does not fuse some additions by itself.

    Fused attention was tried on the same machine and is not written. MultiHeadAttention took 5.86 ms where its parts
    took 5.59 (in floats 12.8 and 11.9), QAttention 6.66 where they took 6.03; on two blocks of ViT-B/16 in int8 23.3
    and 23.7 ms, which the noise covers.

    This is no compression: the referee rewrites the baseline the same way where that takes less time
    (`certify.measure.faster_form`), so that the gain earns no letter.

    Papers: none is needed; the kernels are `skip_layer_norm.cc` and MLAS's `compute.cpp` of ONNX Runtime.

    When not to use it: for other runtimes, which have fast kernels for both; the pass declines for their targets.

    Example:
        >>> FastKernels(target="cpu-vnni").config()
        {'target': 'cpu-vnni'}
    """

    name: ClassVar[str] = "fast_kernels"
    version: ClassVar[int] = 1
    tags: ClassVar[PassTags] = PassTags(tried_on="attention")

    target: TargetName | None = Field(
        default=None, description="Processor or runtime that runs the model; by default the one of this machine."
    )

    def apply(self, model: Path, context: PassContext) -> tuple[Path, PassRecord]:
        """See :meth:`Pass.apply`.

        Raises:
            ModelError: the file is damaged, or ONNX Runtime can't load what comes out.
        """
        target = context.target if self.target is None else choose(self.target)
        return onnx_graph.write_for_kernels(model, context, target)
