"""Padding of depthwise convolutions with zero channels, to the group size of integer kernels.

ONNX Runtime's fast depthwise kernels for bytes process 16 channels at a time and only whole groups of 16
(onnxruntime/core/mlas/lib/convsym.cpp); others use a kernel that takes 2.5 times as long per multiply-add. Convolutions
that produce the channels get zero rows for the new ones, and those that read them zero columns, so that the outputs
change only by the order of summation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import onnx

from certify.model_file.onnx_graph.load import load_model
from compress.core import onnx_file
from compress.core.pass_protocol import Declined, PassRecord
from compress.onnx_graph.graph import Array, Graph, attributes, node_label
from compress.onnx_graph.spatial_means import is_spatial_mean

MOST = 1.25
"""Largest growth of the channels: beyond it, the other convolutions lose more than is gained."""
ONE_BY_ONE = frozenset(
    {
        "Add", "AveragePool", "Clip", "GlobalAveragePool", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu",
        "MaxPool", "Mul", "Relu", "Sigmoid",
    }
)  # fmt: skip
"""Operators that compute each channel from the same channel of their inputs."""


def pad_depthwise(path: Path, folder: Path | None, multiple: int) -> tuple[Path, PassRecord]:
    """Write a file with padded depthwise convolutions; return the given file, declined, if none needs padding.

    Args:
        path: path of an ONNX file.
        folder: folder of the new file; that of the given one if None.
        multiple: channels that the target's depthwise kernels process at a time.

    Raises:
        ModelError: the file is damaged.
    """
    loaded = load_model(path)
    onnx_file.infer_shapes(loaded)
    graph = Graph(loaded)
    padded: dict[str, list[int]] = {}
    declined: list[Declined] = []
    done: set[str] = set()
    for node in graph.nodes:
        channels = _depthwise(graph, node)
        if channels is None or channels % multiple == 0 or node.output[0] in done:
            continue
        wanted = math.ceil(channels / multiple) * multiple
        found = (
            _together(graph, node, channels) if wanted <= MOST * channels else "it would grow by more than a quarter"
        )
        if isinstance(found, str):
            declined.append(Declined(node_label(node), found))
            continue
        done |= found
        for name in _pad(graph, found, wanted - channels):
            padded[name] = [channels, wanted]
    if not padded:
        why = "; ".join(f"{each.what}: {each.why}" for each in declined)
        return path, PassRecord.refused(
            why or f"no depthwise convolution needs padding to a multiple of {multiple} channels"
        )
    del graph.model.graph.value_info[:]  # it states the old shapes
    written = (folder or path.parent) / f"{path.stem}.padded.onnx"
    onnx_file.save(graph.model, written)
    return written, PassRecord({"channels": padded, "multiple": multiple}, tuple(declined))


def _depthwise(graph: Graph, node: onnx.NodeProto) -> int | None:
    """Return the channels of a depthwise convolution with constant weights, or None for any other operator."""
    weight = graph.weight(node) if node.op_type == "Conv" else None
    groups = attributes(node).get("group", 1)
    if weight is None or groups == 1 or weight.shape[:2] != (groups, 1):
        return None
    return int(groups)


def _together(graph: Graph, start: onnx.NodeProto, channels: int) -> set[str] | str:
    """Return the values that share the channels of a depthwise convolution, or why they cannot be padded."""
    found, waiting = set[str](), [start.input[0], start.output[0]]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        shape, producer = graph.shape(name), graph.producers.get(name)
        if producer is None or name in graph.outputs or shape is None or shape[1:2] != (channels,):
            return f"'{name}' is a port, or its channels are not fixed"
        found.add(name)
        # Both directions: padding one value also pads what wrote it and what reads it, up to ordinary convolutions,
        # which absorb the zero channels.
        for node in (producer, *graph.consumers.get(name, ())):
            others = _same_channels(graph, node, name)
            if others is None:
                return f"{node.op_type} {node.name} reads or writes its channels and cannot take more"
            waiting += others
    return found


def _same_channels(graph: Graph, node: onnx.NodeProto, name: str) -> list[str] | None:
    """Return the other values whose channels a node ties to a value's, or None if it cannot be padded."""
    if node.op_type == "Conv":
        if _depthwise(graph, node) is not None:
            return [node.input[0], node.output[0]]
        # A grouped convolution that is not depthwise would need zeros inside each group, which moves its channels.
        own = graph.weight(node) is not None and attributes(node).get("group", 1) == 1
        biased = len(node.input) < 3 or not node.input[2] or node.input[2] in graph.tensors
        return [] if own and biased else None
    # Without keepdims the rank changes, and axis 1 of the output is no longer the channels.
    mean = node.op_type == "ReduceMean" and attributes(node).get("keepdims", 1) and is_spatial_mean(node, graph)
    if not mean and node.op_type not in ONE_BY_ONE:
        return None
    # The other inputs of these two are axes and bounds, not values with channels.
    inputs = node.input[:1] if mean or node.op_type == "Clip" else list(node.input)
    constants = [graph.tensors[each] for each in inputs if each in graph.tensors]
    # A constant per channel would have to grow too.
    if any(math.prod(each.dims) != 1 for each in constants):
        return None
    return [each for each in (*inputs, *node.output) if each not in graph.tensors]


def _pad(graph: Graph, values: set[str], more: int) -> Iterator[str]:
    """Add zero channels to the weights around some values; yield the names of the depthwise convolutions."""
    for node in graph.nodes:
        if node.op_type != "Conv":
            continue
        padded, read, deep = node.output[0] in values, node.input[0] in values, _depthwise(graph, node) is not None
        if padded:
            _set(graph, node, 1, lambda weight: _longer(weight, 0, more))
            if len(node.input) > 2 and node.input[2]:
                _set(graph, node, 2, lambda bias: _longer(bias, 0, more))
        if read and not deep:
            _set(graph, node, 1, lambda weight: _longer(weight, 1, more))
        if padded and deep:
            group = next(each for each in node.attribute if each.name == "group")
            # In a depthwise convolution the number of groups is that of the channels.
            group.i += more
            yield node.name


def _set(graph: Graph, node: onnx.NodeProto, index: int, change: Callable[[Array], Array]) -> None:
    values = graph.constant(node.input[index])
    if values is not None:
        graph.set(node, index, change(values))


def _longer(values: Array, axis: int, more: int) -> Array:
    return np.pad(values, [(0, more if each == axis else 0) for each in range(values.ndim)])
