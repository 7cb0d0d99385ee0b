"""Weight zero points of 1, which send convolutions through ONNX Runtime's matrix products and so onto AMX.

Where a processor has AMX, ONNX Runtime 1.32 runs matrix products of bytes on it, but no convolution: those of symmetric
weights have kernels of their own, for VNNI. A weight zero point other than 0, the same for all channels, takes a
convolution off them (onnxruntime/core/providers/cpu/quantization/qlinearconv.cc). Wide products gain from that, and
thin ones lose by the gathering before, so each layer is timed both ways. Codes move up by 1 with their zero point; only
a code of 127 loses a step.

Wrong results of such convolutions were reported from machines with AMX
(https://github.com/microsoft/onnxruntime/issues/26324): a layer is moved only where this machine's integers agree with
its floats.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from certify.core.estimate import Estimate
from compress.core import onnx_file
from compress.core.onnx_session import run, session
from compress.core.timing import Feeding, time_share
from compress.onnx_graph.graph import Array, Graph, attributes

LayerTimer = Callable[["Layer"], Estimate]
"""The time of a layer with zero point 1 over that with 0."""
LayerCheck = Callable[["Layer"], str | None]
"""Why a layer with zero point 1 can't be trusted here; None where it can."""

RUNTIME = "onnxruntime-cpu"
HIGHEST = 127
ROUNDED = 1
"""Codes by which floats and integers may differ, since sums round apart at ties."""


@dataclass(frozen=True)
class Layer:
    """A convolution by itself, of codes to codes, with both zero points.

    Attributes:
        name: of the node.
        plain: with weight zero point 0.
        moved: with weight zero point 1.
        shape: of one sample of codes, (1, C, ...).
        kind: integer type of the codes.
    """

    name: str
    plain: onnx.ModelProto
    moved: onnx.ModelProto
    shape: tuple[int, ...]
    kind: np.dtype[Any]

    def codes(self, seed: int = 0) -> Array:
        """Any codes that it can read."""
        limits = np.iinfo(self.kind)
        drawn = np.random.default_rng(seed).integers(limits.min, limits.max, self.shape, endpoint=True)
        return drawn.astype(self.kind)


def move_zero_points(
    model: onnx.ModelProto, timer: LayerTimer, check: LayerCheck
) -> tuple[dict[str, float], dict[str, str]]:
    """Give the weights of convolutions that are faster so the zero point 1, in place.

    Args:
        model: quantized, with Q/DQ pairs.
        timer: asked once for layers of the same sizes.
        check: asked of each layer that is faster.

    Returns:
        Share of the time by the name of each layer that was moved, and the reason by that of each that was not trusted.
    """
    moved: dict[str, float] = {}
    distrusted: dict[str, str] = {}
    known: dict[tuple[Any, ...], Estimate] = {}
    for layer, sizes in _layers(model):
        if sizes not in known:
            known[sizes] = timer(layer)
        if known[sizes].high >= 1:
            continue
        if (reason := check(layer)) is not None:
            distrusted[layer.name] = reason
            continue
        moved[layer.name] = known[sizes].value
    graph = Graph(model)
    for node in graph.nodes:
        if node.name in moved:
            _move(graph, graph.producers[node.input[1]])
    return moved, distrusted


def time_layer(layer: Layer) -> Estimate:
    """Time a layer both ways in ONNX Runtime, each in a process of its own.

    Raises:
        ModelError: the runtime can't load it.
        MeasureError: a process ended or did not answer.
    """
    ports = (layer.plain.graph.input[0].name,), layer.plain.graph.output[0].name
    feeding = Feeding(*ports, layer.codes(), 1, layer.shape)
    with tempfile.TemporaryDirectory(prefix="leanmark-layer-") as folder:
        plain, moved = Path(folder, "plain.onnx"), Path(folder, "moved.onnx")
        onnx_file.save(layer.plain, plain)
        onnx_file.save(layer.moved, moved)
        return time_share(plain, moved, RUNTIME, feeding)


