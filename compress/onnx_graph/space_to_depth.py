"""Space-to-depth layout of the first convolution, so that integer kernels gather fewer and longer pieces."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from certify.model_file.onnx_graph.load import load_model
from compress.core import onnx_file
from compress.core.pass_protocol import Declined, PassRecord
from compress.onnx_graph.graph import Graph, attributes, node_label
from compress.onnx_graph.scopes import FLOAT_PARTS, chosen_earlier

FEW = 4
"""Largest number of input channels for which a kernel's gathering costs more than its multiplying."""
STAYS_FLOAT = "it stays in floats, whose kernels read images directly"


def first_layers_by_blocks(
    path: Path, folder: Path | None, earlier: Sequence[Mapping[str, Any]] = ()
) -> tuple[Path, PassRecord]:
    """Write a file whose first convolutions read blocks of pixels; return the given file, declined, if none can.

    Args:
        path: path of an ONNX file.
        folder: folder of the new file; that of the given one if None.
        earlier: records of the earlier passes; convolutions that they chose to stay float stay as they are.

    Raises:
        ModelError: the file is damaged.
    """
    loaded = load_model(path)
    onnx_file.infer_shapes(loaded)
    graph = Graph(loaded)
    inputs = {value.name for value in graph.model.graph.input}
    floats = {name for names in chosen_earlier(loaded, earlier, FLOAT_PARTS).values() for name in names}
    kernels: dict[str, list[str]] = {}
    declined: list[Declined] = []
    for node in graph.nodes:
        if node.op_type != "Conv" or node.input[0] not in inputs:
            continue
        layout = STAYS_FLOAT if node.name in floats else _layout(node, graph)
        name = node_label(node)
        if isinstance(layout, str):
            declined.append(Declined(name, layout))
        else:
            kernels[name] = _rewrite(node, graph, layout)
    if not kernels:
        reasons = "; ".join(f"{each.what}: {each.why}" for each in declined)
        return path, PassRecord.refused(reasons or "no convolution reads the input")
    del graph.model.graph.value_info[:]  # it states the weights' old shapes
    written = (folder or path.parent) / f"{path.stem}.blocks.onnx"
    onnx_file.save(graph.model, written)
    return written, PassRecord({"kernels": kernels}, tuple(declined))


@dataclass(frozen=True)
class _Layout:
    """The new layout of one convolution.

    Attributes:
        block: side of a block, the old stride.
        lead: zeros before the old kernel, per axis, so that its padding is whole blocks.
        size: size of the new kernel, in blocks, per axis.
        pads: padding of the new convolution, in blocks: begins, then ends.
    """

    block: int
    lead: tuple[int, ...]
    size: tuple[int, ...]
    pads: tuple[int, ...]


def _layout(node: onnx.NodeProto, graph: Graph) -> _Layout | str:
    """Return the new layout, or why there is none."""
    defaults: dict[str, Any] = {"group": 1, "auto_pad": b"NOTSET", "dilations": [1, 1], "pads": [0] * 4}
    settings = defaults | attributes(node)
    weight = graph.constant(node.input[1])
    inputs, outputs = graph.shape(node.input[0]), graph.shape(node.output[0])
    block = settings.get("strides", [1])[0]
    if weight is None or weight.ndim != 4 or inputs is None or outputs is None or min(*inputs[1:], *outputs[1:]) < 1:
        return "its weights or sizes are not fixed"
    if block < 2 or weight.shape[1] > FEW or min(weight.shape[2:]) <= block:
        return f"it has a stride of 1, more than {FEW} input channels or a kernel that fits one block"
    plain = settings["group"] == 1 and settings["auto_pad"] == b"NOTSET" and set(settings["dilations"]) == {1}
    if not plain or set(settings["strides"]) != {block} or any(side % block for side in inputs[2:]):
        return "it is grouped or dilated, uses auto_pad, or has sides that are not a multiple of its stride"
    # Padding is rounded up to whole blocks; the excess becomes zeros in front of the kernel.
    lead = tuple(-begin % block for begin in settings["pads"][:2])
    size = tuple(math.ceil((kernel + extra) / block) for kernel, extra in zip(weight.shape[2:], lead, strict=True))
    begins = tuple(math.ceil(begin / block) for begin in settings["pads"][:2])
    # Chosen so that the output keeps its size.
    ends = tuple(outputs[2 + i] - 1 + size[i] - begins[i] - inputs[2 + i] // block for i in range(2))
    return _Layout(block, lead, size, (*begins, *ends))


def _rewrite(node: onnx.NodeProto, graph: Graph, layout: _Layout) -> list[str]:
    """Insert SpaceToDepth before a convolution; return its weight's shape before and after, as text."""
    weight = onnx.numpy_helper.to_array(graph.tensors[node.input[1]])
    block, (rows, columns) = layout.block, layout.size
    outputs, inputs = weight.shape[:2]
    filled = np.zeros((outputs, inputs, rows * block, columns * block), weight.dtype)
    # Zeros in front shift the old kernel to where it reads the same pixels under the rounded-up padding.
    top, left = layout.lead
    filled[:, :, top : top + weight.shape[2], left : left + weight.shape[3]] = weight
    # SpaceToDepth orders its channels as (row in the block, column in the block, channel)
    split = filled.reshape(outputs, inputs, rows, block, columns, block).transpose(0, 3, 5, 1, 2, 4)
    folded = np.ascontiguousarray(split.reshape(outputs, block * block * inputs, rows, columns))
    graph.set(node, 1, folded)
    blocks = f"{node.output[0]}.blocks"
    before = onnx.helper.make_node("SpaceToDepth", [node.input[0]], [blocks], f"{node.name}.blocks", blocksize=block)
    nodes = graph.model.graph.node
    nodes.insert(list(nodes).index(node), before)
    node.input[0] = blocks
    unchanged = [a for a in node.attribute if a.name not in ("kernel_shape", "pads", "strides")]
    changed = {"kernel_shape": list(layout.size), "pads": list(layout.pads), "strides": [1, 1]}
    del node.attribute[:]
    node.attribute.extend([*unchanged, *(onnx.helper.make_attribute(key, value) for key, value in changed.items())])
    return ["x".join(map(str, shape)) for shape in (weight.shape, folded.shape)]
