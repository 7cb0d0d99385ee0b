"""An ONNX graph with its constants, producers and consumers by name, and running it with more outputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from certify.core.errors import ModelError
from certify.core.suggest import unknown_name
from compress.core import onnx_file

Array = npt.NDArray[Any]
Feed = Mapping[str, Array]

COMPUTE = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators with weights, whose cost is what quantization is for."""
MOST_DB = 1000.0
PROVIDERS = ("CPUExecutionProvider",)


class Graph:
    """A model's graph, looked up by the names of its values; constants are changed in place.

    Args:
        model: whose constants are initializers
            (:func:`compress.quantization.post_training.prepare.prepared` makes them so).
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes = list(model.graph.node)
        self.tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self.outputs = {value.name for value in model.graph.output}
        for node in self.nodes:  # what branches and loops read counts as leaving the graph
            self.outputs |= {name for each in node.attribute for name in _captured(each)}
        self.producers = {name: node for node in self.nodes for name in node.output}
        self.consumers: dict[str, list[onnx.NodeProto]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(node.input):
                self.consumers.setdefault(name, []).append(node)
        values = (*model.graph.input, *model.graph.value_info, *model.graph.output)
        self.types = {value.name: value.type.tensor_type for value in values}

    def constant(self, name: str) -> Array | None:
        """Values of an initializer; None where the name is no constant."""
        tensor = self.tensors.get(name)
        return None if tensor is None else onnx.numpy_helper.to_array(tensor)

    def weight(self, node: onnx.NodeProto) -> Array | None:
        """Constant second input of a multiplying operator; None where it has none or is none."""
        if node.op_type not in COMPUTE or len(node.input) < 2:
            return None
        return self.constant(node.input[1])

    def weighted(self) -> list[onnx.NodeProto]:
        """Multiplying operators with constant weights, in the order of the graph."""
        return [node for node in self.nodes if node.op_type in COMPUTE and self.has_weight(node)]

    def has_weight(self, node: onnx.NodeProto) -> bool:
        """Whether the second input is a constant."""
        return len(node.input) > 1 and node.input[1] in self.tensors

    def set(self, node: onnx.NodeProto, index: int, values: Array) -> None:
        """Give a node other values for a constant input; a constant that other nodes share stays theirs."""
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
        node.input.extend([""] * (index + 1 - len(node.input)))
        node.input[index] = own

    def only_consumer(self, name: str) -> onnx.NodeProto | None:
        """The one node that reads a value; None where several do, or where it is an output of the graph."""
        readers = self.consumers.get(name, [])
        return readers[0] if len(readers) == 1 and name not in self.outputs else None

    def shape(self, name: str) -> tuple[int, ...] | None:
        """Shape of a value, 0 for a dimension that is not fixed; None where not even the rank is known."""
        if name in self.tensors:
            return tuple(self.tensors[name].dims)
        kind = self.types.get(name)
        if kind is None or not kind.HasField("shape"):
            return None
        return tuple(int(dim.dim_value) for dim in kind.shape.dim)

    def is_float(self, name: str) -> bool:
        """Whether a value that is computed holds 32- or 16-bit floats."""
        kind = self.types.get(name)
        floats = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)
        return kind is not None and name not in self.tensors and kind.elem_type in floats


def _captured(attribute: onnx.AttributeProto) -> set[str]:
    """Names that the nodes of a subgraph read."""
    names: set[str] = set()
    for graph in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
        for node in graph.node:
            names.update(node.input)
            for each in node.attribute:
                names |= _captured(each)
        names.update(value.name for value in graph.output)
    return names


def require_nodes(graph: Graph, names: Iterable[str]) -> None:
    """Refuse names that no node has.

    Raises:
        UsageError: there is no such node; the nearest is named.
    """
    known = [node.name for node in graph.nodes]
    for name in names:
        if name not in known:
            raise unknown_name("node in keep_nodes", name, known)


def attributes(node: onnx.NodeProto) -> dict[str, Any]:
    """Attributes of a node by name."""
    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def opset(model: onnx.ModelProto) -> int:
    """Version of the standard operators."""
    return next(int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx"))


def over_first_axis(model: onnx.ModelProto, kind: str, source: str, output: str) -> onnx.NodeProto:
    """A reduction (``ReduceMean``, ``ReduceMax``) over the first axis, which stays with length 1.

    Its axes are the constant ``leanmark.first`` where the model's operator set has them as an input.
    """
    if opset(model) >= 18:
        return onnx.helper.make_node(kind, [source, "leanmark.first"], [output], keepdims=1)
    return onnx.helper.make_node(kind, [source], [output], keepdims=1, axes=[0])


def integer_tensors(values: Mapping[str, Array]) -> list[onnx.TensorProto]:
    """Constants that hold shapes, axes and steps."""
    return [onnx.numpy_helper.from_array(value.astype(np.int64), name) for name, value in values.items()]


def count_types(graph: onnx.GraphProto) -> dict[str, int]:
    """How many operators of each type a graph has."""
    counts: dict[str, int] = {}
    for node in graph.node:
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
    return dict(sorted(counts.items()))


def failures() -> tuple[type[Exception], ...]:
    """What ONNX Runtime and its tools raise on a model that they can't work with."""
    from onnxruntime.capi import onnxruntime_pybind11_state as states

    return (
        states.Fail, states.InvalidArgument, states.InvalidGraph, states.NotImplemented, states.RuntimeException,
        onnx.checker.ValidationError, ValueError, RuntimeError,
    )  # fmt: skip


