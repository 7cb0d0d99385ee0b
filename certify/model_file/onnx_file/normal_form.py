"""Normal form of an ONNX file, which is measured, digested and sealed.

Weights are internalised, or moved to one sidecar file if they are too large. Information about the exporting machine
(documentation strings with stack traces, source paths) is dropped: the certificate would otherwise bind, and publish,
somebody's folder names. Weights are not listed as inputs (which IR versions before 4 required), and stale shapes inside
the graph are dropped: both would mislead tools and readers. The computation is unchanged.
"""

from __future__ import annotations

import re
from pathlib import Path

import onnx
from google.protobuf.message import Message

from certify.core.files import write_bytes
from certify.model_file.onnx_file.external_data import SMALL_BYTES, fits_inside, inline_external
from certify.model_file.onnx_file.messages import messages, refuse_unknown_fields
from certify.model_file.onnx_file.weights_file import write_weights
from certify.model_file.onnx_graph.external_bytes import is_external
from certify.model_file.onnx_graph.shapes import output_shapes

PREPROCESS_KEY = "leanmark.preprocess"
OWN_PREFIX = "leanmark."
WEIGHTS_NEED_NO_INPUT = 4
"""First IR version in which weights need not be listed as inputs: https://onnx.ai/onnx/repo-docs/IR.html."""

_EXPORTER_KEYS = ("pkg.torch", "pkg.onnxscript", "namespace")
_SOURCE_PATH = re.compile(r"(^|[\s\"'(=])(/|~/|[A-Za-z]:[\\/])[^\s\"']*[\\/]|\.py\b")


def write_normal_form(model: onnx.ModelProto, folder: Path, target: Path, contract: bytes) -> None:
    """Write the normal form of a model; normalising twice under the same name gives the same bytes.

    Args:
        model: the parsed model; modified in place.
        folder: folder of its external data.
        target: path of the normal form; may be the model's own file. A model of more than 2 GB has its weights in a
            sidecar file, see :mod:`certify.model_file.onnx_file.weights_file`.
        contract: preprocessing contract, canonical JSON; stored as ``leanmark.preprocess``.

    Raises:
        ModelError: the file has fields unknown to this version of ONNX, external data outside its folder, or more than
            2 GB besides its weights.
    """
    refuse_unknown_fields(model)
    inside = fits_inside(model, folder)
    inline_external(model, folder, largest_weight=None if inside else SMALL_BYTES)
    for message in messages(model):
        _strip(message)
    _restate_ports(model)
    _replace_own_metadata(model, contract)
    if not inside:
        write_weights(model, folder, target)
    write_bytes(target, model.SerializeToString(deterministic=True))


def _strip(message: Message) -> None:
    """Drop stated shapes of inner values, and an exporter's notes."""
    fields = message.DESCRIPTOR.fields_by_name
    if isinstance(message, onnx.TensorProto) and not is_external(message):
        message.ClearField("data_location")  # explicit "default"
    # Stated shapes of inner values may be wrong or stale, and runtimes infer them again.
    if "value_info" in fields:
        message.ClearField("value_info")
    drop_exporter_notes(message)


def drop_exporter_notes(message: Message) -> None:
    """Drop the documentation string of a message and what an exporter noted about source code, in place."""
    fields = message.DESCRIPTOR.fields_by_name
    if "doc_string" in fields:
        message.ClearField("doc_string")
    if "metadata_props" in fields and not isinstance(message, onnx.ModelProto):
        entries = getattr(message, "metadata_props")  # noqa: B009  (Message itself declares no fields)
        for index in reversed(range(len(entries))):
            entry = entries[index]
            # Paths of source files reveal names of users and folders.
            if entry.key.startswith(_EXPORTER_KEYS) or _SOURCE_PATH.search(entry.value):
                del entries[index]


def _restate_ports(model: onnx.ModelProto) -> None:
    """Remove weights from the inputs, free sizes of -1, and state output shapes that are missing or stale."""
    graph = model.graph
    weights = {tensor.name for tensor in (*graph.initializer, *(sparse.values for sparse in graph.sparse_initializer))}
    # From the end, so that positions before a removed one stay valid.
    for index in reversed(range(len(graph.input))):
        if graph.input[index].name in weights:
            del graph.input[index]
    for value in (*graph.input, *graph.output):
        for size in value.type.tensor_type.shape.dim:
            if size.dim_value < 0:  # free, as old exporters write it; shape inference does not read it so
                size.Clear()
    model.ir_version = max(model.ir_version, WEIGHTS_NEED_NO_INPUT)
    found = output_shapes(model)
    for value in graph.output:
        stated = value.type.tensor_type
        if value.name in found and not (stated.HasField("shape") and _agree(stated.shape, found[value.name])):
            stated.shape.CopyFrom(found[value.name])


def _agree(first: onnx.TensorShapeProto, second: onnx.TensorShapeProto) -> bool:
    """Return whether two shapes are compatible: a dimension without a number matches any."""
    pairs = zip(first.dim, second.dim, strict=False)
    return len(first.dim) == len(second.dim) and all(
        a.dim_value == b.dim_value for a, b in pairs if a.HasField("dim_value") and b.HasField("dim_value")
    )


def _replace_own_metadata(model: onnx.ModelProto, contract: bytes) -> None:
    # Own entries are replaced and not kept, so that normalising a sealed file drops its seal.
    foreign = [entry for entry in model.metadata_props if not entry.key.startswith(OWN_PREFIX)]
    entries = [onnx.StringStringEntryProto(key=entry.key, value=entry.value) for entry in foreign]
    model.ClearField("metadata_props")
    model.metadata_props.extend([*entries, onnx.StringStringEntryProto(key=PREPROCESS_KEY, value=contract.decode())])
