"""Multiply-adds, parameters and bytes moved, counted from the graph for one sample.

One MAC is one multiply-add; FLOPs are twice that. Convolution: every output element costs (input channels per group)
x (kernel size) MACs; matrix product: every output element costs the length of the contracted dimension (as in
Sze, Chen, Yang, Emer 2017, "Efficient Processing of Deep Neural Networks", section III). Biases, normalisation and
activations are not counted. An operator between DequantizeLinear and QuantizeLinear is counted once, where it stands.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import onnx
import onnx.shape_inference

from certify.core.errors import ModelError
from certify.model_file.onnx_graph.constants import fold_small_constants
from certify.model_file.onnx_graph.functions import inlined
from certify.model_file.onnx_graph.load import inputs
from certify.model_file.onnx_graph.operators import (
    COMPUTE,
    CONTRIB_DOMAIN,
    QUANTIZATION_PARAMETERS,
    SHAPE_TWINS,
    STANDARD_DOMAINS,
    UNCOUNTED,
    Compute,
    attribute,
    compute_of,
)
from certify.model_file.onnx_graph.traffic import Value, bytes_moved, element_bits

SMALL_ELEMENTS = 4096
"""Initializers up to this size keep their values during shape inference; shapes are computed from them."""


@dataclass(frozen=True)
class Counts:
    """What one inference of one sample takes.

    Attributes:
        macs: multiply-adds.
        parameters: elements of all weights.
        counted_share: share (0 to 1) of multiplying operators that could be counted.
        not_counted: types of those that could not.
        bytes_moved: bytes that multiplying operators read and write (see traffic.py); None where not known.
    """

    macs: int
    parameters: int
    counted_share: float
    not_counted: tuple[str, ...]
    bytes_moved: int | None = None


def count(model: onnx.ModelProto, sample: tuple[int, ...] | None = None) -> Counts:
    """Count what one sample takes; a file that is fixed to a larger batch is counted at it and divided.

    Args:
        model: with or without the values of its large weights.
        sample: shape of one sample without the batch, for inputs whose rows and columns are dynamic.

    Raises:
        ModelError: the graph contradicts itself, so that no shapes can be inferred.
    """
    flat = inlined(model)
    values = infer_values(flat, sample)
    shapes = {name: value.shape for name, value in values.items()}
    macs = counted = 0
    missed: list[str] = []
    for node in flat.graph.node:
        compute = compute_of(node)
        number = None if compute is None else _macs(node, compute, shapes)
        if number is not None:
            macs += number
            counted += 1
        elif compute is not None or _may_multiply(node):
            missed.append(node.op_type)
    share = counted / (counted + len(missed)) if counted or missed else 1.0
    batch = _fixed_batch(flat)
    moved = bytes_moved(flat.graph, values, batch)
    return Counts(macs // batch, count_parameters(flat), share, tuple(sorted(set(missed))), moved)


def _fixed_batch(model: onnx.ModelProto) -> int:
    first = next(iter(inputs(model)), None)
    batch = first.shape[0] if first is not None and first.shape else 1
    return batch if isinstance(batch, int) and batch > 0 else 1


def _may_multiply(node: onnx.NodeProto) -> bool:
    if node.op_type in UNCOUNTED:
        return True
    return node.domain not in STANDARD_DOMAINS and node.op_type not in SHAPE_TWINS


def _macs(node: onnx.NodeProto, compute: Compute, shapes: dict[str, tuple[int, ...]]) -> int | None:
    if compute.kind == "blocks":
        given = shapes.get(node.output[0])
        return None if given is None else math.prod(given) * attribute(node, "K", 0)
    data = shapes.get(node.input[compute.data])
    weight = shapes.get(node.input[compute.weight])
    out = shapes.get(node.output[0])
    if data is None or weight is None or out is None:
        return None
    if compute.kind == "conv":
        return math.prod(out) * math.prod(weight[1:])
    if compute.kind == "conv_transpose":
        return math.prod(data) * math.prod(weight[1:])
    if compute.kind == "gemm":
        return math.prod(out) * data[0 if attribute(node, "transA", 0) else 1]
    return math.prod(out) * data[-2 if attribute(node, "transA", 0) else -1]


def infer_values(model: onnx.ModelProto, sample: tuple[int, ...] | None = None) -> dict[str, Value]:
    """Static shapes and types by value name, a dynamic batch being 1; values of unknown shape are absent.

    Raises:
        ModelError: the graph contradicts itself.
    """
    light = _without_weights(model)
    found = {tensor.name: Value(tuple(tensor.dims), element_bits(tensor.data_type)) for tensor in _constants(model)}
    for value in light.graph.input:
        if value.name not in found:
            _fix_dynamic(value, sample)
    # Stored shapes name dynamic dimensions that have a number here.
    del light.graph.value_info[:]
    for value in light.graph.output:
        value.type.tensor_type.ClearField("shape")
    for position, node in enumerate(light.graph.node):
        if node.op_type == "MatMulNBits":  # its twin reads the weight as it was before it was packed
            whole = [attribute(node, "K", 0), attribute(node, "N", 0)]
            light.graph.input.append(onnx.helper.make_tensor_value_info(_unpacked(node), onnx.TensorProto.FLOAT, whole))
        twin = _shape_twin(node)
        if twin is not None:
            light.graph.node[position].CopyFrom(twin)
    fold_small_constants(light.graph)
    try:
        inferred = onnx.shape_inference.infer_shapes(light, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        raise ModelError(f"The graph's shapes contradict each other: {' '.join(str(error).split())}") from error
    graph = inferred.graph
    for value in [*graph.input, *graph.value_info, *graph.output]:
        kind = value.type.tensor_type
        known = kind.HasField("shape") and all(dim.HasField("dim_value") for dim in kind.shape.dim)
        if known and value.name not in found:
            shape = tuple(dim.dim_value for dim in kind.shape.dim)
            found[value.name] = Value(shape, element_bits(kind.elem_type))
    return found


def _constants(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Initializers, and the tensors of Constant operators under the names of their outputs, without their values."""
    yield from model.graph.initializer
    for node in model.graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].HasField("t"):
            tensor = node.attribute[0].t
            yield onnx.TensorProto(name=node.output[0], dims=tensor.dims, data_type=tensor.data_type)


