"""Integer embedding tables: rows are looked up as integers and only then converted to floats.

A table is read a few rows at a time, so integers save bytes, on disk and in memory, not time. The conversion to floats
must follow the lookup. Before it, a runtime would convert the whole table, at loading or in every inference.
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
from compress.core.onnx_reads import drop_unread
from compress.core.onnx_session import session
from compress.core.pass_protocol import Declined, PassRecord
from compress.core.targets import Target
from compress.onnx_graph.graph import Array, Graph, attributes, signal_to_noise_db
from compress.quantization.post_training.blockwise import round_half_quadratic
from compress.quantization.post_training.matmul_nbits import DOMAIN, declare_domain, nibbles

LARGEST_CODE = 127
"""Largest code of 8 bits, signed and symmetric."""
BLOCKS_RUN_ON = ("cpu-vnni", "cpu-avx2", "cpu-arm", "openvino", "openvino-vnni", "openvino-avx2")
"""Targets whose runtime supports GatherBlockQuantized (OpenVINO: verified with 2026.4)."""


@dataclass(frozen=True)
class EmbeddingSettings:
    """Settings of embedding quantization; the fields are those of the pass QuantizeEmbeddings.

    Attributes:
        target: target that will run the model.
        bits: bits per element.
        block: neighbours in a row that share a scale, for 4 bits.
        smallest: tables with fewer elements stay float.
    """

    target: Target
    bits: int
    block: int
    smallest: int


@dataclass(frozen=True)
class _Lookup:
    """Replacement of a Gather: nodes, constants, and the dequantized table, (rows, width)."""

    nodes: Sequence[onnx.NodeProto]
    constants: dict[str, Array]
    values: Array


def quantize_embeddings(settings: EmbeddingSettings, path: Path, context: PassContext) -> tuple[Path, PassRecord]:
    """Write a file with rounded embedding tables; return the given file, declined, if it has none.

    Args:
        settings: settings of the pass.
        path: path of an ONNX file.
        context: context of the pass, with the folder of the new file.

    Raises:
        ModelError: the file is damaged, or ONNX Runtime cannot load the result.
    """
    if settings.bits < 8 and settings.target.name not in BLOCKS_RUN_ON:
        return path, PassRecord.refused(f"{settings.target.name} has no blockwise 4-bit lookup; use 8 bits")
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
        session(beside)  # check that the runtime loads it
    done = {
        "bits": settings.bits,
        "tables": noise,
        "bytes_saved": before - onnx_file.weight_bytes(model),
    }
    return written, PassRecord(done, tuple(declined))


def _tables(graph: Graph, smallest: int) -> tuple[dict[str, list[onnx.NodeProto]], list[Declined]]:
    """Return lookups by the name of their table, and the tables that are left unchanged."""
    found: dict[str, list[onnx.NodeProto]] = {}
    declined = []
    for name, tensor in graph.tensors.items():
        readers = graph.consumers.get(name, [])
        lookups = [node for node in readers if node.op_type == "Gather" and node.input[0] == name]
        plain = tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) == 2
        if not lookups or not plain or tensor.dims[0] * tensor.dims[1] < smallest:
            continue
        # Often the output layer of a language model, tied to the embedding; it needs the floats.
        if len(lookups) < len(readers) or name in graph.outputs:
            declined.append(Declined(name, "something other than a lookup also reads it"))
        elif any(attributes(node).get("axis", 0) != 0 for node in lookups):
            declined.append(Declined(name, "it is looked up by columns"))
        else:
            found[name] = lookups
    return found, declined


def _in_rows(node: onnx.NodeProto, table: Array) -> _Lookup:
    """Build an 8-bit lookup with a scale per row, in standard operators."""
    scales = np.abs(table).max(axis=1, keepdims=True) / LARGEST_CODE
    scales = np.where(scales > 0, scales, 1.0).astype(np.float32)
    codes = np.clip(np.rint(table / scales), -LARGEST_CODE, LARGEST_CODE).astype(np.int8)
    name, place, output = node.input[0], node.input[1], node.output[0]
    constants = {f"{name}.codes": codes, f"{name}.scales": scales}
    make_node = onnx.helper.make_node
    nodes = [
        make_node("Gather", [f"{name}.codes", place], [f"{output}.codes"], f"{node.name}.codes", axis=0),
        make_node("Gather", [f"{name}.scales", place], [f"{output}.scale"], f"{node.name}.scale", axis=0),
        # Not DequantizeLinear: it takes scales along one axis, but a batch of lookups has one per sample and token.
        make_node("Cast", [f"{output}.codes"], [f"{output}.steps"], f"{node.name}.steps", to=onnx.TensorProto.FLOAT),
        make_node("Mul", [f"{output}.steps", f"{output}.scale"], [output], node.name),
    ]
    return _Lookup(nodes, constants, codes.astype(np.float32) * scales)


def _in_blocks(node: onnx.NodeProto, table: Array, settings: EmbeddingSettings) -> _Lookup:
    """Build a 4-bit lookup with a scale and a zero point per block, by ONNX Runtime's GatherBlockQuantized."""
    blocks = round_half_quadratic(table, settings.bits, settings.block, symmetric=False)
    # The operator takes rows of the table's own width, without the padding of the last block.
    codes = blocks.codes.reshape(len(table), -1)[:, : blocks.inputs]
    name = node.input[0]
    constants: dict[str, Array] = {
        f"{name}.codes": nibbles(codes),
        f"{name}.scales": blocks.scales,
        f"{name}.zeros": nibbles(blocks.zeros),
    }
    inputs = [f"{name}.codes", node.input[1], f"{name}.scales", f"{name}.zeros"]
    fields: dict[str, Any] = {"gather_axis": 0, "quantize_axis": 1, "block_size": settings.block, "bits": settings.bits}
    lookup = onnx.helper.make_node("GatherBlockQuantized", inputs, node.output, node.name, domain=DOMAIN, **fields)
    return _Lookup([lookup], constants, blocks.values)


def _replace(graph: onnx.GraphProto, node: onnx.NodeProto, lookup: _Lookup) -> None:
    position = list(graph.node).index(node)
    del graph.node[position]
    for offset, each in enumerate(lookup.nodes):
        graph.node.insert(position + offset, each)
    there = {tensor.name for tensor in graph.initializer}
    for name, array in lookup.constants.items():
        if name not in there:  # two lookups may share a table
            graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
