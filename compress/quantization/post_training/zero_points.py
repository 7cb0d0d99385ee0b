"""Weight zero points of 1, which make ONNX Runtime run convolutions as matrix products and so on AMX.

On processors with AMX, ONNX Runtime 1.32 runs matrix products of bytes on it, but not convolutions: those with
symmetric weights have their own kernels, for VNNI. A weight zero point other than 0, the same for all channels, avoids
these kernels (onnxruntime/core/providers/cpu/quantization/qlinearconv.cc). Wide products gain from that, and thin ones
lose because inputs are gathered first, so each layer is timed both ways. Codes move up by 1 with their zero point; only
a code of 127 loses a step.

Wrong results of such convolutions were reported from machines with AMX
(https://github.com/microsoft/onnxruntime/issues/26324): a layer is only moved if integers agree with floats on this
machine.
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
"""Returns the time of a layer with zero point 1 as a share of that with 0."""
LayerCheck = Callable[["Layer"], str | None]
"""Returns why a layer with zero point 1 cannot be trusted here, or None if it can."""

RUNTIME = "onnxruntime-cpu"
HIGHEST = 127
ROUNDED = 1
"""Codes by which floats and integers may differ, since ties may round differently."""


@dataclass(frozen=True)
class Layer:
    """A single convolution from codes to codes, with both zero points.

    Attributes:
        name: name of the node.
        plain: model with weight zero point 0.
        moved: model with weight zero point 1.
        shape: shape of one sample of codes, (1, C, ...).
        kind: integer type of the codes.
    """

    name: str
    plain: onnx.ModelProto
    moved: onnx.ModelProto
    shape: tuple[int, ...]
    kind: np.dtype[Any]

    def codes(self, seed: int = 0) -> Array:
        """Return random input codes."""
        limits = np.iinfo(self.kind)
        drawn = np.random.default_rng(seed).integers(limits.min, limits.max, self.shape, endpoint=True)
        return drawn.astype(self.kind)


def move_zero_points(
    model: onnx.ModelProto, timer: LayerTimer, check: LayerCheck
) -> tuple[dict[str, float], dict[str, str]]:
    """Set the weight zero point of convolutions that run faster that way to 1, in place.

    Args:
        model: quantized model with Q/DQ pairs.
        timer: called once for layers of equal sizes.
        check: called for each layer that is faster.

    Returns:
        Share of the time of each moved layer, and the reason for each untrusted one, by name.
    """
    moved: dict[str, float] = {}
    distrusted: dict[str, str] = {}
    known: dict[tuple[Any, ...], Estimate] = {}
    for layer, sizes in _layers(model):
        if sizes not in known:
            known[sizes] = timer(layer)
        # Use the upper end of the interval, because a gain that may be noise is not worth a step of precision.
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
        ModelError: the runtime cannot load it.
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
        ModelError: ONNX Runtime cannot load or run it.
    """
    feed = {layer.moved.graph.input[0].name: layer.codes(1)}
    # Without fusion the runtime dequantizes and multiplies floats, which no integer kernel can falsify.
    floats, integers = (
        run(session(layer.moved, fused=fused, as_here=True), None, feed)[0].astype(int) for fused in (False, True)
    )
    off = int(np.abs(floats - integers).max(initial=0))
    return None if off <= ROUNDED else f"this machine's integers are off by {off} codes with a weight zero point of 1"


def _layers(model: onnx.ModelProto) -> Iterator[tuple[Layer, tuple[Any, ...]]]:
    """Yield convolutions between integers, each with everything that its time depends on."""
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
        sample = (1, *shape[1:])
        plain = _alone(graph, node, parts, sample)
        moved = onnx.ModelProto()
        moved.CopyFrom(plain)
        alone = Graph(moved)
        _move(alone, next(each for each in alone.nodes if weight.name in each.input))
        settings = attributes(node)
        sizes = (*weight.dims, *sample, *(str(settings.get(key)) for key in ("strides", "pads", "dilations")))
        yield Layer(node.name, plain, moved, sample, zero.dtype), sizes


def _parts(graph: Graph, node: onnx.NodeProto) -> tuple[onnx.NodeProto, ...] | None:
    """Return the nodes around a convolution: before its input, weight and bias, and the rounding after it."""
    around = [graph.producers.get(name) for name in node.input]
    after = graph.only_consumer(node.output[0])
    before = [producer for producer in around if producer is not None]
    if len(before) < len(around) or after is None or after.op_type != "QuantizeLinear":
        return None
    if any(producer.op_type != "DequantizeLinear" for producer in before):
        return None
    return (*before, after)


def _plain(graph: Graph, restored: onnx.NodeProto) -> bool:
    """Return whether a weight is signed, with zero point 0 and no other reader."""
    codes = graph.constant(restored.input[0])
    zero = graph.constant(restored.input[2]) if len(restored.input) > 2 else np.zeros(())
    alone = graph.only_consumer(restored.input[0]) is not None
    return alone and codes is not None and codes.dtype == np.int8 and zero is not None and not zero.any()


def _alone(
    graph: Graph, node: onnx.NodeProto, parts: tuple[onnx.NodeProto, ...], shape: tuple[int, ...]
) -> onnx.ModelProto:
    """Return one convolution as a model from codes to codes."""
    before, after = parts[0], parts[-1]
    nodes = [*parts[:-1], node, after]
    read = {name for each in nodes for name in each.input if name in graph.tensors}
    kind = graph.tensors[before.input[2]].data_type
    inputs = [onnx.helper.make_tensor_value_info(before.input[0], kind, shape)]
    outputs = [onnx.helper.make_tensor_value_info(after.output[0], kind, None)]
    layer = onnx.helper.make_graph(nodes, "layer", inputs, outputs, [graph.tensors[name] for name in sorted(read)])
    return onnx.helper.make_model(layer, opset_imports=graph.model.opset_import, ir_version=graph.model.ir_version)


def _move(graph: Graph, restored: onnx.NodeProto) -> None:
    """Move the codes of a weight and their zero point up by 1."""
    codes, scale = graph.constant(restored.input[0]), graph.constant(restored.input[1])
    if codes is None or scale is None:
        raise ValueError(f"the weight of '{restored.name}' is not a constant")
    # Convert first, because 127 + 1 overflows int8.
    graph.set(restored, 0, np.minimum(codes.astype(np.int16) + 1, HIGHEST).astype(np.int8))
    graph.set(restored, 2, np.ones(scale.shape, np.int8))
