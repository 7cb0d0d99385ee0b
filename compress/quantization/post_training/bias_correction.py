"""Correction of biases by the mean of the rounding errors of weights.

Nagel, van Baalen, Blankevoort and Welling, "Data-Free Quantization Through Weight Equalization and Bias Correction",
ICCV 2019 (arXiv 1906.04721), section 4.2: rounding a weight W to W + e shifts the mean of the output by e * E[x],
which is subtracted from the bias. E[x] is the mean over calibration samples. A convolution is linear, so it is applied
once to the mean input, borders included, instead of to every sample.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import onnx

from compress.core.onnx_session import session
from compress.onnx_graph.graph import Array, Graph, attributes, over_first_axis
from compress.quantization.post_training.integer_weights import bias_of, integer_weights, shift_bias

ROWS = frozenset({"Gemm", "MatMul"})
"""Operators whose mean input is one row; that of a convolution is a map."""
MOST_ELEMENTS = 1 << 22
"""Elements of weights whose rounding errors are held at a time."""


def own_biases(graph: Graph) -> None:
    """Give every convolution and Gemm with constant weights a bias that nothing else reads, in place.

    The values do not change: a missing bias becomes zeros. A computed bias, or one that is not a vector, is kept.
    """
    for node in graph.weighted():
        weight = graph.weight(node)
        if node.op_type not in ("Conv", "Gemm") or weight is None:
            continue
        channels = weight.shape[0 if node.op_type == "Conv" or attributes(node).get("transB", 0) else 1]
        present = len(node.input) > 2 and bool(node.input[2])
        # Always create a constant, because exporters let layers share one of zeros, but each needs its own correction.
        bias = graph.constant(node.input[2]) if present else np.zeros(channels, weight.dtype)
        if bias is not None and bias.shape == (channels,):
            graph.set(node, 2, bias)


def correctable(graph: Graph) -> list[onnx.NodeProto]:
    """Return the operators of the float model whose output is linear in a mean input."""
    found = []
    for node in graph.weighted():
        rank = len(graph.tensors[node.input[1]].dims)
        rows = node.op_type in ROWS and rank == 2 and not attributes(node).get("transA", 0)
        if rows or node.op_type == "Conv":
            found.append(node)
    return found


def correct_biases(floats: Graph, integers: Graph, means: Mapping[str, Array]) -> int:
    """Shift the biases of a quantized model, in place, against the mean error of its rounded weights.

    Args:
        floats: the float model, with biases from :func:`own_biases`.
        integers: the quantized model.
        means: :attr:`MeanRecorder.means` of a few dozen samples.

    Returns:
        The number of corrected operators.
    """
    rounded = integer_weights(integers)
    found = {node.name: bias_of(integers, node) for node in integers.nodes if node.name in rounded}
    places = {name: place for name, place in found.items() if place is not None}
    nodes = [node for node in floats.weighted() if node.name in places and node.name in means]
    for part in _parts(nodes, floats):
        weights = {node.name: floats.weight(node) for node in part}
        errors = {name: rounded[name].values - w.astype(np.float32) for name, w in weights.items() if w is not None}
        for name, mean in _mean_outputs(part, means, errors).items():
            # The layer is linear, so the mean error of its output is that of the weight, applied to the mean input.
            shift_bias(integers, *places[name], -mean)
    return len(nodes)


def _parts(nodes: Sequence[onnx.NodeProto], graph: Graph) -> Iterator[list[onnx.NodeProto]]:
    """Yield operators in groups whose weights together are small enough to be copied, or a single one."""
    part: list[onnx.NodeProto] = []
    elements = 0
    for node in nodes:
        size = math.prod(graph.tensors[node.input[1]].dims)
        if part and elements + size > MOST_ELEMENTS:
            yield part
            part, elements = [], 0
        part.append(node)
        elements += size
    yield part


class MeanRecorder:
    """Records the mean over all samples of some operators' inputs.

    Args:
        graph: graph of the model that runs.
        nodes: the operators, from :func:`correctable`.
    """

    def __init__(self, graph: Graph, nodes: Sequence[onnx.NodeProto]) -> None:
        self.tensors = {"leanmark.first": np.array([0])} if nodes else {}
        makers: dict[str, list[onnx.NodeProto]] = {}
        self._wanted: dict[str, str] = {}
        self._means: dict[str, Array] = {}
        self._samples = 0
        for node in nodes:
            source = node.input[0]
            # Named by kind and input: layers that read the same value share its mean.
            kind = "row" if node.op_type in ROWS else "place" if _reads_each_place(graph, node) else "map"
            self._wanted[node.name] = name = f"leanmark.mean.{kind}.{source}"
            rows = []
            if node.op_type in ROWS:
                self.tensors[f"{name}.shape"] = np.array([-1, _contracted(graph, node)])
                rows.append(onnx.helper.make_node("Reshape", [source, f"{name}.shape"], [f"{name}.rows"]))
                source = f"{name}.rows"
            elif kind == "place":
                rows.append(onnx.helper.make_node("GlobalAveragePool", [source], [f"{name}.places"]))
                source = f"{name}.places"
            makers[name] = [*rows, over_first_axis(graph.model, "ReduceMean", source, name)]
        self.outputs = list(makers)
        self.nodes = [node for group in makers.values() for node in group]

    def add(self, found: Mapping[str, Array], samples: int) -> None:
        """Record one batch."""
        self._samples += samples
        # Weighted by the batch, as the last one may be short.
        share = np.float32(samples / self._samples)
        for name in self.outputs:  # in place: together the maps take as much memory as all activations of a sample
            mean = self._means.setdefault(name, np.zeros(found[name].shape, np.float32))
            mean += (found[name] - mean) * share

    @property
    def means(self) -> dict[str, Array]:
        """The means by the operator's name.

        (1, C, ...) for a convolution, with axes of length 1 if it reads every place once, and (1, C) for others, whose
        other axes are averaged too.
        """
        return {name: self._means[mean] for name, mean in self._wanted.items()}


def _reads_each_place(graph: Graph, node: onnx.NodeProto) -> bool:
    """Return whether a convolution reads each place of its input once, so that the mean over places is enough."""
    settings = attributes(node)
    single = all(size == 1 for size in (*graph.tensors[node.input[1]].dims[2:], *settings.get("strides", ())))
    return single and not any(settings.get("pads", ())) and settings.get("auto_pad", b"NOTSET") in (b"NOTSET", b"VALID")


def _contracted(graph: Graph, node: onnx.NodeProto) -> int:
    """Return the length of the dimension that a Gemm or MatMul sums over."""
    return int(graph.tensors[node.input[1]].dims[1 if attributes(node).get("transB", 0) else -2])


def _mean_outputs(
    nodes: Sequence[onnx.NodeProto], means: Mapping[str, Array], weights: Mapping[str, Array]
) -> dict[str, Array]:
    """Apply operators without their biases to mean inputs, averaged over all places: one value per channel."""
    found = {}
    maps = [node for node in nodes if node.op_type == "Conv"]
    for node in nodes:
        if node.op_type in ROWS:
            weight = weights[node.name].T if attributes(node).get("transB", 0) else weights[node.name]
            found[node.name] = float(attributes(node).get("alpha", 1.0)) * (means[node.name] @ weight)[0]
    if maps:
        outputs = session(_bare(maps, weights)).run(None, {node.name: means[node.name] for node in maps})
        for node, output in zip(maps, outputs, strict=True):
            # A bias is one number per channel, so errors at the borders (padding) are averaged with the rest.
            found[node.name] = output.mean(axis=(0, *range(2, output.ndim)))
    return found


def _bare(nodes: Sequence[onnx.NodeProto], weights: Mapping[str, Array]) -> onnx.ModelProto:
    """Build a model of parallel convolutions without biases, each with an input under its own name."""
    convolutions, inputs, tensors = [], [], []
    for node in nodes:
        weight = f"{node.name}.weight"
        bare = onnx.NodeProto(op_type=node.op_type, input=[node.name, weight], output=[f"{node.name}.output"])
        bare.attribute.extend(node.attribute)
        convolutions.append(bare)
        inputs.append(onnx.helper.make_tensor_value_info(node.name, onnx.TensorProto.FLOAT, None))
        tensors.append(onnx.numpy_helper.from_array(weights[node.name], weight))
    outputs = [onnx.ValueInfoProto(name=node.output[0]) for node in convolutions]
    graph = onnx.helper.make_graph(convolutions, "bare", inputs, outputs, tensors)
    return onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
