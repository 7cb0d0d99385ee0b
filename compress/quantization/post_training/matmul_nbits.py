"""MatMulNBits, ONNX Runtime's operator for weights of a few bits.

https://github.com/microsoft/onnxruntime/blob/main/docs/ContribOperators.md#commicrosoftmatmulnbits
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx

from compress.core.onnx_reads import drop_unread
from compress.onnx_graph.graph import Graph, attributes
from compress.quantization.post_training.blockwise import Blocks

DOMAIN = "com.microsoft"
INT8_ACTIVATIONS = 4
"""Accuracy level at which activations are rounded to 8 bits in blocks."""


def replace_product(graph: Graph, node: onnx.NodeProto, blocks: Blocks, bits: int, *, int8: bool) -> None:
    """Replace a MatMul or Gemm by MatMulNBits, in place, and drop the float weight.

    Args:
        graph: graph of the model; must be indexed again afterwards.
        node: MatMul, or Gemm whose first input is not transposed.
        blocks: its rounded weight; for a Gemm, including ``alpha``.
        bits: 4 or 8.
        int8: whether the runtime may round activations to 8 bits.
    """
    outputs, _, size = blocks.codes.shape
    names = [f"{node.name}.{part}" for part in ("codes", "scales", "zeros")]
    codes, zeros = blocks.codes, blocks.zeros
    if bits == 4:
        # The kernel reads two codes per byte, the earlier input in the low half.
        codes, zeros = nibbles(codes), nibbles(zeros)
    arrays = (codes, blocks.scales.ravel(), zeros.ravel())
    for name, array in zip(names, arrays, strict=True):
        graph.model.graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
    bias = node.input[2] if node.op_type == "Gemm" and len(node.input) > 2 else ""
    product = f"{node.output[0]}.product" if bias else node.output[0]
    settings = {"K": blocks.inputs, "N": outputs, "bits": bits, "block_size": size}
    if int8:
        settings["accuracy_level"] = INT8_ACTIVATIONS
    inputs = [node.input[0], *names]
    nodes = [onnx.helper.make_node("MatMulNBits", inputs, [product], node.name, domain=DOMAIN, **settings)]
    if bias:
        # MatMulNBits has neither alpha nor beta: alpha is already in the weight, beta goes into the bias.
        bias = _scaled_bias(graph, node, bias)
        nodes.append(onnx.helper.make_node("Add", [product, bias], node.output[:1], f"{node.name}.bias"))
    position = list(graph.model.graph.node).index(node)
    del graph.model.graph.node[position]
    for offset, each in enumerate(nodes):
        graph.model.graph.node.insert(position + offset, each)


def finish(model: onnx.ModelProto) -> None:
    """Declare the operator's domain, and drop constants that nothing reads."""
    declare_domain(model)
    drop_unread(model.graph)


def declare_domain(model: onnx.ModelProto) -> None:
    """Declare that a model uses ONNX Runtime's own operators, in place."""
    if all(entry.domain != DOMAIN for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))


def nibbles(values: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Pack pairs of neighbours on the last axis into bytes, low half first; an odd length is padded with 0.

    Example:
        >>> nibbles(np.array([1, 2, 3], dtype=np.uint8)).tolist()
        [33, 3]
    """
    paired = np.pad(values, [(0, 0)] * (values.ndim - 1) + [(0, values.shape[-1] % 2)])
    return np.asarray(paired[..., 0::2] | (paired[..., 1::2] << 4), dtype=np.uint8)


def _scaled_bias(graph: Graph, node: onnx.NodeProto, name: str) -> str:
    beta = float(attributes(node).get("beta", 1.0))
    values = graph.constant(name)
    if beta == 1.0 or values is None:
        return name
    graph.set(node, 2, (values * beta).astype(values.dtype))
    return str(node.input[2])
