"""An ONNX graph indexed by the names of its values, and running it with additional outputs."""

from __future__ import annotations

import copy
import hashlib
import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from certify.core.suggest import unknown_name
from compress.core import onnx_file, onnx_session
from compress.core.onnx_reads import drop_unread, names_read, reads, subgraphs

Array = npt.NDArray[Any]
Feed = Mapping[str, Array]

COMPUTE = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators with weights, the targets of quantization."""
# Means an exact result, because JSON has no infinity.
MOST_DB = 1000.0
PART = 1 << 20
"""Elements that are compared at a time, as doubles."""


class Graph:
    """A model's graph, indexed by the names of its values; constants are changed in place.

    Args:
        model: model whose constants are initializers, as after
            :func:`compress.quantization.post_training.prepare.prepared`.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self.outputs = {value.name for value in model.graph.output}
        for node in self.nodes:  # a value read by a branch or loop counts as an output
            self.outputs.update(*map(names_read, subgraphs(node)))
        self.producers = {name: node for node in self.nodes for name in node.output}
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self.consumers.setdefault(name, []).append(node)
        values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
        self.types = {value.name: value.type.tensor_type for value in values}

    def constant(self, name: str) -> Array | None:
        """Return the values of an initializer, or None if the name is not a constant."""
        tensor = self.tensors.get(name)
        return None if tensor is None else onnx.numpy_helper.to_array(tensor)

    def weight(self, node: onnx.NodeProto) -> Array | None:
        """Return the constant second input of a multiplying operator, or None without one."""
        if node.op_type not in COMPUTE or len(node.input) < 2:
            return None
        return self.constant(node.input[1])

    def weighted(self) -> list[onnx.NodeProto]:
        """Return the multiplying operators with constant weights, in the order of the graph."""
        return [node for node in self.nodes if node.op_type in COMPUTE and self.has_weight(node)]

    def has_weight(self, node: onnx.NodeProto) -> bool:
        """Return whether the second input is a constant."""
        return len(node.input) > 1 and node.input[1] in self.tensors

    def set(self, node: onnx.NodeProto, index: int, values: Array) -> None:
        """Replace the values of a node's constant input; other nodes that share the constant keep theirs."""
        name = node.input[index] if index < len(node.input) else ""
        alone = name in self.tensors and len(self.consumers[name]) == 1 and list(node.input).count(name) == 1
        if alone and name not in self.outputs:
            self.tensors[name].CopyFrom(onnx.numpy_helper.from_array(values, name))
            return
        own = f"{name or node.output[0]}.of.{node.output[0]}.{index}"
        self.model.graph.initializer.append(onnx.numpy_helper.from_array(values, own))
        self.tensors[own] = self.model.graph.initializer[-1]
        self.consumers[own] = [node]
        if name in self.consumers:
            self.consumers[name] = [other for other in self.consumers[name] if other is not node]
        # Optional inputs that are missing in between are empty names in ONNX.
        node.input.extend([""] * (index + 1 - len(node.input)))
        node.input[index] = own

    def only_consumer(self, name: str) -> onnx.NodeProto | None:
        """Return the only node that reads a value, or None if several nodes read it or it is an output of the graph."""
        readers = self.consumers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Return the shape of a value, with 0 for dimensions that are not fixed; None if the rank is unknown."""
        if name in self.tensors:
            return tuple(self.tensors[name].dims)
        kind = self.types.get(name)
        if kind is None or not kind.HasField("shape"):
            return None
        return tuple(int(dim.dim_value) for dim in kind.shape.dim)

    def is_float(self, name: str) -> bool:
        """Return whether a computed value holds 32- or 16-bit floats."""
        kind = self.types.get(name)
        floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
        return kind is not None and name not in self.tensors and kind.elem_type in floats


def node_label(node: onnx.NodeProto) -> str:
    """Return the display name of a node: its name, or its first output if the exporter left the name empty.

    Example:
        >>> node_label(onnx.helper.make_node("Relu", ["x"], ["y"]))
        'y'
    """
    return str(node.name or node.output[0])


def sort_nodes(graph: onnx.GraphProto) -> None:
    """Sort nodes topologically, in place; nodes that are in order keep their positions."""
    # Copied first: deleting from a repeated field destroys its messages.
    nodes = [copy.deepcopy(node) for node in graph.node]
    makers = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    waits = [{makers[name] for name in reads(node) if name in makers} for node in nodes]
    followers: dict[int, list[int]] = {}
    for index, before in enumerate(waits):
        for each in before:
            followers.setdefault(each, []).append(index)
    # A heap by position keeps nodes where they are if they are already in order.
    ready = [index for index, before in enumerate(waits) if not before]
    del graph.node[:]
    while ready:
        index = heapq.heappop(ready)
        graph.node.append(nodes[index])
        for follower in followers.get(index, ()):
            waits[follower].discard(index)
            if not waits[follower]:
                heapq.heappush(ready, follower)


def share_constants(graph: onnx.GraphProto) -> None:
    """Let nodes read one of several equal initializers, and remove the others, in place."""
    first: dict[tuple[Any, ...], str] = {}
    same = {}
    replaceable = {value.name for value in graph.input}  # by whoever runs the model
    for tensor in graph.initializer:
        if tensor.name in replaceable:
            continue
        digest = hashlib.sha256(onnx.numpy_helper.to_array(tensor).tobytes()).digest()
        same[tensor.name] = first.setdefault((tensor.data_type, *tensor.dims, digest), tensor.name)
    for node in graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = same.get(name, name)
    drop_unread(graph)


def require_nodes(graph: Graph, names: Iterable[str]) -> None:
    """Reject names that no node has.

    Raises:
        UsageError: there is no such node; the nearest name is given.
    """
    known = [node.name for node in graph.nodes]
    for name in names:
        if name not in known:
            raise unknown_name("node in keep_nodes", name, known)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Return the attributes of a node by name."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def opset(model: onnx.ModelProto) -> int:
    """Return the version of the standard operator set."""
    return next(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def over_first_axis(model: onnx.ModelProto, kind: str, source: str, output: str) -> onnx.NodeProto:
    """Build a reduction (``ReduceMean``, ``ReduceMax``) over the first axis, which is kept with length 1.

    Its axes are the constant ``leanmark.first`` if the model's operator set has them as an input.
    """
    if opset(model) >= 18:
        return onnx.helper.make_node(kind, [source, "leanmark.first"], [output], keepdims=1)
    return onnx.helper.make_node(kind, [source], [output], keepdims=1, axes=[0])


def integer_tensors(values: Mapping[str, Array]) -> list[onnx.TensorProto]:
    """Build constants that hold shapes, axes and steps."""
    return [onnx.numpy_helper.from_array(value.astype(np.int64), name) for name, value in values.items()]


def count_types(graph: onnx.GraphProto) -> dict[str, int]:
    """Count the operators of each type in a graph."""
    counts: dict[str, int] = {}
    for node in graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return dict(sorted(counts.items()))


def probe(
    model: onnx.ModelProto,
    outputs: Sequence[str],
    feeds: Iterable[Feed],
    nodes: Sequence[onnx.NodeProto] = (),
    tensors: Sequence[onnx.TensorProto] = (),
    *,
    as_here: bool = False,
) -> Iterator[dict[str, Array]]:
    """Run a model with additional operators; only the requested values leave the runtime.

    Args:
        model: model to run; not modified.
        outputs: requested values, of the model or of ``nodes``.
        feeds: inputs, one batch at a time.
        nodes: operators that read values of the model.
        tensors: constants of ``nodes``.
        as_here: see :func:`compress.core.onnx_session.session`.

    Yields:
        For each feed, the requested values by name.

    Raises:
        ModelError: ONNX Runtime cannot load or run the model.
    """
    running = _probing(model, outputs, nodes, tensors, as_here)
    for feed in feeds:
        yield dict(zip(outputs, onnx_session.run(running, outputs, feed), strict=True))


def _probing(
    model: onnx.ModelProto,
    outputs: Sequence[str],
    nodes: Sequence[onnx.NodeProto],
    tensors: Sequence[onnx.TensorProto],
    as_here: bool,
) -> Any:
    """Open a session of a model with additional operators and other outputs, without copying the weights."""
    # Calibration, smoothing and bias correction each open sessions on the same weights.
    probed, weights = onnx_file.split(model)
    graph, wanted = probed.graph, [onnx.ValueInfoProto(name=name) for name in outputs]
    own, before = (len(graph.node), len(graph.initializer)), list(graph.output)
    graph.node.extend(nodes)
    graph.initializer.extend(tensors)
    _replace(graph.output, wanted)
    try:
        return onnx_session.opened(probed, weights, as_here=as_here)
    finally:  # restore the model, which was modified temporarily
        _replace(graph.output, before)
        del graph.node[own[0] :]
        del graph.initializer[own[1] :]


def _replace(values: Any, wanted: Sequence[onnx.ValueInfoProto]) -> None:
    copied = [copy.deepcopy(value) for value in wanted]
    del values[:]
    values.extend(copied)


def signal_to_noise_db(wanted: Array, found: Array) -> float:
    """Return the power of a signal over the power of its error, in decibels, limited to +-1,000.

    Example:
        >>> signal_to_noise_db(np.array([10.0]), np.array([9.0]))
        20.0
    """
    error = power = 0.0
    parts = 1 + wanted.size // PART
    for signal, value in zip(np.array_split(wanted.ravel(), parts), np.array_split(found.ravel(), parts), strict=True):
        # In parts and in doubles: float32 sums lose precision, and doubles of a large output at once take twice its
        # memory.
        error += float(np.square(signal - value, dtype=np.float64).sum())
        power += float(np.square(signal, dtype=np.float64).sum())
    if error == 0 or power == 0:
        return MOST_DB if error == 0 else -MOST_DB
    return 10 * float(np.log10(power / error))