def session(model: onnx.ModelProto | Path) -> Any:
    """A session on the CPU.

    Raises:
        ModelError: ONNX Runtime can't load the model.
    """
    return _running(str(model), {}) if isinstance(model, Path) else _running(*onnx_file.split(model))


def _running(model: onnx.ModelProto | str, weights: onnx_file.Weights) -> Any:
    """A session of a file, or of a model with those constants that it lacks."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors alone; what the graph still holds unused is no news
    values = onnx_file.runtime_values(weights)
    if values:  # what comes after this level lays weights out anew and holds each of them three times
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.add_external_initializers(list(values), list(values.values()))
    try:
        given = model if isinstance(model, str) else model.SerializeToString()
        running = onnxruntime.InferenceSession(given, options, providers=list(PROVIDERS))
    except failures() as error:
        raise ModelError(f"ONNX Runtime can't load the model: {error}") from error
    running.leanmark_values = values  # it reads them where they are
    return running


def probe(
    model: onnx.ModelProto,
    outputs: Sequence[str],
    feeds: Iterable[Feed],
    nodes: Sequence[onnx.NodeProto] = (),
    tensors: Sequence[onnx.TensorProto] = (),
) -> Iterator[dict[str, Array]]:
    """Run a model with further operators hung into it; only the asked values leave the runtime.

    Args:
        model: left as it is.
        outputs: values that are wanted, of the model or of ``nodes``.
        feeds: inputs, a batch at a time.
        nodes: operators that read values of the model.
        tensors: constants of ``nodes``.

    Yields:
        For each feed, the wanted values by name.

    Raises:
        ModelError: ONNX Runtime can't load or run the model.
    """
    probed, weights = onnx_file.split(model)
    probed.graph.node.extend(nodes)
    probed.graph.initializer.extend(tensors)
    del probed.graph.output[:]
    probed.graph.output.extend(onnx.ValueInfoProto(name=name) for name in outputs)
    running = _running(probed, weights)
    del probed
    for feed in feeds:
        try:
            found = running.run(list(outputs), dict(feed))
        except failures() as error:
            raise ModelError(f"ONNX Runtime can't run the model: {error}") from error
        yield dict(zip(outputs, found, strict=True))


def signal_to_noise_db(wanted: Array, found: Array) -> float:
    """Power of a signal over the power of its error, in decibels, held to +-1,000."""
    error = float(np.square(wanted - found, dtype=np.float64).sum())
    power = float(np.square(wanted, dtype=np.float64).sum())
    if error == 0 or power == 0:
        return MOST_DB if error == 0 else -MOST_DB
    return 10 * float(np.log10(power / error))
