"""Sensitivity of layers to quantization, and the number of layers that must stay float to keep the loss.

Each layer is rounded alone, weights and input, and the signal-to-noise ratio of the model's output measures the
damage, as in Pandey et al. 2023, "A Practical Mixed Precision Algorithm for Post-Training Quantization"
(arXiv 2302.05397).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import onnx

from compress.onnx_graph.graph import Array, Feed, Graph, probe, signal_to_noise_db
from compress.quantization.post_training.integer_weights import IntegerWeights, integer_weights


def output_noise(floats: Graph, integers: Graph, output: str, feeds: Sequence[Feed]) -> Iterator[tuple[str, float]]:
    """Round one layer at a time.

    Args:
        floats: the float model.
        integers: the quantized model, which defines how each layer is rounded.
        output: value of the graph that is compared.
        feeds: calibration samples; a few dozen.

    Yields:
        Each quantized layer with weights, in the order of the graph, and the output's signal-to-noise ratio in
        decibels.

    Raises:
        ModelError: the model does not run.
    """
    weights = integer_weights(integers)
    quantized = {node.name: node for node in integers.nodes}
    wanted = outputs(floats.model, output, feeds)
    for node in floats.weighted():
        if node.name in weights:
            alone = _rounded_alone(floats, integers, quantized[node.name], weights[node.name])
            yield node.name, signal_to_noise_db(wanted, outputs(alone, output, feeds))


def fewest_kept(loss: Callable[[int], float], budget: float, most: int) -> int:
    """Find the smallest number of layers that must stay float, by doubling and then bisection.

    Args:
        loss: loss of accuracy with that many of the worst layers in floats; assumed to fall with their number.
        budget: largest allowed loss.
        most: largest number that may stay float.

    Returns:
        The number; if none fits, the one with the least loss among those tried.

    Example:
        >>> fewest_kept(lambda count: 5.0 - count, budget=2.0, most=8)
        3
    """
    tried: dict[int, float] = {}

    def fits(count: int) -> bool:
        if count not in tried:
            tried[count] = loss(count)
        return tried[count] <= budget

    # Start with few float layers, because each trial quantizes and scores a model, and few of them keep the file fast.
    low, high = 0, min(1, most)
    while not fits(high):
        if high == most:
            return min(tried, key=lambda count: (tried[count], count))
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high


def outputs(model: onnx.ModelProto, output: str, feeds: Iterable[Feed], *, as_here: bool = False) -> Array:
    """Return one output of a model, for all feeds; see :func:`compress.core.onnx_session.session`."""
    return np.concatenate([found[output] for found in probe(model, [output], feeds, as_here=as_here)])


def _rounded_alone(
    floats: Graph, integers: Graph, quantized: onnx.NodeProto, weight: IntegerWeights
) -> onnx.ModelProto:
    """Return the float model with the rounded weight and rounded input of one operator."""
    model = onnx.ModelProto()
    model.CopyFrom(floats.model)
    position, node = next((i, n) for i, n in enumerate(model.graph.node) if n.name == quantized.name)
    name = "leanmark.rounded"
    model.graph.initializer.append(onnx.numpy_helper.from_array(weight.values, name))
    node.input[1] = name
    source = integers.producers.get(quantized.input[0])
    if source is None or source.op_type != "DequantizeLinear":
        return model
    for index in (1, 2):
        tensor = onnx.TensorProto()
        tensor.CopyFrom(integers.tensors[source.input[index]])
        tensor.name = f"{name}.{index}"
        model.graph.initializer.append(tensor)
    parameters = [f"{name}.1", f"{name}.2"]
    pair = [
        onnx.helper.make_node("QuantizeLinear", [node.input[0], *parameters], [f"{name}.codes"]),
        onnx.helper.make_node("DequantizeLinear", [f"{name}.codes", *parameters], [f"{name}.input"]),
    ]
    node.input[0] = f"{name}.input"
    for offset, each in enumerate(pair):
        model.graph.node.insert(position + offset, each)
    return model
