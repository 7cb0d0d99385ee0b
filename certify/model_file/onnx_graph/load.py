"""Loading of ONNX files, and checks of their inputs against a preprocessing contract.

External tensors are read only from the model's folder or below; a location outside the folder is refused (the ONNX
specification forbids it: https://onnx.ai/onnx/repo-docs/ExternalData.html).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import onnx
import onnx.checker
import onnx.external_data_helper
from google.protobuf.message import DecodeError

from certify.core.errors import ModelError
from certify.model_file.onnx_graph.external_bytes import external_bytes, is_external

IMAGE_DIMENSIONS = 4

SORT_THEM = (
    "If every value has its node, sort them: "
    "onnxruntime.transformers.onnx_model.OnnxModel(model).topological_sort(is_deterministic=True)."
)


@dataclass(frozen=True)
class Port:
    """An input or output of a graph.

    Attributes:
        name: name used by runtimes.
        shape: one entry per dimension: a number, the name of a dynamic dimension, or None if not stated. An unknown
            rank is an empty tuple with ``known`` false.
        dtype: NumPy name of the element type, such as ``float32``.
        known: whether the file states a shape.
    """

    name: str
    shape: tuple[int | str | None, ...]
    dtype: str
    known: bool = True


class InputContract(Protocol):
    """The part of a preprocessing contract that describes the input; implemented by certify.data's Preprocess."""

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the graph's inputs."""

    @property
    def output_name(self) -> str:
        """Name of the scored output."""

    def port_shape(self, batch: int) -> tuple[int, ...]:
        """Return the shape of every input, or of the first one."""

    def port(self, name: str) -> tuple[tuple[int, ...], str]:
        """Return the shape of one sample and the NumPy type name of an input."""


def load_model(path: Path, weights: bool = True) -> onnx.ModelProto:
    """Read an ONNX file.

    Args:
        path: the file.
        weights: whether to read external tensors; they are checked in either case.

    Raises:
        ModelError: the file is missing, damaged, not an ONNX model, or its external data cannot be read or is outside
            the model's folder.
    """
    if not path.is_file():
        raise ModelError(f"{path}: ONNX file not found.")
    try:
        # External data are read only after their paths have been checked to be inside the model's folder.
        model = onnx.load_model(str(path), load_external_data=False)
    except DecodeError as error:
        raise ModelError(f"{path} is damaged or not an ONNX file ({error}); export it again.") from error
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror}.") from error
    check_model(model, path)
    if weights:
        onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    return model


def check_model(model: onnx.ModelProto, path: Path) -> None:
    """Raise ModelError if a parsed file is not a valid ONNX model, or its external data cannot be read."""
    if not model.graph.node or not model.opset_import:
        raise ModelError(f"{path} is damaged or not an ONNX file: it has no graph; export it again.")
    _check_texts(model, path)
    _check_external(model, path)
    ends = [value for value in (*model.graph.input, *model.graph.output) if value.type.HasField("tensor_type")]
    if unknown := [value.name for value in ends if not value.type.tensor_type.HasField("shape")]:
        raise ModelError(
            f"{path} states no shape for {', '.join(unknown)}, and none can be inferred from its graph; export it with "
            "the shapes of its inputs and outputs."
        )
    try:
        # Checked by path, because a model of more than 2 GB cannot be serialised.
        onnx.checker.check_model(str(path))
    except (onnx.checker.ValidationError, ValueError) as error:
        reason = " ".join(str(error).split())
        # ONNX Runtime sorts nodes itself, so its users may not know; its own float16 converter leaves them unsorted.
        hint = f" {SORT_THEM}" if "topologically sorted" in reason else ""
        raise ModelError(f"{path} is not a valid ONNX model: {reason}{hint}") from error


def tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield all tensors of a graph and its subgraphs: initializers and tensor attributes."""
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield sparse.values
        yield sparse.indices
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("g"):
                yield from tensors(attribute.g)
            for subgraph in attribute.graphs:
                yield from tensors(subgraph)


def _check_texts(model: onnx.ModelProto, path: Path) -> None:
    """Refuse names that are not UTF-8: protobuf returns bytes or raises, depending on its implementation."""
    try:
        texts = [text for body in (model.graph, *model.functions) for node in _nodes(body) for text in _named(node)]
    except UnicodeDecodeError as error:
        raise ModelError(f"{path} has names of operators or values that are not UTF-8; export it again.") from error
    if not all(isinstance(text, str) for text in texts):
        raise ModelError(f"{path} has names of operators or values that are not UTF-8; export it again.")


def _nodes(body: onnx.GraphProto | onnx.FunctionProto) -> Iterator[onnx.NodeProto]:
    """Yield all nodes of a graph or function, and of its subgraphs."""
    for node in body.node:
        yield node
        for attribute in node.attribute:
            for subgraph in (attribute.g, *attribute.graphs) if attribute.HasField("g") else attribute.graphs:
                yield from _nodes(subgraph)


def _named(node: onnx.NodeProto) -> Iterator[str]:
    yield from (node.op_type, node.domain, node.name, *node.input, *node.output)


def _check_external(model: onnx.ModelProto, path: Path) -> None:
    for tensor in tensors(model.graph):
        if is_external(tensor):
            try:
                external_bytes(tensor, path.parent)
            except ModelError as error:
                raise ModelError(f"{path}, tensor '{tensor.name}': {error}") from error


def inputs(model: onnx.ModelProto) -> tuple[Port, ...]:
    """Return the inputs to feed, without initializers that are listed as inputs."""
    weights = {tensor.name for tensor in model.graph.initializer}
    return tuple(_port(value) for value in model.graph.input if value.name not in weights)


def outputs(model: onnx.ModelProto) -> tuple[Port, ...]:
    """Return the outputs in graph order."""
    return tuple(_port(value) for value in model.graph.output)


def _port(value: onnx.ValueInfoProto) -> Port:
    kind = value.type.tensor_type
    shape = tuple(_dimension(dim) for dim in kind.shape.dim)
    if kind.elem_type == onnx.TensorProto.UNDEFINED or kind.elem_type not in onnx.TensorProto.DataType.values():
        return Port(value.name, shape, "unknown", kind.HasField("shape"))
    dtype = str(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))
    return Port(value.name, shape, dtype, kind.HasField("shape"))


def _dimension(dim: Any) -> int | str | None:
    # Old exporters write -1 for a free size, and ONNX Runtime reads it so.
    if dim.HasField("dim_value") and dim.dim_value >= 0:
        return int(dim.dim_value)
    return str(dim.dim_param) if dim.dim_param else None


def sample_shape(contract: InputContract) -> tuple[int, ...]:
    """Return the shape of one sample of one input, without the batch."""
    return contract.port_shape(1)[1:]


def check_feedable(model: onnx.ModelProto, contract: InputContract, batch: int) -> None:
    """Check that the model's inputs match the preprocessing contract.

    A dynamic batch is allowed, as are dynamic rows, columns and lengths, since the contract states them.

    Raises:
        ModelError: a name does not exist, the contract does not name all inputs, a shape or type differs, or the size
            of a dynamic dimension is unknown.
    """
    ports = inputs(model)
    fed = [named_port(ports, name, "input") for name in contract.input_names]
    if others := [port.name for port in ports if port.name not in contract.input_names]:
        raise ModelError(
            f"The preprocessing contract names the inputs {', '.join(contract.input_names)}, but the model also has "
            f"{', '.join(others)}; add them to the contract, or make them constants."
        )
    named_port(outputs(model), contract.output_name, "output")
    for port in fed:
        check_port(port, contract, batch)


def check_port(port: Port, contract: InputContract, batch: int) -> None:
    """Check that the type and shape of an input match the preprocessing contract.

    Raises:
        ModelError: they do not.
    """
    sample, dtype = contract.port(port.name)
    if port.dtype != dtype:
        raise ModelError(
            f"Input '{port.name}' takes {port.dtype}, but the preprocessing contract gives {dtype}; set its dtype to "
            "the model's."
        )
    if not port.known:
        return
    wanted = (batch, *sample)
    fits = len(port.shape) == len(wanted)
    if fits:
        fits = all(not isinstance(have, int) or have == want for have, want in zip(port.shape, wanted, strict=True))
    if not fits:
        raise ModelError(
            f"Input '{port.name}' has the shape {_format_shape(port.shape)}, but the preprocessing contract and "
            f"batch {batch} give {_format_shape(wanted)}; {_advice(port.shape, wanted)}"
        )


def named_port(ports: tuple[Port, ...], name: str, kind: str) -> Port:
    """Return the ``input`` or ``output`` of a name.

    Raises:
        ModelError: the name does not exist; the message lists those that do.
    """
    for port in ports:
        if port.name == name:
            return port
    raise ModelError(
        f"The preprocessing contract names the {kind} '{name}', but the model has {', '.join(p.name for p in ports)}; "
        "name one of these."
    )


def _advice(have: tuple[int | str | None, ...], want: tuple[int, ...]) -> str:
    if len(have) != len(want):
        dynamic = [str(d) for d in have if not isinstance(d, int)]
        named = f" (dynamic: {', '.join(dynamic)})" if dynamic else ""
        return f"export the model for a batch of samples, {len(want)} dimensions{named}."
    if have[0] == 0:
        return "export the model with a dynamic batch."
    if isinstance(have[0], int) and have[0] != want[0]:
        return (
            f"measure with batch {have[0]} (--batch, or the workload of a recipe), or export the model with a dynamic "
            "batch."
        )
    sizes = "height, width, layout or colour" if len(want) == IMAGE_DIMENSIONS else "length"
    return f"correct {sizes} in the contract."


def _format_shape(shape: tuple[int | str | None, ...]) -> str:
    return "(" + ", ".join("?" if d is None else str(d) for d in shape) + ")"
