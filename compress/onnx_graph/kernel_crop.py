"""Cropping of kernel taps that only meet padding, and removal of means over one value."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from certify.model_file.onnx_graph.load import load_model
from compress.core import onnx_file
from compress.core.onnx_reads import drop_unread
from compress.core.pass_protocol import PassRecord
from compress.onnx_graph.graph import Graph, attributes
from compress.onnx_graph.spatial_means import drop_idle_means


def crop_kernels(path: Path, folder: Path | None) -> tuple[Path, PassRecord]:
    """Write a file without taps that meet no real value; return the given file, declined, if there are none.

    Args:
        path: path of an ONNX file.
        folder: folder of the new file; that of the given one if None.

    Raises:
        ModelError: the file is damaged.
    """
    loaded = load_model(path)
    onnx_file.infer_shapes(loaded)
    graph = Graph(loaded)
    weights = _weights(graph)
    trimmed: dict[str, list[str]] = {}
    taps = 0
    for node in loaded.graph.node:
        if node.op_type != "Conv" or (found := _axes(node, weights.get(node.input[1]), graph)) is None:
            continue
        if any(axis.first > 0 or axis.last < axis.size - 1 for axis in found):
            before, after = _cut(node, loaded.graph, weights[node.input[1]], found)
            trimmed[node.name] = ["x".join(map(str, before[2:])), "x".join(map(str, after[2:]))]
            taps += math.prod(before) - math.prod(after)
    idle = drop_idle_means(loaded)
    if not trimmed and not idle:
        return path, PassRecord.refused("every kernel tap meets real values, and every mean is over several values")
    drop_unread(loaded.graph)
    written = (folder or path.parent) / f"{path.stem}.trimmed.onnx"
    onnx_file.save(loaded, written)
    return written, PassRecord({"weights_removed": taps, "kernels": trimmed, "means": idle})


@dataclass(frozen=True)
class _Axis:
    """One spatial axis of a convolution: kernel size, live taps ``first`` to ``last``, and the new pads."""

    size: int
    first: int
    last: int
    pads: tuple[int, int]


@dataclass(frozen=True)
class _Weight:
    """Where the weight of a convolution is stored, and the node that reads it: itself, or its DequantizeLinear."""

    tensor: onnx.TensorProto
    reader: onnx.NodeProto
    index: int


def _weights(graph: Graph) -> dict[str, _Weight]:
    """Return stored weights by the name that a convolution reads."""
    tensors, found = graph.tensors, {}
    for node in graph.nodes:
        if node.op_type == "Conv" and node.input[1] in tensors:
            found[node.input[1]] = _Weight(tensors[node.input[1]], node, 1)
        if node.op_type == "DequantizeLinear" and node.input[0] in tensors and graph.only_consumer(node.output[0]):
            found[node.output[0]] = _Weight(tensors[node.input[0]], node, 0)
    return found


def _axes(node: onnx.NodeProto, weight: _Weight | None, graph: Graph) -> list[_Axis] | None:
    """Return the spatial axes of a convolution, or None if a size is unknown or its kernel cannot be cropped."""
    message, inputs, outputs = attributes(node), graph.shape(node.input[0]), graph.shape(node.output[0])
    if weight is None or inputs is None or outputs is None or message.get("auto_pad", b"NOTSET") != b"NOTSET":
        return None
    kernel = tuple(weight.tensor.dims)
    spatial = len(kernel) - 2
    strides = message.get("strides", [1] * spatial)
    dilations = message.get("dilations", [1] * spatial)
    pads = message.get("pads", [0] * 2 * spatial)
    axes = [
        live_taps(kernel[i + 2], inputs[i + 2], outputs[i + 2], strides[i], pads[i], pads[i + spatial])
        for i in range(spatial)
        if min(inputs[i + 2], outputs[i + 2]) > 0 and dilations[i] == 1
    ]
    return axes if len(axes) == spatial else None


def live_taps(size: int, inputs: int, outputs: int, stride: int, begin: int, end: int) -> _Axis:
    """Find the taps that meet a value: tap k reads ``o * stride + k - begin`` for output o, valid in [0, taken)."""
    live = [k for k in range(size) if any(0 <= o * stride + k - begin < inputs for o in range(outputs))]
    # Every output is the bias then; a kernel must keep at least one tap, so it is left as it is.
    if not live:
        return _Axis(size, 0, size - 1, (begin, end))
    first, last = live[0], live[-1]
    taps = last - first + 1
    # Never negative: at the first output, tap ``begin`` meets the first value.
    new_begin = begin - first
    # Just enough for the last output; more would only add outputs.
    new_end = max(0, (outputs - 1) * stride + taps - inputs - new_begin)
    return _Axis(size, first, last, (new_begin, new_end))


def _cut(
    node: onnx.NodeProto, graph: onnx.GraphProto, stored: _Weight, axes: list[_Axis]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Give a convolution its own cropped weight; return the shapes before and after."""
    weight = onnx.numpy_helper.to_array(stored.tensor)
    window = (slice(None), slice(None), *(slice(axis.first, axis.last + 1) for axis in axes))
    smaller = np.ascontiguousarray(weight[window])
    # Layers that share a weight may meet the padding at different taps, so each gets its own.
    name = f"{stored.tensor.name}.trimmed_for.{node.output[0]}"
    graph.initializer.append(onnx.numpy_helper.from_array(smaller, name))
    reader = node if stored.index == 1 else stored.reader
    reader.input[stored.index] = name
    for value in graph.value_info:  # of a dequantized weight, with its old shape
        if value.name == node.input[1]:
            graph.value_info.remove(value)
            break
    unchanged = [a for a in node.attribute if a.name not in ("kernel_shape", "pads")]
    pads = [axis.pads[0] for axis in axes] + [axis.pads[1] for axis in axes]
    sizes = onnx.helper.make_attribute("kernel_shape", list(smaller.shape[2:]))
    del node.attribute[:]
    node.attribute.extend([*unchanged, sizes, onnx.helper.make_attribute("pads", pads)])
    return weight.shape, smaller.shape
