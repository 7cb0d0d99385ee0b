"""Static shapes, types and small constants of a graph's values, inferred for one sample."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy.typing as npt
import onnx
import onnx.shape_inference

from certify.core.errors import ModelError
from certify.model_file.onnx_graph.constants import fold_small_constants
from certify.model_file.onnx_graph.functions import INCONSISTENT, inlined
from certify.model_file.onnx_graph.operators import COMPUTE, CONTRIB_DOMAIN, SHAPE_TWINS, attribute
from certify.model_file.onnx_graph.traffic import Value, element_bits

PACKED = {"MatMulNBits": 1, "GatherBlockQuantized": 0}
"""Operators whose weight may have several elements per byte, with the index of that input."""
SMALL_ELEMENTS = 4096
"""Initializers up to this size keep their values during shape inference, since shapes are computed from them."""
LEAST_ROUNDS, MOST_ROUNDS, ROUND_NODES = 2, 64, 200_000
"""Limits to how often shapes are inferred again with the sizes found before, and to the nodes of all rounds."""


@dataclass(frozen=True)
class Inferred:
    """Static knowledge of a graph's values.

    Attributes:
        types: type and complete shape by name; values of unknown shape are absent.
        constants: small values that do not depend on the input, by name.
    """

    types: Mapping[str, onnx.TypeProto.Tensor]
    constants: Mapping[str, npt.NDArray[Any]]

    @property
    def values(self) -> dict[str, Value]:
        """Return shape and bits per element, by name."""
        return {name: Value(shape_of(kind), element_bits(kind.elem_type)) for name, kind in self.types.items()}


def shape_of(kind: onnx.TypeProto.Tensor) -> tuple[int, ...]:
    """Return the sizes of a complete shape."""
    return tuple(int(dim.dim_value) for dim in kind.shape.dim)


def infer_values(model: onnx.ModelProto, sample: tuple[int, ...] | None = None) -> dict[str, Value]:
    """Return static shapes and types by value name, with a dynamic batch of 1; values of unknown shape are absent.

    Raises:
        ModelError: the graph is inconsistent.
    """
    return infer(model, sample).values


def infer(model: onnx.ModelProto, sample: tuple[int, ...] | None = None) -> Inferred:
    """Infer shapes and types, with a dynamic batch of 1, and fold small constants.

    Raises:
        ModelError: the graph is inconsistent.
    """
    light = _without_weights(model)
    # Types of weights are known without inference, even if inputs replaced the weights.
    found = {tensor.name: tensor_type(tensor.data_type, tensor.dims) for tensor in constants(model.graph)}
    for value in light.graph.input:
        if value.name not in found:
            _fix_dynamic(value, sample)
    # Stored shapes may name dynamic dimensions that are fixed here.
    del light.graph.value_info[:]
    for value in light.graph.output:
        value.type.tensor_type.ClearField("shape")
    for position, node in enumerate(light.graph.node):
        whole = unpacked_shape(node, found)
        if whole is not None:  # its twin takes the unpacked weight
            # Under a name of its own: the stored weight has the packed shape, and another operator may read it as it
            # is.
            light.graph.input.append(onnx.helper.make_tensor_value_info(_unpacked(node), onnx.TensorProto.FLOAT, whole))
        twin = _shape_twin(node)
        if twin is not None:
            light.graph.node[position].CopyFrom(twin)
    folded = fold_small_constants(light.graph)
    # Old exporters compute sizes from the shapes of results, which depend on the sizes of the layer before.
    for _ in range(max(LEAST_ROUNDS, min(MOST_ROUNDS, ROUND_NODES // max(1, len(light.graph.node))))):
        more = _inferred_types(light, found)
        found |= more
        # Without these operators, constants do not depend on shapes, and another round would find nothing.
        if not more or not any(node.op_type in ("Shape", "Size") for node in light.graph.node):
            break
        folded = fold_small_constants(light.graph, {name: list(shape_of(kind)) for name, kind in found.items()})
    return Inferred(found, folded)


def _inferred_types(light: onnx.ModelProto, known: Collection[str]) -> dict[str, onnx.TypeProto.Tensor]:
    """Return the types of further values with complete shapes."""
    try:
        graph = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    except INCONSISTENT as error:
        raise ModelError(f"The graph's shapes are inconsistent: {' '.join(str(error).split())}") from error
    found = {}
    for value in [*graph.input, *graph.value_info, *graph.output]:
        kind = value.type.tensor_type
        # A partial shape would give a wrong count, an absent one a stated gap.
        complete = kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim)
        if complete and value.name not in known:
            found[value.name] = kind
    return found


def fold_sized(model: onnx.ModelProto, inferred: Inferred) -> Inferred:
    """Fold further constants, using the inferred shapes of all values."""
    sized = {name: list(shape_of(kind)) for name, kind in inferred.types.items()}
    # A second step, because the first folding did not know the shapes of values.
    return Inferred(inferred.types, fold_small_constants(_without_weights(model).graph, sized))


def tensor_type(kind: int, dims: Iterable[int]) -> onnx.TypeProto.Tensor:
    """Return a tensor type with a complete shape."""
    return onnx.helper.make_tensor_type_proto(kind, list(dims)).tensor_type


def constants(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    """Yield initializers, and the tensors of Constant operators by output name, without their values."""
    yield from graph.initializer
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            tensor = node.attribute[0].t
            yield onnx.TensorProto(name=node.output[0], dims=tensor.dims, data_type=tensor.data_type)


def output_shapes(model: onnx.ModelProto) -> dict[str, onnx.TensorShapeProto]:
    """Return the output shapes that follow from the graph, ignoring stated ones; dynamic dimensions stay dynamic."""
    try:
        # onnx expands functions within functions without a limit.
        light = _without_weights(inlined(model))
    except ModelError:
        return {}  # callers that need the shapes report it
    del light.graph.value_info[:]
    for value in light.graph.output:
        value.type.tensor_type.ClearField("shape")
    try:
        outputs = onnx.shape_inference.infer_shapes(light, data_prop=True).graph.output
    except INCONSISTENT:
        return {}  # callers that need the shapes report it
    kinds = {value.name: value.type.tensor_type for value in outputs}
    return {name: kind.shape for name, kind in kinds.items() if kind.HasField("shape")}


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return a copy with large weights as inputs of known type and shape, so that nothing large is copied."""
    graph = onnx.GraphProto(name=model.graph.name)
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    graph.node.extend(model.graph.node)
    listed = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= SMALL_ELEMENTS:
            graph.initializer.append(tensor)
        # Old files list weights as inputs too; listing them twice would be invalid.
        elif tensor.name not in listed:
            graph.input.append(onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims))
    return onnx.helper.make_model(
        graph, opset_imports=model.opset_import, ir_version=model.ir_version, functions=model.functions
    )


