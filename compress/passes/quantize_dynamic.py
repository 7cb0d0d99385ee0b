"""Dynamic quantization of matrix products: weights as integers, ranges of activations found while running."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from certify.errors import ModelError
from certify.suggest import unknown_name
from compress.core.context import PassContext
from compress.core.pass_protocol import Declined, OnnxPass, PassRecord

if TYPE_CHECKING:
    import onnx

    from compress.onnx_graph.graph import Graph


class QuantizeDynamic(OnnxPass):
    """Store the weights of matrix products as 8-bit integers; activations are rounded anew in every run.

    No calibration samples are needed, and no range can be wrong. Convolutions stay float: ONNX Runtime's kernel for
    them is slower than the float one, since nothing fuses with it. A model whose multiply-adds are mostly in
    convolutions is therefore declined.

    Papers: Zafrir et al., "Q8BERT: Quantized 8Bit BERT", 2019 (arXiv 1910.06188), for 8-bit matrix products in
    transformers; Jacob et al., CVPR 2018 (arXiv 1712.05877), for the arithmetic.

    When not to use it: on convolutional networks, and for runtimes without these kernels (TensorRT has none). Where
    calibration samples are at hand, `quantize_static` rounds a transformer's convolutions too and can smooth outliers.
    """

    name: ClassVar[str] = "quantize_dynamic"
    version: ClassVar[int] = 1

    least_share: float = Field(
        0.5, ge=0, le=1, description="Share of the multiply-adds in matrix products below which it declines."
    )
    per_channel: bool = Field(True, description="Whether each output channel of a weight has a scale of its own.")
    reduce_range: bool | None = Field(
        None, description="Whether weights are held to 7 bits; by default where the target saturates."
    )
    keep_nodes: tuple[str, ...] = Field((), description="Names of nodes of the ONNX graph that stay float.")

    def apply(self, model: Path, context: PassContext) -> tuple[Path, PassRecord]:
        """See :meth:`Pass.apply`.

        Raises:
            UsageError: ``keep_nodes`` names a node that does not exist.
            ModelError: ONNX Runtime can't prepare, quantize or load the file.
        """
        from compress.onnx_graph import onnx_file
        from compress.onnx_graph.graph import Graph, count_types, session
        from compress.quantization.post_training.prepare import prepared

        folder = context.workspace or model.parent
        graph = Graph(prepared(model, folder))
        names = [node.name for node in graph.nodes]
        for name in self.keep_nodes:
            if name not in names:
                raise unknown_name("node in keep_nodes", name, names)
        products = [node.name for node in graph.weighted() if node.op_type in ("Gemm", "MatMul")]
        share = products_share(graph)
        if not set(products) - set(self.keep_nodes):
            return model, PassRecord.refused("it has no float matrix product with constant weights")
        if share < self.least_share:
            why = f"only {share:.0%} of its multiply-adds are in matrix products, and convolutions do not profit"
            return model, PassRecord.refused(why)
        reduce_range = context.target.reduce_range if self.reduce_range is None else self.reduce_range
        written = folder / f"{model.stem}.dynamic.onnx"
        with onnx_file.replacing(written) as beside:
            self._quantize(graph.model, beside, folder, reduce_range=reduce_range)
            session(beside)  # the runtime loads it
            after = Graph(_loaded(beside))
        remaining = after.weighted()
        kept = {node.name for node in remaining}
        done = {
            "quantized": len(products) - len(kept & set(products)),
            "kept_float": len(remaining),
            "products_share_of_macs": share,
            "per_channel": self.per_channel,
            "weight_bits": 7 if reduce_range else 8,
            "operators": count_types(after.model.graph),
        }
        return written, PassRecord(done, tuple(Declined(node.name, self._reason(node)) for node in remaining))

    def _reason(self, node: onnx.NodeProto) -> str:
        if node.name in self.keep_nodes:
            return "the recipe keeps it float"
        if node.op_type in ("Gemm", "MatMul"):
            return "ONNX Runtime's quantizer leaves it float"
        return "a convolution does not profit from ranges found while running"

    def _quantize(self, model: onnx.ModelProto, written: Path, folder: Path, *, reduce_range: bool) -> None:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        from compress.onnx_graph import onnx_file
        from compress.onnx_graph.graph import failures

        with tempfile.TemporaryDirectory(dir=folder, prefix=".quantize.") as scratch:
            source = Path(scratch) / "prepared.onnx"
            onnx_file.save(model, source)
            try:
                quantize_dynamic(
                    source,
                    written,
                    op_types_to_quantize=["MatMul"],  # a Gemm is written as one before
                    per_channel=self.per_channel,
                    reduce_range=reduce_range,
                    weight_type=QuantType.QInt8,
                    nodes_to_exclude=list(self.keep_nodes),
                    use_external_data_format=onnx_file.weight_bytes(model) > onnx_file.INLINE_BYTES,
                )
            except failures() as error:
                raise ModelError(f"ONNX Runtime could not quantize the model: {error}") from error


def products_share(graph: Graph) -> float:
    """Share of the multiply-adds that are not in convolutions, 0 to 1."""
    from certify.graph.counts import count, infer_values

    total = count(graph.model).macs
    values = infer_values(graph.model)
    convolved = 0
    for node in graph.weighted():
        output = values.get(node.output[0])
        if node.op_type == "Conv" and output is not None:
            convolved += math.prod(output.shape) * math.prod(graph.tensors[node.input[1]].dims[1:])
    return 1 - min(1.0, convolved / total) if total else 0.0


def _loaded(path: Path) -> onnx.ModelProto:
    import onnx

    return onnx.load(path)
