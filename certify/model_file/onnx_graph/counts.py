"""Multiply-adds, parameters and bytes moved, counted from the graph for one sample.

One MAC is one multiply-add; FLOPs are twice that. Convolution: every output element costs (input channels per group)
x (kernel size) MACs; matrix product: every output element costs the length of the contracted dimension (as in
Sze, Chen, Yang, Emer 2017, "Efficient Processing of Deep Neural Networks", section III). Biases, normalisation and
activations are not counted. An operator between DequantizeLinear and QuantizeLinear is counted once, where it stands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx

from certify.model_file.onnx_graph.control_flow import Counting
from certify.model_file.onnx_graph.data_sized import captured, subgraphs
from certify.model_file.onnx_graph.functions import inlined
from certify.model_file.onnx_graph.load import inputs
from certify.model_file.onnx_graph.operators import QUANTIZATION_PARAMETERS
from certify.model_file.onnx_graph.shapes import PACKED, constants, tensor_type, unpacked_shape


@dataclass(frozen=True)
class Counts:
    """What one inference of one sample takes.

    Attributes:
        macs: multiply-adds.
        parameters: elements of all weights.
        counted_share: share (0 to 1) of multiplying operators that could be counted.
        not_counted: types of those that could not.
        bytes_moved: bytes that multiplying operators read and write (see traffic.py); None where not known.
        varying_share: share (0 to 1) of the work that depends on what the model is fed; 1 where nothing bounds it.
        varying: types of the operators that make it so.
    """

    macs: int
    parameters: int
    counted_share: float
    not_counted: tuple[str, ...]
    bytes_moved: int | None = None
    varying_share: float = 0.0
    varying: tuple[str, ...] = ()


def count(model: onnx.ModelProto, sample: tuple[int, ...] | None = None) -> Counts:
    """Count what one sample takes; a file that is fixed to a larger batch is counted at it and divided.

    Args:
        model: with or without the values of its large weights.
        sample: shape of one sample without the batch, for inputs whose rows and columns are dynamic.

    Raises:
        ModelError: the graph contradicts itself, so that no shapes can be inferred.
    """
    flat = inlined(model)
    batch = _fixed_batch(flat)
    work = Counting(flat, batch).run(sample)
    share = work.operators / (work.operators + len(work.missed)) if work.operators or work.missed else 1.0
    return Counts(
        work.macs // batch,
        count_parameters(flat),
        share,
        tuple(sorted(set(work.missed))),
        work.moved,
        work.varying_share,
        tuple(sorted(set(work.unbounded) or ({"If"} if work.differing else set()))),
    )


def _fixed_batch(model: onnx.ModelProto) -> int:
    first = next(iter(inputs(model)), None)
    batch = first.shape[0] if first is not None and first.shape else 1
    return batch if isinstance(batch, int) and batch > 0 else 1


def count_parameters(model: onnx.ModelProto) -> int:
    """Elements of all weights: tensors that feed operators as numbers, each once.

    Scales and zero points of quantization are left out, and so are int64 and boolean tensors, which hold shapes,
    indices and conditions.
    """
    return _parameters(model.graph)


def _parameters(graph: onnx.GraphProto) -> int:
    sizes = {tensor.name: _weight_elements(tensor) for tensor in constants(graph)}
    types = {tensor.name: tensor_type(tensor.data_type, tensor.dims) for tensor in constants(graph)}
    used: set[str] = set()
    inside = 0
    for node in graph.node:
        left_out = QUANTIZATION_PARAMETERS.get(node.op_type, ())
        used.update(name for index, name in enumerate(node.input) if index not in left_out)
        for body in subgraphs(node):
            inside += _parameters(body)
            used |= captured(body)
        if (whole := unpacked_shape(node, types)) is not None:  # several weights in a byte
            sizes[node.input[PACKED[node.op_type]]] = math.prod(whole)
    return inside + sum(size for name, size in sizes.items() if name in used)


def _weight_elements(tensor: onnx.TensorProto) -> int:
    if tensor.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.BOOL, onnx.TensorProto.STRING):
        return 0
    return math.prod(tensor.dims)