def _fix_dynamic(value: onnx.ValueInfoProto, sample: tuple[int, ...] | None) -> None:
    dims = value.type.tensor_type.shape.dim
    wanted = (1, *sample) if sample is not None and len(dims) == len(sample) + 1 else (1,) * bool(dims)
    for dim, size in zip(dims, wanted, strict=False):
        if not dim.HasField("dim_value"):
            dim.dim_value = size


def _shape_twin(node: onnx.NodeProto) -> onnx.NodeProto | None:
    """Return a standard node with the same output shape for a node without shape inference in onnx."""
    compute = COMPUTE.get(node.op_type)
    if compute is not None and (compute.quantized or node.domain == CONTRIB_DOMAIN):
        like: str = compute.like
        sources: tuple[int, ...] = (compute.data, compute.weight)
    elif node.domain == CONTRIB_DOMAIN and node.op_type in SHAPE_TWINS:
        like, sources = SHAPE_TWINS[node.op_type]
    else:
        return None
    names = [node.input[i] for i in sources if i < len(node.input)]
    if node.op_type in PACKED:
        names[sources.index(PACKED[node.op_type])] = _unpacked(node)
    twin = onnx.helper.make_node(like, names, node.output[:1], name=node.name)
    known = {a.name for a in node.attribute} & set(onnx.defs.get_schema(like).attributes)
    # The twin may know fewer attributes, and unknown ones would fail its schema.
    twin.attribute.extend(a for a in node.attribute if a.name in known)
    return twin


def unpacked_shape(node: onnx.NodeProto, types: Mapping[str, onnx.TypeProto.Tensor]) -> tuple[int, ...] | None:
    """Return the unpacked shape of a weight with several elements per byte; None for other operators.

    Args:
        node: node of any type.
        types: types of the graph's constants, by name.
    """
    if node.op_type == "MatMulNBits":
        return attribute(node, "K", 0), attribute(node, "N", 0)
    kind = types.get(node.input[0]) if node.op_type == "GatherBlockQuantized" else None
    if kind is None:
        return None
    *rows, columns = shape_of(kind)
    in_a_byte = 8 // attribute(node, "bits", 4) if kind.elem_type == onnx.TensorProto.UINT8 else 1
    return (*rows, columns * in_a_byte)


def _unpacked(node: onnx.NodeProto) -> str:
    return f"{node.input[PACKED[node.op_type]]} of {node.output[0]}"
