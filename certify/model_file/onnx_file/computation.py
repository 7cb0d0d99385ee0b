"""Name-independent digests of an ONNX model, by which measurements are counted.

The digest of the computation covers, for each result, the operator that produces it, its attributes, and the results
and weights that it uses. Names, node order, documentation, metadata, versions, unused parts and Identity nodes do not
matter, nor whether a weight is an initializer or a Constant. The digest of the weights covers only their values, in any
order: channels in another order are the same weights. Further digests cover statistics of the weights, which stay the
same if all of a tensor is multiplied by a number, or changes by next to nothing. A file with changed computation *and*
other weights differs in all digests.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from certify.core.errors import ModelError
from certify.model_file.onnx_file.weight_sketch import WeightSketch, sketched
from certify.model_file.onnx_graph.data_sized import used
from certify.model_file.onnx_graph.external_bytes import external_bytes, is_external
from certify.model_file.onnx_graph.functions import inlined

MAX_DEPTH = 100
"""Maximum nesting of graphs, equal to protobuf's own limit for messages."""
CONSTANT, IDENTITY = "Constant", "Identity"

MIXED = (np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F))
"""Odd factors that mix the bits of a value, taken from the hash functions SplitMix64 and xxHash."""
HALF = np.uint64(32)

Known = Mapping[str, bytes]
"""Digests of results and weights, by their name in the graph."""


@dataclass(frozen=True)
class _Tensors:
    """Location of a model's tensors, and digests of those already read."""

    folder: Path | None
    read: list[bytes] = field(default_factory=list)
    sketches: list[tuple[str, ...]] = field(default_factory=list)


def identities(model: onnx.ModelProto, folder: Path | None = None) -> tuple[str, ...]:
    """Return the hex SHA-256 over a model's computation, the values of its weights in any order, and their statistics.

    Args:
        model: the parsed model; not modified.
        folder: folder of its external data.

    Raises:
        ModelError: a function or a tensor cannot be read.
    """
    tensors = _Tensors(folder)
    computation = _graph(inlined(model).graph, {}, tensors, 0)
    return computation.hex(), _joined(b"weights", sorted(tensors.read)).hex(), *sketched(tensors.sketches)


def _graph(graph: onnx.GraphProto, outer: Known, tensors: _Tensors, depth: int) -> bytes:
    if depth > MAX_DEPTH:
        raise ModelError(f"The model's graphs are nested deeper than {MAX_DEPTH} levels; flatten them.")
    # A copy: names inside a branch or loop shadow outer ones and must not leak out of it.
    known = dict(outer)
    read = {name for node in graph.node for name in used(node)}
    weights = {weight.name: _tensor(weight, tensors, weight.name in read) for weight in graph.initializer}
    # Old files list weights as inputs as well; that must not change the digest.
    ports = [port for port in graph.input if port.name not in weights]
    for number, port in enumerate(ports):
        # By position and depth, as names do not count.
        known[port.name] = _joined(b"input", [struct.pack(">II", depth, number), _type(port)])
    known |= weights
    for node in graph.node:
        for name, digest in _results(node, known, tensors, depth):
            known[name] = digest
    return _joined(b"graph", [known.get(port.name, b"") for port in graph.output])


def _results(node: onnx.NodeProto, known: Known, tensors: _Tensors, depth: int) -> list[tuple[str, bytes]]:
    """Return the name and digest of each result of a node."""
    constant = _constant(node)
    if constant is not None:
        return [(node.output[0], _tensor(constant, tensors))]
    # An omitted optional input differs from an unknown value.
    taken = [known.get(name, b"") if name else b"-" for name in node.input]
    if node.op_type == IDENTITY and len(taken) == len(node.output) == 1:
        return [(node.output[0], taken[0])]
    # Sorted, since the order of attributes has no meaning.
    attributes = sorted(_attribute(attribute, known, tensors, depth) for attribute in node.attribute)
    # Without the node's name, which exporters number; its inputs count by what computed them, not by their names.
    digest = _joined(b"node", [node.domain.encode(), node.op_type.encode(), _joined(b"of", taken), *attributes])
    return [(name, _joined(b"result", [digest, struct.pack(">I", i)])) for i, name in enumerate(node.output) if name]


