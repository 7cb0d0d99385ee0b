"""Trimming of padded convolution kernels: outer rows and columns of negligible taps are removed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx

from certify.model_file.onnx_graph.operators import STANDARD_DOMAINS

NEGLIGIBLE = 1e-3
"""Taps are negligible if, in all channels, they are below this fraction of their output channel's largest tap."""
SLICE = 10
"""First operator set in which Slice takes its bounds as inputs."""
END = 2**31 - 1
"""End of a Slice that includes everything."""


def trim_kernels(model: onnx.ModelProto) -> list[str]:
    """Trim the borders of padded kernels, in place.

    Args:
        model: model whose weights are initializers.

    Returns:
        The trimmed convolutions, by output name, with both sizes.
    """
    graph = model.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    cut, nodes = [], []
    for node in graph.node:
        if node.op_type == "Conv" and node.domain in STANDARD_DOMAINS and node.input[1] in weights:
            weight = onnx.numpy_helper.to_array(weights[node.input[1]])
            spans = [_span(weight, axis) for axis in range(2, weight.ndim)]
            smaller = weight[tuple([slice(None)] * 2 + [slice(*span) for span in spans])]
            auto_pad = next((a.s for a in node.attribute if a.name == "auto_pad"), b"NOTSET")
            if smaller.shape != weight.shape and auto_pad == b"NOTSET" and _opset(model) >= SLICE:
                nodes += _cut(node, graph, np.ascontiguousarray(smaller), weight.shape[2:], spans)
                cut.append(f"{node.output[0]} ({_size(weight)} to {_size(smaller)})")
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    return cut


def _span(weight: npt.NDArray[np.generic], axis: int) -> tuple[int, int]:
    """Return the range of relevant taps along an axis, with an exclusive end; a kernel of zeros keeps its first tap."""
    size = np.abs(weight.astype(np.float64))
    largest = size.max(axis=tuple(range(1, weight.ndim)), keepdims=True)
    matters = np.any(size > NEGLIGIBLE * largest, axis=tuple(a for a in range(weight.ndim) if a != axis))
    places = np.flatnonzero(matters)
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 1)


def _opset(model: onnx.ModelProto) -> int:
    return max(int(entry.version) for entry in model.opset_import if entry.domain in STANDARD_DOMAINS)


def _size(weight: npt.NDArray[np.generic]) -> str:
    return "x".join(map(str, weight.shape[2:]))


def _cut(
    node: onnx.NodeProto,
    graph: onnx.GraphProto,
    weight: npt.NDArray[np.generic],
    before: tuple[int, ...],
    spans: list[tuple[int, int]],
) -> list[onnx.NodeProto]:
    """Give a convolution its smaller kernel and matching pads; return nodes to insert before it."""
    axes = len(spans)
    attributes = {a.name: list(a.ints) for a in node.attribute if a.ints}
    dilations = attributes.get("dilations", [1] * axes)
    gone = [spans[i][0] for i in range(axes)] + [before[i] - spans[i][1] for i in range(axes)]
    old = attributes.get("pads", [0] * 2 * axes)
    pads = [pad - taps * dilations[i % axes] for i, (pad, taps) in enumerate(zip(old, gone, strict=True))]
    name = f"{node.input[1]}.trimmed_for.{node.output[0]}"
    graph.initializer.append(onnx.numpy_helper.from_array(weight, name))
    node.input[1] = name
    unchanged = [a for a in node.attribute if a.name not in ("kernel_shape", "pads")]
    del node.attribute[:]
    changed = {"kernel_shape": list(weight.shape[2:]), "pads": [max(0, pad) for pad in pads]}
    node.attribute.extend([*unchanged, *(onnx.helper.make_attribute(key, value) for key, value in changed.items())])
    if min(pads) >= 0:
        return []
    cropped = f"{node.output[0]}.cropped"
    # An end of 0 would select nothing, so END is used where nothing is cropped.
    bounds = {"starts": [-min(0, pad) for pad in pads[:axes]], "ends": [min(0, pad) or END for pad in pads[axes:]],
              "axes": list(range(2, 2 + axes))}  # fmt: skip
    for key, values in bounds.items():
        graph.initializer.append(onnx.numpy_helper.from_array(np.array(values), f"{cropped}.{key}"))
    crop = onnx.helper.make_node("Slice", [node.input[0], *(f"{cropped}.{key}" for key in bounds)], [cropped])
    node.input[0] = cropped
    return [crop]
