"""Embedding tables in integers: rows are looked up as integers, and only those become floats.

A table is read a few rows at a time, so what its integers save is bytes: of the file, and of memory. The floats must
come behind the lookup. Before it, a runtime would turn the whole table into floats, at loading or in every inference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from certify.model_file.onnx_graph.load import load_model
from compress.core import onnx_file
from compress.core.context import PassContext
from compress.core.onnx_session import session
from compress.core.pass_protocol import Declined, PassRecord
from compress.core.targets import Target
from compress.onnx_graph.graph import Array, Graph, attributes, drop_unread, signal_to_noise_db
from compress.quantization.post_training.blockwise import round_half_quadratic
from compress.quantization.post_training.matmul_nbits import DOMAIN, declare_domain, nibbles

LARGEST_CODE = 127
"""Of 8 bits, signed and symmetric."""
BLOCKS_RUN_ON = ("cpu-vnni", "cpu-avx2", "cpu-arm", "openvino")
"""Targets whose runtime has GatherBlockQuantized (OpenVINO: seen in 2026.4)."""


@dataclass(frozen=True)
class EmbeddingSettings:
    """What is asked for; the fields are those of the pass QuantizeEmbeddings.

    Attributes:
        target: what will run the model.
        bits: of an element.
        block: neighbours in a row that share a scale, for 4 bits.
        smallest: elements of a table below which it stays float.
    """

    target: Target
    bits: int
    block: int
    smallest: int


@dataclass(frozen=True)
class _Lookup:
    """What takes the place of a Gather: nodes, constants, and the floats that these stand for, (rows, width)."""

    nodes: Sequence[onnx.NodeProto]
    constants: dict[str, Array]
    values: Array


def quantize_embeddings(settings: EmbeddingSettings, path: Path, context: PassContext) -> tuple[Path, PassRecord]:
    """Write a file with rounded embedding tables; the given one, declined, where there are none.

    Args:
        settings: what is asked for.
        path: of an ONNX file.
        context: the folder of the new file.

    Raises:
        ModelError: the file is damaged, or ONNX Runtime can't load what comes out.
    """
    if settings.bits < 8 and settings.target.name not in BLOCKS_RUN_ON:
        return path, PassRecord.refused(f"{settings.target.name} has no lookup in blocks of few bits; use 8 bits")
    model = load_model(path)
    graph = Graph(model)
    found, declined = _tables(graph, settings.smallest)
    if not found:
        return path, PassRecord.refused(f"it has no embedding table of {settings.smallest} floats or more", declined)
    before = onnx_file.weight_bytes(model)
    noise = {}
    for name, readers in found.items():
        table = onnx.numpy_helper.to_array(graph.tensors[name])
        for reader in readers:
            lookup = _in_rows(reader, table) if settings.bits == 8 else _in_blocks(reader, table, settings)
            _replace(model.graph, reader, lookup)
        noise[name] = signal_to_noise_db(table, lookup.values)
    if settings.bits < 8:
        declare_domain(model)
    drop_unread(model.graph)
    written = (context.workspace or path.parent) / f"{path.stem}.embeddings.onnx"
    with onnx_file.replacing(written) as beside:
        onnx_file.save(model, beside)
        session(beside)  # the runtime loads it
    done = {
        "bits": settings.bits,
        "tables": noise,
        "bytes_saved": before - onnx_file.weight_bytes(model),
    }
    return written, PassRecord(done, tuple(declined))


def _tables(graph: Graph, smallest: int) -> tuple[dict[str, list[onnx.NodeProto]], list[Declined]]:
    """Lookups by the name of their table, and tables that are left alone."""
    found: dict[str, list[onnx.NodeProto]] = {}
    declined = []
    for name, tensor in graph.tensors.items():
        readers = graph.consumers.get(name, [])
        lookups = [node for node in readers if node.op_type == "Gather" and node.input[0] == name]
        plain = tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2
        if not lookups or not plain or tensor.dims[0] * tensor.dims[1] < smallest:
            continue
        if len(lookups) < len(readers) or name in graph.outputs:
            declined.append(Declined(name, "something other than a lookup reads it too"))
        elif any(attributes(node).get("axis", 0) != 0 for node in lookups):
            declined.append(Declined(name, "it is looked up by columns"))
        else:
            found[name] = lookups
    return found, declined


def _in_rows(node: onnx.NodeProto, table: Array) -> _Lookup:
    """8 bits with a scale for each row, in standard operators."""
    scales = np.abs(table).max(axis=1, keepdims=True) / LARGEST_CODE
    scales = np.where(scales > 0, scales, 1.0).astype(np.float32)
    codes = np.clip(np.rint(table / scales), -LARGEST_CODE, LARGEST_CODE).astype(np.int8)
    name, place, output = node.input[0], node.input[1], node.output[0]
    constants = {f"{name}.codes": codes, f"{name}.scales": scales}
    made = onnx.helper.make_node
    nodes = [
        made("Gather", [f"{name}.codes", place], [f"{output}.codes"], f"{node.name}.codes", axis=0),
        made("Gather", [f"{name}.scales", place], [f"{output}.scale"], f"{node.name}.scale", axis=0),
        made("Cast", [f"{output}.codes"], [f"{output}.steps"], f"{node.name}.steps", to=onnx.TensorProto.FLOAT),
        made("Mul", [f"{output}.steps", f"{output}.scale"], [output], node.name),
    ]
    return _Lookup(nodes, constants, codes.astype(np.float32) * scales)


def _in_blocks(node: onnx.NodeProto, table: Array, settings: EmbeddingSettings) -> _Lookup:
    """4 bits with a scale and a zero point for each block, in ONNX Runtime's GatherBlockQuantized."""
    blocks = round_half_quadratic(table, settings.bits, settings.block, symmetric=False)
    codes = blocks.codes.reshape(len(table), -1)[:, : blocks.inputs]
    name = node.input[0]
    constants: dict[str, Array] = {
        f"{name}.codes": nibbles(codes),
        f"{name}.scales": blocks.scales,
        f"{name}.zeros": nibbles(blocks.zeros),
    }
    inputs = [f"{name}.codes", node.input[1], f"{name}.scales", f"{name}.zeros"]
    told: dict[str, Any] = {"gather_axis": 0, "quantize_axis": 1, "block_size": settings.block, "bits": settings.bits}
    made = onnx.helper.make_node("GatherBlockQuantized", inputs, node.output, node.name, domain=DOMAIN, **told)
    return _Lookup([made], constants, blocks.values)


def _replace(graph: onnx.GraphProto, node: onnx.NodeProto, lookup: _Lookup) -> None:
    position = list(graph.node).index(node)
    del graph.node[position]
    for offset, each in enumerate(lookup.nodes):
        graph.node.insert(position + offset, each)
    there = {tensor.name for tensor in graph.initializer}
    for name, array in lookup.constants.items():
        if name not in there:  # two lookups may share a table
            graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
