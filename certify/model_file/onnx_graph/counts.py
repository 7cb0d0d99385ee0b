"""Multiply-adds, parameters and bytes moved for one sample, counted from the graph.

One MAC is one multiply-add; FLOPs are twice that. Convolution: every output element costs (input channels per group) x
(kernel size) MACs; matrix product: every output element costs the length of the contracted dimension (as in Sze, Chen,
Yang, Emer 2017, "Efficient Processing of Deep Neural Networks", section III). Biases, normalisation and activations are
not counted. An operator between DequantizeLinear and QuantizeLinear is counted once.
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
    """Counts for one inference of one sample.

    Attributes:
        macs: multiply-adds.
        parameters: number of elements of all weights.
        counted_share: fraction (0 to 1) of multiplying operators that could be counted.
        not_counted: types of multiplying operators that could not be counted.
        bytes_moved: bytes that multiplying operators read and write (see traffic.py); None if unknown.
        varying_share: fraction (0 to 1) of the work that depends on the input; 1 if it is unbounded.
        varying: types of the operators with input-dependent work.
    """

    macs: int
    parameters: int
    counted_share: float
    not_counted: tuple[str, ...]
    bytes_moved: int | None = None
    varying_share: float = 0.0
    varying: tuple[str, ...] = ()


def count(model: onnx.ModelProto, sample: tuple[int, ...] | None = None) -> Counts:
    """Count the work for one sample; for a file with a larger fixed batch, the count is divided by the batch.

    Args:
        model: model with or without the values of its large weights.
        sample: shape of one sample without the batch, for inputs with dynamic dimensions.

    Raises:
        ModelError: the graph is inconsistent, so shapes cannot be inferred.
    """
    flat = inlined(model)
    batch = _fixed_batch(flat)
    work = Counting(flat, batch).run(sample)
    # A graph that multiplies nothing has been counted completely.
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
    """Count the elements of all weights: tensors used as numbers by operators, each once.

    Scales and zero points of quantization are excluded, as are int64 and boolean tensors, which hold shapes, indices
    and conditions.
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
        if (whole := unpacked_shape(node, types)) is not None:  # several weights per byte
            sizes[node.input[PACKED[node.op_type]]] = math.prod(whole)
    return inside + sum(size for name, size in sizes.items() if name in used)


def _weight_elements(tensor: onnx.TensorProto) -> int:
    # Quantized weights are int8 or uint8, so integers of 64 bits are never weights.
    if tensor.data_type in (onnx.TensorProto.INT64, onnx.TensorProto.BOOL, onnx.TensorProto.STRING):
        return 0
    return math.prod(tensor.dims)
