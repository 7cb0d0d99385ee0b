"""Operators rewritten in the form for which the runtime has fast kernels."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from compress import onnx_graph
from compress.core.context import PassContext
from compress.core.pass_protocol import OnnxPass, PassRecord, PassTags
from compress.core.targets import ChosenTarget, choose


class FastKernels(OnnxPass):
    """Avoid two slow CPU kernels of ONNX Runtime; the outputs change by rounding only.

    An Add before a LayerNormalization is written as Sum. Otherwise the runtime fuses the two, and the fused kernel adds
    one number at a time, while LayerNormalization alone is vectorised. Attention masks lower scores by at most 50;
    larger reductions leave Softmax as denormal numbers, which are slow on most processors.

    On an Intel Xeon with AVX512-VNNI (busy, so CPU time, one thread) MiniLM in int8 takes 5.67 of 7.78 ms with both and
    6.61 of 7.84 with sums alone; in floats 13.0 of 14.8 (`python tests/benchmarks/transformer_speed.py`). The gain from
    the masks depends on how many tokens are padding. A certified file has no static shapes, and without them the
    runtime leaves some additions unfused anyway.

    Fused attention was tried on the same machine and is not used. MultiHeadAttention took 5.86 ms where its parts
    took 5.59 (in floats 12.8 and 11.9), QAttention 6.66 where they took 6.03; on two blocks of ViT-B/16 in int8 23.3
    and 23.7 ms, which is within the noise.

    This is not compression: the referee rewrites the baseline the same way where that is faster
    (`certify.measure.faster_form`), so the gain does not improve the grade.

    Papers: none is needed; the kernels are `skip_layer_norm.cc` and MLAS's `compute.cpp` of ONNX Runtime.

    When not to use it: for other runtimes, which have fast kernels for both; the pass declines for those targets.

    Example:
        >>> FastKernels(target="cpu-vnni").config()
        {'target': 'cpu-vnni'}
    """

    name: ClassVar[str] = "fast_kernels"
    version: ClassVar[int] = 1
    tags: ClassVar[PassTags] = PassTags(tried_on="attention")

    target: ChosenTarget | None = Field(
        default=None, description="Processor or runtime that runs the model. Default: the job's."
    )

    def apply(self, model: Path, context: PassContext) -> tuple[Path, PassRecord]:
        """See :meth:`Pass.apply`.

        Raises:
            ModelError: the file is damaged, or ONNX Runtime cannot load the result.
        """
        target = context.target if self.target is None else choose(self.target)
        return onnx_graph.write_for_kernels(model, context, target)
