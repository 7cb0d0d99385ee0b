"""Second moments of the inputs of matrix products."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import onnx

from compress.onnx_graph.graph import Array, Feed, Graph, attributes, integer_tensors, probe


def hessians(graph: Graph, nodes: Sequence[onnx.NodeProto], feeds: Iterable[Feed]) -> dict[str, Array]:
    """Return the sum of x x^T over all input rows x of each product, (K, K), by the product's name.

    The runtime multiplies and sums, so that memory does not grow with the number of samples.

    Raises:
        ModelError: the model does not run.
    """
    makers: dict[str, list[onnx.NodeProto]] = {}
    tensors = {}
    wanted = {}
    for node in nodes:
        wanted[node.name] = name = f"leanmark.moments.{node.input[0]}"
        inputs = graph.tensors[node.input[1]].dims[1 if attributes(node).get("transB", 0) else 0]
        tensors[f"{name}.shape"] = np.array([-1, inputs])
        # Named by the input: products that share one (query, key and value) also share the sum.
        makers[name] = [
            onnx.helper.make_node("Reshape", [node.input[0], f"{name}.shape"], [f"{name}.rows"]),
            onnx.helper.make_node("Transpose", [f"{name}.rows"], [f"{name}.columns"], perm=[1, 0]),
            onnx.helper.make_node("MatMul", [f"{name}.columns", f"{name}.rows"], [name]),
        ]
    added = [node for group in makers.values() for node in group]
    totals = dict.fromkeys(makers, np.zeros((), dtype=np.float32))
    for found in probe(graph.model, list(makers), feeds, added, integer_tensors(tensors)):
        totals = {name: total + found[name] for name, total in totals.items()}
    return {node: totals[name] for node, name in wanted.items()}
