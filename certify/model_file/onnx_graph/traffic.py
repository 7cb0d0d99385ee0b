"""Bytes that the multiplying operators read and write, counted from the graph for one sample.

Each reads its activations, its weights and its bias once and writes its output once, in the type in which they stand
in the file: the least that can be moved without keeping anything between two operators. What stands between
DequantizeLinear and QuantizeLinear is counted at the size of the integers, since a runtime that fuses the pair never
writes the floats (whether it does, the guard ``quantization_fused`` reads). Operators in between that only scale, add
or clip are left out, since runtimes fuse most of them into their neighbours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import onnx

from certify.model_file.onnx_graph.operators import compute_of

BITS = 8
FOUR_BITS = frozenset({onnx.TensorProto.INT4, onnx.TensorProto.UINT4, onnx.TensorProto.FLOAT4E2M1})
FOUR_BYTES_OUT = frozenset({"ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul", "MatMulIntegerToFloat"})
"""Operators that read small integers and write int32 or float32."""
IN_PLACE = frozenset({"Relu", "Clip"})
"""Operators that runtimes fuse with the one before, so that its output is what they give."""


class Value(NamedTuple):
    """Static shape of a value, and bits of one element; None where its type is not known."""

    shape: tuple[int, ...]
    bits: int | None


def element_bits(kind: int) -> int | None:
    """Bits of one element of a tensor type; None for text and for unknown types."""
    if kind in FOUR_BITS:
        return 4
    if kind in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING) or kind not in onnx.TensorProto.DataType.values():
        return None
    return BITS * int(onnx.helper.tensor_dtype_to_np_dtype(kind).itemsize)


def bytes_moved(graph: onnx.GraphProto, values: Mapping[str, Value], batch: int) -> int | None:
    """Bytes read and written by all multiplying operators for one sample.

    Args:
        graph: flat, without functions.
        values: shapes and types by name.
        batch: samples that the shapes hold; the bytes of activations are divided by it, those of weights are not.

    Returns:
        None where the shape or type of an operand is not known: a part would pass for the whole.
    """
    links = _Links(graph)
    weights = activations = 0
    for node in graph.node:
        compute = compute_of(node)
        if compute is None:
            continue
        read = [name for index, name in enumerate(node.input) if name and index not in compute.parameters]
        for name in map(links.stored, read):
            size = _bytes(values.get(name))
            if size is None:
                return None
            if name in links.constants:
                weights += size
            else:
                activations += size
        written = values.get(node.output[0])
        if written is None:
            return None
        kept = values.get(links.written_as(node.output[0]))
        bits = 32 if node.op_type in FOUR_BYTES_OUT else (kept or written).bits
        size = _bytes(Value(written.shape, bits))
        if size is None:
            return None
        activations += size
    return weights + activations // batch


def _bytes(value: Value | None) -> int | None:
    return None if value is None or value.bits is None else -(-math.prod(value.shape) * value.bits // BITS)


class _Links:
    """Which values stand for which others once the pairs of QuantizeLinear and DequantizeLinear are fused."""

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
        """The integers that an operand was dequantized from, or the operand itself."""
        return self._integers.get(name, name)

    def written_as(self, name: str) -> str:
        """The integers that an output is quantized to by all who read it, or the output itself."""
        readers = self._readers.get(name, [])
        while len(readers) == 1 and readers[0].op_type in IN_PLACE:
            name = readers[0].output[0]
            readers = self._readers.get(name, [])
        if readers and all(reader.op_type == "QuantizeLinear" for reader in readers):
            name = readers[0].output[0]
        return name
