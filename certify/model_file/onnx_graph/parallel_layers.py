"""Linear layers over one value whose results are added up: one layer with the sum of their weights does the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

import onnx

from certify.model_file.onnx_graph.data_sized import reader_counts
from certify.model_file.onnx_graph.linear_products import SCALING
from certify.model_file.onnx_graph.operators import attribute, compute_of
from certify.model_file.onnx_graph.shapes import infer
from certify.model_file.onnx_graph.work import macs_of

ADDING = frozenset({"Add", "Mean", "Sub", "Sum"})


def parallel_layers(model: onnx.ModelProto, sample: tuple[int, ...]) -> dict[str, int]:
    """Return the multiply-adds of all but the largest of such layers, by their outputs.

    Args:
        model: model without functions, whose weights are initializers.
        sample: shape of one sample without the batch.
    """
    graph = model.graph
    values = infer(model, sample).values
    weights = {tensor.name for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    readers = reader_counts(graph)
    found: dict[str, int] = {}
    for node in graph.node:
        if node.op_type not in ADDING:
            continue
        alike: dict[tuple[object, ...], dict[str, int]] = defaultdict(dict)
        for layer in _added(node, makers, readers, weights):
            macs = macs_of(layer, values)
            if macs is not None:
                alike[_reading(layer)][layer.output[0]] = macs
        for layers in alike.values():
            largest = max(layers, key=lambda name: layers[name])
            found.update((name, macs) for name, macs in layers.items() if name != largest)
    return found


def _added(
    node: onnx.NodeProto, makers: Mapping[str, onnx.NodeProto], readers: Mapping[str, int], weights: set[str]
) -> Iterator[onnx.NodeProto]:
    """Yield the linear layers that a node adds up, also through further sums and constant factors."""
    waiting = list(node.input)
    while waiting:
        name = waiting.pop()
        maker = makers.get(name)
        if maker is None or readers[name] != 1:
            continue
        compute = compute_of(maker)
        if compute is not None:
            if not compute.quantized and maker.input[compute.weight] in weights:
                yield maker
        elif maker.op_type in ADDING:
            waiting += maker.input
        elif maker.op_type in SCALING:
            varying = [one for one in maker.input if one not in weights]
            waiting += varying if len(varying) == 1 else []


def _reading(layer: onnx.NodeProto) -> tuple[object, ...]:
    """Return what layers must have in common to be one layer; kernels of other sizes fit into the largest."""
    compute = compute_of(layer)
    assert compute is not None
    steps = {
        a.name: tuple(a.ints) for a in layer.attribute if a.name in ("strides", "dilations") and set(a.ints) != {1}
    }
    return layer.input[compute.data], compute.kind, attribute(layer, "group", 1), *sorted(steps.items())