def _without_weights(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which large weights are inputs of known type and shape, so that nothing large is copied."""
    graph = onnx.GraphProto(name=model.graph.name)
    graph.input.extend(model.graph.input)
    graph.output.extend(model.graph.output)
    graph.node.extend(model.graph.node)
    listed = {value.name for value in model.graph.input}
    for tensor in model.graph.initializer:
        if math.prod(tensor.dims) <= SMALL_ELEMENTS:
            graph.initializer.append(tensor)
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
    """A standard node with the same output shape in place of one that onnx has no shape inference for."""
    compute = COMPUTE.get(node.op_type)
    if compute is not None and (compute.quantized or node.domain == CONTRIB_DOMAIN):
        like: str = compute.like
        sources: tuple[int, ...] = (compute.data, compute.weight)
    elif node.domain == CONTRIB_DOMAIN and node.op_type in SHAPE_TWINS:
        like, sources = SHAPE_TWINS[node.op_type]
    else:
        return None
    names = [node.input[i] for i in sources if i < len(node.input)]
    if node.op_type == "MatMulNBits":
        names[-1] = _unpacked(node)
    twin = onnx.helper.make_node(like, names, node.output[:1], name=node.name)
    known = {a.name for a in node.attribute} & set(onnx.defs.get_schema(like).attributes)
    twin.attribute.extend(a for a in node.attribute if a.name in known)
    return twin


def _unpacked(node: onnx.NodeProto) -> str:
    return f"{node.input[1]} of {node.output[0]}"


def count_parameters(model: onnx.ModelProto) -> int:
    """Elements of all weights: tensors that feed operators as numbers, each once.

    Scales and zero points of quantization are left out, and so are int64 and boolean tensors, which hold shapes,
    indices and conditions.
    """
    sizes = {tensor.name: _weight_elements(tensor) for tensor in _constants(model)}
    used: set[str] = set()
    for node in model.graph.node:
        left_out = QUANTIZATION_PARAMETERS.get(node.op_type, ())
        used.update(name for index, name in enumerate(node.input) if index not in left_out)
        if node.op_type == "MatMulNBits":  # several weights in a byte
            sizes[node.input[1]] = attribute(node, "K", 0) * attribute(node, "N", 0)
    return sum(size for name, size in sizes.items() if name in used)


def _weight_elements(tensor: onnx.TensorProto) -> int:
    if tensor.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.BOOL, onnx.TensorProto.STRING):
        return 0
    return math.prod(tensor.dims)
