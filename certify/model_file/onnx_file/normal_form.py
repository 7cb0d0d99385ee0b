"""Bringing an ONNX file into the form that is measured, digested and sealed.

Weights are brought inside, or into one file beside where they are too many. What tells about the machine that exported
the file (documentation strings with stack traces, source paths) is dropped: the certificate would otherwise bind, and
publish, somebody's folder names. What is computed stays as it was.
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

PREPROCESS_KEY = "leanmark.preprocess"
OWN_PREFIX = "leanmark."

_EXPORTER_KEYS = ("pkg.torch", "pkg.onnxscript", "namespace")
_SOURCE_PATH = re.compile(r"(^|[\s\"'(=])(/|~/|[A-Za-z]:[\\/])[^\s\"']*[\\/]|\.py\b")


def write_normal_form(model: onnx.ModelProto, folder: Path, target: Path, contract: bytes) -> None:
    """Write the normal form of a model; doing so twice under one name gives the same bytes.

    Args:
        model: the parsed model, which is changed.
        folder: where its external data lies.
        target: where the normal form goes; may be the model's own file. A model of more than 2 GB keeps its weights in
            a file beside, as :mod:`certify.model_file.onnx_file.weights_file` says.
        contract: how samples become the model's input, canonical JSON; stored as ``leanmark.preprocess``.

    Raises:
        ModelError: the file holds fields that this version of ONNX does not know, has external data that leaves its
            folder, or more than 2 GB beside its weights.
    """
    refuse_unknown_fields(model)
    inside = fits_inside(model, folder)
    inline_external(model, folder, largest_weight=None if inside else SMALL_BYTES)
    for message in messages(model):
        _strip(message)
    _replace_own_metadata(model, contract)
    if not inside:
        write_weights(model, folder, target)
    write_bytes(target, model.SerializeToString(deterministic=True))


def _strip(message: Message) -> None:
    """Drop documentation strings and what an exporter noted about its source code."""
    fields = message.DESCRIPTOR.fields_by_name
    if isinstance(message, onnx.TensorProto) and not is_external(message):
        message.ClearField("data_location")  # "default" said aloud
    if "doc_string" in fields:
        message.ClearField("doc_string")
    if "metadata_props" in fields and not isinstance(message, onnx.ModelProto):
        entries = getattr(message, "metadata_props")  # noqa: B009  (Message itself declares no fields)
        for index in reversed(range(len(entries))):
            entry = entries[index]
            if entry.key.startswith(_EXPORTER_KEYS) or _SOURCE_PATH.search(entry.value):
                del entries[index]


def _replace_own_metadata(model: onnx.ModelProto, contract: bytes) -> None:
    foreign = [entry for entry in model.metadata_props if not entry.key.startswith(OWN_PREFIX)]
    kept = [onnx.StringStringEntryProto(key=entry.key, value=entry.value) for entry in foreign]
    model.ClearField("metadata_props")
    model.metadata_props.extend([*kept, onnx.StringStringEntryProto(key=PREPROCESS_KEY, value=contract.decode())])