def _attribute(attribute: onnx.AttributeProto, known: Known, tensors: _Tensors, depth: int) -> bytes:
    graphs = [_graph(graph, known, tensors, depth + 1) for graph in (*attribute.graphs, *_one_graph(attribute))]
    constants = [*attribute.tensors, *([attribute.t] if attribute.HasField("t") else [])]
    values = [_tensor(tensor, tensors) for tensor in constants]
    plain = onnx.AttributeProto()
    plain.CopyFrom(attribute)
    # Graphs and tensors are included as digests, and documentation is left out.
    for held_apart in ("g", "graphs", "t", "tensors", "doc_string"):
        plain.ClearField(held_apart)
    return _joined(b"attribute", [plain.SerializeToString(deterministic=True), *graphs, *values])


def _one_graph(attribute: onnx.AttributeProto) -> Sequence[onnx.GraphProto]:
    return [attribute.g] if attribute.HasField("g") else []


def _constant(node: onnx.NodeProto) -> onnx.TensorProto | None:
    """Return the tensor of a Constant node; None for any other node and for constants that are not tensors."""
    if node.op_type != CONSTANT or node.domain not in ("", "ai.onnx") or len(node.output) != 1:
        return None
    return next((attribute.t for attribute in node.attribute if attribute.name == "value"), None)


def _tensor(tensor: onnx.TensorProto, tensors: _Tensors, read: bool = True) -> bytes:
    """Return the digest of type, shape and values, internal or external; statistics are of tensors that are read."""
    kind = struct.pack(f">II{len(tensor.dims)}q", tensor.data_type, len(tensor.dims), *tensor.dims)
    digest, sums = hashlib.sha256(kind), [0, 0]
    width, sketch = _bytes_of_a_value(tensor), WeightSketch(tensor)
    for chunk in _chunks(tensor, tensors.folder):
        digest.update(chunk)
        sketch.add(chunk)
        for place, mixed in enumerate(_sums(chunk, width)):
            sums[place] = (sums[place] + mixed) % 2**64
    if read and (words := sketch.words()) is not None:
        tensors.sketches.append(words)
    # Mixed values are summed, because a sum does not depend on their order.
    tensors.read.append(_joined(b"values", [kind, struct.pack(">QQ", *sums)]))
    return digest.digest()


def _chunks(tensor: onnx.TensorProto, folder: Path | None) -> Iterable[bytes]:
    if is_external(tensor):
        return external_bytes(tensor, folder).chunks()
    if tensor.HasField("raw_data"):
        return [tensor.raw_data]
    if tensor.data_type == onnx.TensorProto.STRING:
        return [_joined(b"strings", list(tensor.string_data))]
    try:
        # Typed fields and raw bytes are two encodings of one tensor and must agree.
        return [numpy_helper.to_array(tensor).tobytes()]
    except (ValueError, TypeError) as error:
        raise ModelError(f"The values of the tensor '{tensor.name}' cannot be read ({error}).") from error


def _bytes_of_a_value(tensor: onnx.TensorProto) -> int:
    try:
        width = int(onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type).itemsize)
    except (KeyError, ValueError, TypeError):
        width = 1
    return width if width in (1, 2, 4, 8) else 1


def _sums(chunk: bytes, width: int) -> Iterator[int]:
    """Yield two sums over the values in a chunk, each with a different mixing factor, modulo 2^64."""
    whole = chunk[: len(chunk) // width * width]
    values = np.frombuffer(whole, dtype=f"<u{width}").astype(np.uint64) + np.uint64(1)
    for factor in MIXED:
        mixed = values * factor
        mixed ^= mixed >> HALF
        mixed *= factor
        mixed ^= mixed >> HALF
        yield int(np.sum(mixed, dtype=np.uint64))


def _type(port: onnx.ValueInfoProto) -> bytes:
    return struct.pack(">i", port.type.tensor_type.elem_type)


def _joined(kind: bytes, parts: Sequence[bytes]) -> bytes:
    """Return the SHA-256 of parts, each with its length."""
    digest = hashlib.sha256(kind + struct.pack(">Q", len(parts)))
    for part in parts:
        digest.update(struct.pack(">Q", len(part)))
        digest.update(part)
    return digest.digest()
