"""Bytes read and written by multiplying operators for one sample, counted from the graph.

Each operator reads its activations, weights and bias once and writes its output once, in the types of the file: the
minimum traffic without caching between operators. Values between DequantizeLinear and QuantizeLinear count with the
size of the integers, since a runtime that fuses the pair never writes the floats (which the guard
``quantization_fused`` checks). Operators in between that only scale, add or clip are excluded, since runtimes fuse most
of them into their neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import onnx

from certify.model_file.onnx_graph.operators import RECURRENT, STANDARD_DOMAINS, compute_of

BITS = 8
FOUR_BITS = frozenset({onnx.TensorProto.INT4, onnx.TensorProto.UINT4, onnx.TensorProto.FLOAT4E2M1})
FOUR_BYTES_OUT = frozenset({"ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"})
"""Operators that read small integers and write int32 or float32."""
IN_PLACE = frozenset({"Relu", "Clip"})
"""Operators that runtimes fuse with the previous one, whose output is then theirs."""


class Value(NamedTuple):
    """Static shape of a value, and bits per element; None if its type is unknown."""

    shape: tuple[int, ...]
    bits: int | None


def element_bits(kind: int) -> int | None:
    """Return the bits per element of a tensor type; None for text and unknown types."""
    if kind in FOUR_BITS:
        return 4
    if kind in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING) or kind not in onnx.TensorProto.DataType.values():
        return None
    return BITS * int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)


def bytes_moved(graph: onnx.GraphProto, values: Mapping[str, Value], batch: int) -> int | None:
    """Count the bytes read and written by all multiplying operators for one sample.

    Args:
        graph: flat graph without functions.
        values: shapes and types by name.
        batch: batch size of the shapes; bytes of activations are divided by it, bytes of weights are not.

    Returns:
        The bytes, or None if any shape or type is unknown, since a partial count would be misleading.
    """
    links = _Links(graph)
    weights = activations = 0
    for node in graph.node:
        compute = compute_of(node)
        recurrent = node.op_type in RECURRENT and node.domain in STANDARD_DOMAINS
        if compute is None and not recurrent:
            continue
        parameters = () if compute is None else compute.parameters
        read = [name for index, name in enumerate(node.input) if name and index not in parameters]
        # Runtimes fuse a DequantizeLinear with its reader, so the integers are what is read.
        for name in map(links.stored, read):
            size = _bytes(values.get(name))
            if size is None:
                return None
            if name in links.constants:
                weights += size
            else:
                activations += size
        for name in filter(None, node.output if recurrent else node.output[:1]):
            written = values.get(name)
            if written is None:
                return None
            stored = values.get(links.written_as(name))
            bits = 32 if node.op_type in FOUR_BYTES_OUT else (stored or written).bits
            size = _bytes(Value(written.shape, bits))
            if size is None:
                return None
            activations += size
    return weights + activations // batch


def _bytes(value: Value | None) -> int | None:
    return None if value is None or value.bits is None else -(-math.prod(value.shape) * value.bits // BITS)


class _Links:
    """Correspondence of values after fusing pairs of QuantizeLinear and DequantizeLinear."""

    def __init__(self, graph: onnx.GraphProto) -> None:
        self.constants = {tensor.name for tensor in graph.initializer}
        self.constants.update(node.output[0] for node in graph.node if node.op_type == "Constant")
        self._integers: dict[str, str] = {}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            if node.op_type == "DequantizeLinear":
                self._integers[node.output[0]] = node.input[0]
            for name in node.input:
                self._readers.setdefault(name, []).append(node)

    def stored(self, name: str) -> str:
        """Return the integers from which an operand is dequantized, or the operand itself."""
        return self._integers.get(name, name)

    def written_as(self, name: str) -> str:
        """Return the integers to which all readers quantize an output, or the output itself."""
        readers = self._readers.get(name, [])
        # More readers would need the value before the activation, which is then written as well.
        while len(readers) == 1 and readers[0].op_type in IN_PLACE:
            name = readers[0].output[0]
            readers = self._readers.get(name, [])
        if readers and all(reader.op_type == "QuantizeLinear" for reader in readers):
            name = readers[0].output[0]
        return name
