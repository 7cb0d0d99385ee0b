"""Dynamic quantization of matrix products with ONNX Runtime's quantizer."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import onnx
from onnxruntime.quantization import QuantType
from onnxruntime.quantization import quantize_dynamic as quantize_file

from certify.core.errors import ModelError
from certify.model_file.onnx_graph.counts import count
from certify.model_file.onnx_graph.shapes import infer_values
from compress.core import onnx_file
from compress.core.context import PassContext
from compress.core.onnx_session import failures, reason, session
from compress.core.pass_protocol import Declined, PassRecord
from compress.onnx_graph.graph import Graph, count_types, node_label, require_nodes
from compress.quantization.post_training.prepare import prepared

PRODUCTS = ("Gemm", "MatMul")


def quantize_dynamic(
    path: Path,
    context: PassContext,
    *,
    least_share: float,
    per_channel: bool,
    reduce_range: bool,
    keep_nodes: tuple[str, ...],
) -> tuple[Path, PassRecord]:
    """Write a file with integer weights; return the given file, declined, if that would save little.

    Args:
        path: path of an ONNX file.
        context: context of the pass.
        least_share: share of multiply-adds in matrix products below which the model is declined.
        per_channel: whether each output channel of a weight has its own scale.
        reduce_range: whether weights use only 7 bits.
        keep_nodes: names of nodes that stay float.

    Raises:
        UsageError: ``keep_nodes`` names a node that does not exist.
        ModelError: ONNX Runtime cannot prepare, quantize or load the file.
    """
    folder = context.workspace or path.parent
    graph = Graph(prepared(path, folder))
    require_nodes(graph, keep_nodes)
    products = [node.name for node in graph.weighted() if node.op_type in PRODUCTS]
    share = _products_share(graph)
    if not set(products) - set(keep_nodes):
        return path, PassRecord.refused("it has no float matrix product with constant weights")
    if share < least_share:
        why = f"only {share:.0%} of its multiply-adds are in matrix products, and convolutions do not benefit"
        return path, PassRecord.refused(why)
    written = folder / f"{path.stem}.dynamic.onnx"
    with (
        onnx_file.replacing(written) as beside,
        tempfile.TemporaryDirectory(dir=folder, prefix=".quantize.") as scratch,
    ):
        source = Path(scratch) / "prepared.onnx"
        onnx_file.save(graph.model, source)
        try:
            quantize_file(
                source,
                beside,
                op_types_to_quantize=["MatMul"],  # each Gemm was rewritten as one
                per_channel=per_channel,
                reduce_range=reduce_range,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=list(keep_nodes),
                use_external_data_format=onnx_file.weight_bytes(graph.model) > onnx_file.INLINE_BYTES,
            )
        except failures() as error:
            raise ModelError(f"ONNX Runtime could not quantize the model ({reason(error)}).") from error
        session(beside)  # check that the runtime loads it
        after = Graph(onnx.load(beside))
    remaining = after.weighted()
    kept = {node.name for node in remaining}
    done = {
        "quantized": len(products) - len(kept & set(products)),
        "kept_float": len(remaining),
        "products_share_of_macs": share,
        "per_channel": per_channel,
        "weight_bits": 7 if reduce_range else 8,
        "operators": count_types(after.model.graph),
    }
    return written, PassRecord(done, tuple(Declined(node_label(node), _reason(node, keep_nodes)) for node in remaining))


def _reason(node: onnx.NodeProto, keep_nodes: tuple[str, ...]) -> str:
    if node.name in keep_nodes:
        return "the recipe keeps it float"
    if node.op_type in PRODUCTS:
        return "ONNX Runtime's quantizer leaves it float"
    return "a convolution does not benefit from ranges computed at run time"


def _products_share(graph: Graph) -> float:
    """Return the share of the multiply-adds outside of convolutions, 0 to 1."""
    total = count(graph.model).macs
    values = infer_values(graph.model)
    convolved = 0
    for node in graph.weighted():
        output = values.get(node.output[0])
        if node.op_type == "Conv" and output is not None:
            convolved += math.prod(output.shape) * math.prod(graph.tensors[node.input[1]].dims[1:])
    return 1 - min(1.0, convolved / total) if total else 0.0
