"""Products of queries and keys, whose result a Softmax reads.

OpenVINO runs attention as one operator, whose first product is faster on bytes if these are signed and their zero point
is 0: a ViT-B/16 takes 0.92 of the time. The product after the Softmax stays float, since most of its shares would be
rounded to 0. ONNX Runtime has no fast kernel for bytes on both sides.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from compress.onnx_graph.graph import Graph

BETWEEN = frozenset({"Add", "Div", "Mul", "Where"})
"""Operators that scale or mask scores before the Softmax."""


def score_products(graph: Graph) -> tuple[str, ...]:
    """Return the names of matrix products of two computed values that only a Softmax reads, scaled or masked."""
    found = []
    for node in graph.nodes:
        if node.op_type != "MatMul" or any(name in graph.tensors for name in node.input):
            continue
        reader = graph.only_consumer(node.output[0])
        while reader is not None and reader.op_type in BETWEEN:
            reader = graph.only_consumer(reader.output[0])
        if reader is not None and reader.op_type == "Softmax":
            found.append(node.name)
    return tuple(found)


def signed_symmetric(graph: Graph, products: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the types of the inputs of such products, for the quantizer's option TensorQuantOverrides."""
    from onnxruntime.quantization import QuantType

    read = [name for node in graph.nodes if node.name in products for name in node.input]
    return {name: [{"quant_type": QuantType.QInt8, "symmetric": True}] for name in read}


def with_integers(graph: Graph, products: Collection[str]) -> int:
    """Return how many of these products read integers in a quantized model."""
    sources = [graph.producers.get(node.input[0]) for node in graph.nodes if node.name in products]
    return sum(source is not None and source.op_type == "DequantizeLinear" for source in sources)