def check_layer(layer: Layer) -> str | None:
    """Compare a layer's integer kernel with the same codes multiplied in floats, on this machine.

    Raises:
        ModelError: ONNX Runtime can't load or run it.
    """
    feed = {layer.moved.graph.input[0].name: layer.codes(1)}
    floats, integers = (run(session(layer.moved, fused=fused), None, feed)[0].astype(int) for fused in (False, True))
    off = int(np.abs(floats - integers).max(initial=0))
    return None if off <= ROUNDED else f"this machine's integers are off by {off} codes with a weight zero point of 1"


def _layers(model: onnx.ModelProto) -> Iterator[tuple[Layer, tuple[Any, ...]]]:
    """Convolutions between integers, each with what its time depends on."""
    shaped = onnx.ModelProto()
    shaped.CopyFrom(model)
    onnx_file.infer_shapes(shaped)
    graph = Graph(shaped)
    for node in graph.nodes:
        if node.op_type != "Conv" or attributes(node).get("group", 1) != 1:
            continue
        parts = _parts(graph, node)
        shape = graph.shape(node.input[0])
        if parts is None or shape is None or not all(shape[1:]) or not _plain(graph, parts[1]):
            continue
        zero = graph.constant(parts[0].input[2])
        weight = graph.tensors[parts[1].input[0]]
        if zero is None:
            continue
        one = (1, *shape[1:])
        plain = _alone(graph, node, parts, one)
        moved = onnx.ModelProto()
        moved.CopyFrom(plain)
        alone = Graph(moved)
        _move(alone, next(each for each in alone.nodes if weight.name in each.input))
        given = attributes(node)
        sizes = (*weight.dims, *one, *(str(given.get(key)) for key in ("strides", "pads", "dilations")))
        yield Layer(node.name, plain, moved, one, zero.dtype), sizes


def _parts(graph: Graph, node: onnx.NodeProto) -> tuple[onnx.NodeProto, ...] | None:
    """What stands around a convolution: before its input, its weight and its bias, and the rounding behind it."""
    around = [graph.producers.get(name) for name in node.input]
    after = graph.only_consumer(node.output[0])
    before = [one for one in around if one is not None]
    if len(before) < len(around) or after is None or after.op_type != "QuantizeLinear":
        return None
    if any(one.op_type != "DequantizeLinear" for one in before):
        return None
    return (*before, after)


def _plain(graph: Graph, restored: onnx.NodeProto) -> bool:
    """Whether a weight is signed, has the zero point 0 and no other reader."""
    zero = graph.constant(restored.input[2]) if len(restored.input) > 2 else None
    alone = graph.only_consumer(restored.input[0]) is not None
    return alone and zero is not None and zero.dtype == np.int8 and not zero.any()


def _alone(
    graph: Graph, node: onnx.NodeProto, parts: tuple[onnx.NodeProto, ...], shape: tuple[int, ...]
) -> onnx.ModelProto:
    """One convolution as a model of codes to codes."""
    before, after = parts[0], parts[-1]
    nodes = [*parts[:-1], node, after]
    read = {name for each in nodes for name in each.input if name in graph.tensors}
    kind = graph.tensors[before.input[2]].data_type
    inputs = [onnx.helper.make_tensor_value_info(before.input[0], kind, shape)]
    outputs = [onnx.helper.make_tensor_value_info(after.output[0], kind, None)]
    made = onnx.helper.make_graph(nodes, "layer", inputs, outputs, [graph.tensors[name] for name in sorted(read)])
    return onnx.helper.make_model(made, opset_imports=graph.model.opset_import, ir_version=graph.model.ir_version)


def _move(graph: Graph, restored: onnx.NodeProto) -> None:
    """Move the codes of a weight and their zero point up by 1."""
    codes, zero = graph.constant(restored.input[0]), graph.constant(restored.input[2])
    if codes is None or zero is None:
        raise ValueError(f"the weight of '{restored.name}' is not a constant")
    graph.set(restored, 0, np.minimum(codes.astype(np.int16) + 1, HIGHEST).astype(np.int8))
    graph.set(restored, 2, np.ones_like(zero))
