"""Work of a graph that its outputs do not need: parts of values that nothing reads, zeros, and repetitions.

Going backwards from the outputs, each value is given the positions along each of its axes that are needed. A Slice
needs few of its input, a kernel of zeros needs none of a channel, and of repeated channels one is enough. An operator
that multiplies then needs the share of its outputs that is needed, times that of its weights in a smaller dense form.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from certify.model_file.onnx_graph.connected import connected_share
from certify.model_file.onnx_graph.constants import array_of
from certify.model_file.onnx_graph.dense import dense
from certify.model_file.onnx_graph.exempt import Exempt, Mask, Masks
from certify.model_file.onnx_graph.operators import (
    RECURRENT,
    STANDARD_DOMAINS,
    Compute,
    attribute,
    attribute_list,
    compute_of,
)
from certify.model_file.onnx_graph.positions import TRACED, gathered, selected, sliced, traced
from certify.model_file.onnx_graph.recurrent import X, needed_units
from certify.model_file.onnx_graph.shapes import infer, shape_of
from certify.model_file.onnx_graph.work import ELEMENT_MACS, macs_of

Repeats = Mapping[str, Mapping[int, npt.NDArray[np.int64]]]
"""By value and axis, the position that each position repeats: its own if none, -1 if it is constant."""

ELEMENTWISE = frozenset(
    {"Abs", "Add", "BatchNormalization", "Cast", "Clip", "DequantizeLinear", "Div", "Dropout", "Elu", "Erf", "Exp",
     "Gelu", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Log", "Max", "Mean", "Min", "Mish", "Mul", "Neg",
     "PRelu", "Pow", "QuantizeLinear", "Relu", "Selu", "Sigmoid", "Softplus", "Sqrt", "Sub", "Sum", "Tanh", "Where"}
)  # fmt: skip
WINDOWS = frozenset({"AveragePool", "LpPool", "MaxPool"})
REDUCING = frozenset({"GlobalAveragePool", "GlobalMaxPool", "ReduceMax", "ReduceMean", "ReduceSum"})


class NeededPositions:
    """Needed positions of all values of a graph.

    Args:
        model: model without functions, whose weights are initializers.
        sample: shape of one sample without the batch.
        repeats: repetitions within values.
        denormal: values with denormal numbers.
        steady: values that are the same for all samples.

    Attributes:
        masks: by value, after the walk; those of repetitions include all of them.
    """

    def __init__(
        self,
        model: onnx.ModelProto,
        sample: tuple[int, ...],
        repeats: Repeats,
        denormal: Collection[str] = (),
        steady: Collection[str] = (),
    ) -> None:
        self._model = model
        self._denormal = denormal
        self._steady = frozenset(steady)
        self._repeats = repeats
        self._axes = len(sample)
        inferred = infer(model, sample)
        self._values, self._constants = inferred.values, inferred.constants
        self._kinds = {name: kind.elem_type for name, kind in inferred.types.items()}
        self._shapes = {name: shape_of(kind) for name, kind in inferred.types.items()}
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        self.masks: dict[str, Masks] = {}

    def needless(self) -> dict[str, int]:
        """Walk backwards and return the needless cost of each operator."""
        found: dict[str, int] = {}
        for value in self._model.graph.output:
            self._need(value.name, None)
        exempt = Exempt(self._model.graph, self._weights, self._axes)
        # Nodes are sorted, so backwards every reader of a value comes before its producer.
        for node in reversed(self._model.graph.node):
            # The first output may be unnamed, or unread while others are needed.
            named = list(filter(None, node.output))
            out = next((name for name in named if name in self.masks), named[0])
            if out in self.masks:
                self.masks[out] = exempt.needed(out, self.masks[out])
            masks = self._once(out)
            if masks is None and all(name in self._shapes for name in named):
                found[out] = self._cost(node, [np.zeros(size, dtype=bool) for size in self._shapes[out]])
                continue
            inputs = None
            if masks is not None and node.op_type in RECURRENT and node.domain in STANDARD_DOMAINS:
                found[out] = self._recurrence(node)
                continue
            if masks is not None and node.op_type in TRACED and node.domain in STANDARD_DOMAINS:
                inputs = self._traced(node)
            elif masks is not None and len(node.output) == 1 and node.domain in STANDARD_DOMAINS:
                inputs = self._inputs(node, masks)
            for name in filter(None, node.input):
                self._need(name, None if inputs is None else inputs.get(name))
            if masks is not None:
                found[out] = self._cost(node, masks)
        return found

    def _need(self, name: str, masks: Masks | None) -> None:
        """Add needed positions of a value; all of them if they are unknown."""
        shape = self._shapes.get(name)
        if shape is None or name in self._weights or name in self._steady:
            return
        if masks is None or [len(mask) for mask in masks] != list(shape):
            masks = [np.ones(size, dtype=bool) for size in shape]
        before = self.masks.get(name)
        # A union over the readers: a position is needed if any of them needs it.
        self.masks[name] = masks if before is None else [a | b for a, b in zip(before, masks, strict=True)]

    def _once(self, name: str) -> Masks | None:
        """Return the needed positions of a value, one of those that repeat each other."""
        masks = self.masks.get(name)
        if masks is None:
            return None
        found = [mask.copy() for mask in masks]
        for axis, first in self._repeats.get(name, {}).items():
            mask, found[axis] = masks[axis], np.zeros_like(masks[axis])
            if len(first) == len(mask):
                found[axis][first[mask & (first >= 0)]] = True
            else:  # a batch of samples, each of which has as many slices
                found[axis][: round(len(mask) * len(np.unique(first)) / len(first))] = True
        return found

    def _cost(self, node: onnx.NodeProto, masks: Masks) -> int:
        compute = compute_of(node)
        share = math.prod(float(mask.mean()) if mask.size else 1.0 for mask in masks)
        elements = ELEMENT_MACS * math.prod(map(len, masks))
        macs = macs_of(node, self._values)
        if compute is None or macs is None:
            return round((elements + (macs or 0)) * (1 - share))
        matters = self._merged(node, compute, dense(node, compute, masks, self._weights))
        needed = share * (1.0 if matters is None else connected_share(matters, self._groups(node, masks)))
        if matters is not None and {node.input[compute.data], node.output[0]} & set(self._denormal):
            needed = 0.0
        if self._kinds.get(node.output[0]) == onnx.TensorProto.DOUBLE:
            needed /= 2  # float32 gives the same answers at half the cost
        return round(macs * (1 - needed) + elements * (1 - share))

    def _merged(self, node: onnx.NodeProto, compute: Compute, matters: Mask | None) -> Mask | None:
        """Return which weights matter if input channels that repeat each other are read once, with summed weights."""
        first = self._repeats.get(node.input[compute.data], {}).get(1)
        if matters is None or first is None or compute.kind != "conv" or len(first) != matters.shape[1]:
            return matters
        merged = np.zeros_like(matters)
        for channel, kept in enumerate(first):
            if kept >= 0:
                merged[:, kept] |= matters[:, channel]
        return merged

    def _recurrence(self, node: onnx.NodeProto) -> int:
        """Return the needless cost of a recurrence, and add what it needs of its inputs."""
        axes = {name: len(self._shapes.get(name, ())) - 1 for name in node.output}
        repeats = {
            name: self._repeats[name][axis] for name, axis in axes.items() if axis in self._repeats.get(name, ())
        }
        needed = needed_units(node, self._weights, self.masks, repeats)
        macs = macs_of(node, self._values)
        for name in filter(None, node.input):
            steps = [np.ones(size, dtype=bool) for size in self._shapes.get(name, ())[:-1]]
            self._need(name, [*steps, needed.inputs] if needed is not None and name == node.input[X] else None)
        return 0 if needed is None or macs is None else round(macs * (1 - needed.share))

    def _inputs(self, node: onnx.NodeProto, masks: Masks) -> dict[str, Masks] | None:
        """Return the positions of its inputs that a node needs; None if all of them."""
        compute = compute_of(node)
        if compute is not None:
            return self._factors(node, compute, masks)
        if node.op_type in ELEMENTWISE:
            arrays = self._arrays(node)
            return {name: self._broadcast(name, selected(node, name, masks, arrays)) for name in node.input if name}
        rules: Mapping[str, Callable[[onnx.NodeProto, Masks], Masks | None]] = {
            **dict.fromkeys(WINDOWS, self._window), **dict.fromkeys(REDUCING, self._reduced), "Slice": self._picked,
            "Gather": self._picked, "Transpose": self._transposed, "Flatten": self._reshaped,
            "Reshape": self._reshaped, "Squeeze": self._reshaped, "Unsqueeze": self._reshaped,
        }  # fmt: skip
        if node.op_type == "Concat":
            return self._joined(node, masks)
        rule = rules.get(node.op_type)
        found = None if rule is None or node.input[0] not in self._shapes else rule(node, masks)
        return None if found is None else {node.input[0]: found}

    def _arrays(self, node: onnx.NodeProto) -> dict[str, npt.NDArray[Any]]:
        weights = {name: array_of(self._weights[name]) for name in node.input if name in self._weights}
        return {
            **{name: np.asarray(self._constants[name]) for name in node.input if name in self._constants},
            **weights,
        }

    def _traced(self, node: onnx.NodeProto) -> dict[str, Masks] | None:
        shape = self._shapes.get(node.input[0])
        needed = {i: masks for i, name in enumerate(node.output) if (masks := self._once(name)) is not None}
        found = None if shape is None else traced(node, shape, needed, self._arrays(node))
        return None if found is None else {node.input[0]: found}

    def _factors(self, node: onnx.NodeProto, compute: Compute, masks: Masks) -> dict[str, Masks] | None:
        data = node.input[compute.data]
        matters, shape = dense(node, compute, masks, self._weights), self._shapes.get(data)
        if matters is None or shape is None:
            return None
        if compute.kind == "conv":
            groups = attribute(node, "group", 1)
            channels = np.zeros((groups, shape[1] // groups), dtype=bool)
            np.logical_or.at(channels, self._groups(node, masks), matters.any(axis=tuple(range(2, matters.ndim))))
            spatial = self._window(node, masks)
            return None if spatial is None else {data: [masks[0], channels.reshape(-1), *spatial[2:]]}
        if compute.kind == "conv_transpose":
            read: Mask = np.asarray(matters.any(axis=(0, *range(2, matters.ndim))))
            return {data: [masks[0], read, *(np.ones(size, dtype=bool) for size in shape[2:])]}
        if compute.kind == "gemm" and attribute(node, "transA", 0) or len(masks) != len(shape):
            return None
        return {data: [*masks[:-1], np.asarray(matters.any(axis=0))]}

    def _groups(self, node: onnx.NodeProto, masks: Masks) -> npt.NDArray[np.int64]:
        """Return the group of each needed output of a layer; only convolutions have more than one."""
        groups = attribute(node, "group", 1)
        outputs = masks[1 if "Conv" in node.op_type else -1]
        return np.flatnonzero(outputs) // (len(outputs) // groups)

    def _broadcast(self, name: str, masks: Masks) -> Masks:
        shape = self._shapes.get(name, ())
        own = masks[len(masks) - len(shape) :]
        return [m if len(m) == size else np.ones(size, dtype=bool) for m, size in zip(own, shape, strict=False)]

    def _window(self, node: onnx.NodeProto, masks: Masks) -> Masks | None:
        """Return the needed inputs of a convolution or pooling, the channels as they are."""
        ints = {a.name: list(a.ints) for a in node.attribute if a.ints}
        auto = next((a.s for a in node.attribute if a.name == "auto_pad"), b"NOTSET")
        shape, axes = self._shapes[node.input[0]], len(masks) - 2
        kernel = ints.get("kernel_shape") or list(self._shapes.get(node.input[-1], ()))[2:]
        if (compute := compute_of(node)) is not None:
            kernel = list(self._shapes.get(node.input[compute.weight], ()))[2:]
        if auto != b"NOTSET" or len(kernel) != axes or len(shape) != len(masks):
            return None
        found = list(masks[:2])
        for axis in range(axes):
            stride, dilation = (ints.get(name, [1] * axes)[axis] for name in ("strides", "dilations"))
            starts = np.flatnonzero(masks[axis + 2]) * stride - ints.get("pads", [0] * 2 * axes)[axis]
            read = (starts[:, None] + dilation * np.arange(kernel[axis])).reshape(-1)
            mask = np.zeros(shape[axis + 2], dtype=bool)
            mask[read[(read >= 0) & (read < len(mask))]] = True
            found.append(mask)
        return found

    def _reduced(self, node: onnx.NodeProto, masks: Masks) -> Masks | None:
        shape = self._shapes[node.input[0]]
        if len(shape) != len(masks):
            return self._reshaped(node, masks) if math.prod(shape) == math.prod(map(len, masks)) else None
        return self._broadcast(node.input[0], masks)

    def _picked(self, node: onnx.NodeProto, masks: Masks) -> Masks | None:
        pick = sliced if node.op_type == "Slice" else gathered
        return pick(node, self._shapes[node.input[0]], masks, self._constants)

    def _transposed(self, node: onnx.NodeProto, masks: Masks) -> Masks | None:
        order = attribute_list(node, "perm") or list(range(len(masks)))[::-1]
        return [masks[order.index(axis)] for axis in range(len(masks))]

    def _reshaped(self, node: onnx.NodeProto, masks: Masks) -> Masks | None:
        """Return the masks of a value that only has other axes of size 1."""
        shape = self._shapes[node.input[0]]
        real = [mask for mask in masks if len(mask) != 1]
        # Other reshapes mix positions of several axes, so all of them count as needed.
        if [len(mask) for mask in real] != [size for size in shape if size != 1]:
            return None
        rest: Iterator[Mask] = iter(real)
        return [next(rest) if size != 1 else np.ones(1, dtype=bool) for size in shape]

    def _joined(self, node: onnx.NodeProto, masks: Masks) -> dict[str, Masks] | None:
        axis = attribute(node, "axis", 0) % len(masks)
        found: dict[str, Masks] = {}
        start = 0
        for name in node.input:
            if name not in self._shapes or name in found:
                return None
            end = start + self._shapes[name][axis]
            found[name] = [*masks[:axis], masks[axis][start:end], *masks[axis + 1 :]]
            start = end
        return found
