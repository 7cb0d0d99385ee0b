"""All work of a graph that its outputs do not need."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
import onnx.reference

from certify.model_file.onnx_graph.averaged import averaged_work
from certify.model_file.onnx_graph.constants import array_of
from certify.model_file.onnx_graph.linear_products import linear_products
from certify.model_file.onnx_graph.needless import NeededPositions, Repeats
from certify.model_file.onnx_graph.parallel_layers import parallel_layers
from certify.model_file.onnx_graph.rearrangements import needless_moves
from certify.model_file.onnx_graph.work import ELEMENT_MACS

DEQUANTIZE = "DequantizeLinear"


def needless_work(
    model: onnx.ModelProto,
    sample: tuple[int, ...],
    repeats: Repeats,
    denormal: Collection[str] = (),
    steady: Collection[str] = (),
) -> dict[str, int]:
    """Return the cost of needless work by the output of its operator, in multiply-adds.

    Args:
        model: model without functions, whose weights are initializers.
        sample: shape of one sample without the batch.
        repeats: repetitions within values.
        denormal: values with denormal numbers; operators that multiply them could do so in another scale at no cost.
        steady: values that are the same for all samples, and could be stored.
    """
    plain, found = _with_stored_weights(model)
    found |= NeededPositions(plain, sample, repeats, denormal, steady).needless()
    for parts in (linear_products, needless_moves, parallel_layers, averaged_work):
        for name, cost in parts(plain, sample).items():
            found[name] = max(found.get(name, 0), cost)
    return {name: cost for name, cost in found.items() if cost > 0}


def _stays_integer(node: onnx.NodeProto, graph: onnx.GraphProto) -> bool:
    """Return whether a look-up is quantized again, so that a runtime looks up integers."""
    readers = [reader for reader in graph.node if node.output[0] in reader.input]
    return node.op_type == "Gather" and all(reader.op_type == "QuantizeLinear" for reader in readers)


def _with_stored_weights(model: onnx.ModelProto) -> tuple[onnx.ModelProto, dict[str, int]]:
    """Return a copy that stores dequantized weights, and the cost per run of dequantizing them for float operators.

    Runtimes do not fold this conversion, because integer operators need it. Float operators do not.
    """
    plain = onnx.ModelProto()
    plain.CopyFrom(model)
    graph = plain.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    integers = {name for node in graph.node if node.op_type == DEQUANTIZE for name in node.output}
    kept, found = [], dict[str, int]()
    for node in graph.node:
        if node.op_type != DEQUANTIZE or not weights.keys() >= set(filter(None, node.input)):
            kept.append(node)
            continue
        feeds = {name: array_of(weights[name]) for name in node.input if name}
        try:
            outputs: Any = onnx.reference.ReferenceEvaluator(node).run(None, feeds)
            array = np.asarray(outputs[0])
        except (ValueError, TypeError, LookupError, RuntimeError, NotImplementedError):
            kept.append(node)
            continue
        name = node.output[0]
        graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        readers = [reader for reader in graph.node if name in reader.input]
        if any(not integers & {*reader.input} - {name} and not _stays_integer(reader, graph) for reader in readers):
            found[name] = ELEMENT_MACS * array.size
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in kept]
    del graph.node[:]
    graph.node.extend(nodes)
    return plain, found
