"""Cutting off the parts of convolution kernels that only ever meet padding, and means of one value."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from certify.files import replacing
from compress.passes.base import OnnxPass, PassContext, PassRecord

if TYPE_CHECKING:
    import onnx


class TrimKernels(OnnxPass):
    """Cut off the kernel taps that never meet a real value, because the feature map is smaller than the kernel.

    A network made for 224 x 224 pixels and run on 32 x 32 ends in feature maps of one value, where eight of the nine
    taps of a 3 x 3 convolution multiply padding. The outputs stay what they were, bit for bit but for the order of
    sums. Integer kernels, which multiply padding like anything else, gain time; float kernels that skip it gain size.
    A mean over such a map, which is its one value, is taken out.

    Papers: none is needed; the arithmetic is that of Dumoulin and Visin, "A guide to convolution arithmetic for deep
    learning", 2016 (arXiv 1603.07285).

    When not to use it: never harmful, but the file is then good for one input size only, as its contract states.
    """

    name: ClassVar[str] = "trim_kernels"
    version: ClassVar[int] = 1

    def apply(self, model: Path, context: PassContext) -> tuple[Path, PassRecord]:
        """See :meth:`Pass.apply`.

        Raises:
            ModelError: the file is damaged.
        """
        import onnx

        from certify.graph.load import load_model
        from compress.passes.global_pool import drop_idle_means

        loaded = onnx.shape_inference.infer_shapes(load_model(model))
        shapes = _shapes(loaded)
        trimmed: dict[str, list[str]] = {}
        taps = 0
        for node in loaded.graph.node:
            if node.op_type != "Conv" or (found := _axes(node, shapes)) is None:
                continue
            if any(axis.first > 0 or axis.last < axis.size - 1 for axis in found):
                before, after = _cut(node, loaded.graph, found)
                trimmed[node.name] = ["x".join(map(str, before[2:])), "x".join(map(str, after[2:]))]
                taps += math.prod(before) - math.prod(after)
        idle = drop_idle_means(loaded)
        if not trimmed and not idle:
            return model, PassRecord.refused("every kernel tap meets real values, and every mean several")
        _drop_unused(loaded.graph)
        written = (context.workspace or model.parent) / f"{model.stem}.trimmed.onnx"
        with replacing(written) as beside:
            onnx.save(loaded, beside)
        return written, PassRecord({"weights_removed": taps, "kernels": trimmed, "means": idle})


@dataclass(frozen=True)
class _Axis:
    """One spatial axis of a convolution: kernel size, live taps ``first`` to ``last``, and the new pads."""

    size: int
    first: int
    last: int
    pads: tuple[int, int]


def _axes(node: onnx.NodeProto, shapes: Mapping[str, tuple[int, ...]]) -> list[_Axis] | None:
    """The spatial axes of a convolution, or None where a size is not known or its kernel can't be cut."""
    import onnx

    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    taken, kernel, given = (shapes.get(name) for name in (node.input[0], f"weight {node.input[1]}", node.output[0]))
    if taken is None or kernel is None or given is None or attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
        return None
    spatial = len(kernel) - 2
    strides = attributes.get("strides", [1] * spatial)
    dilations = attributes.get("dilations", [1] * spatial)
    pads = attributes.get("pads", [0] * 2 * spatial)
    axes = [
        _axis(kernel[i + 2], taken[i + 2], given[i + 2], strides[i], pads[i], pads[i + spatial])
        for i in range(spatial)
        if min(taken[i + 2], given[i + 2]) > 0 and dilations[i] == 1
    ]
    return axes if len(axes) == spatial else None


def _axis(size: int, taken: int, given: int, stride: int, begin: int, end: int) -> _Axis:
    """Which taps meet a value: tap k reads ``o * stride + k - begin`` for each output o, real from 0 to taken - 1."""
    live = [k for k in range(size) if any(0 <= o * stride + k - begin < taken for o in range(given))]
    if not live:
        return _Axis(size, 0, size - 1, (begin, end))
    first, last = live[0], live[-1]
    kept = last - first + 1
    new_begin = begin - first
    new_end = max(0, (given - 1) * stride + kept - taken - new_begin)
    return _Axis(size, first, last, (new_begin, new_end))


def _cut(node: onnx.NodeProto, graph: onnx.GraphProto, axes: list[_Axis]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Give a convolution its own smaller weight; returns the shapes before and after."""
    import numpy as np
    import onnx

    tensor = next(t for t in graph.initializer if t.name == node.input[1])
    weight = onnx.numpy_helper.to_array(tensor)
    window = (slice(None), slice(None), *(slice(axis.first, axis.last + 1) for axis in axes))
    smaller = np.ascontiguousarray(weight[window])
    name = f"{tensor.name}.trimmed_for.{node.output[0]}"
    graph.initializer.append(onnx.numpy_helper.from_array(smaller, name))
    node.input[1] = name
    kept = [a for a in node.attribute if a.name not in ("kernel_shape", "pads")]
    pads = [axis.pads[0] for axis in axes] + [axis.pads[1] for axis in axes]
    sizes = onnx.helper.make_attribute("kernel_shape", list(smaller.shape[2:]))
    del node.attribute[:]
    node.attribute.extend([*kept, sizes, onnx.helper.make_attribute("pads", pads)])
    return weight.shape, smaller.shape


def _drop_unused(graph: onnx.GraphProto) -> None:
    used = {name for node in graph.node for name in node.input} | {output.name for output in graph.output}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _shapes(model: onnx.ModelProto) -> dict[str, tuple[int, ...]]:
    """Inferred shapes by name, and those of weights under ``weight NAME``; 0 for a dimension that is not fixed."""
    graph = model.graph
    shapes = {
        value.name: tuple(int(d.dim_value) for d in value.type.tensor_type.shape.dim)
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
    return shapes | {f"weight {tensor.name}": tuple(tensor.dims) for tensor in model.graph.initializer}
