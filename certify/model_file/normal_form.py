"""Bringing an ONNX file into the form that is measured, digested and sealed.

Weights are brought inside, or into one file beside where they are too many. What tells about the machine that exported
the file (documentation strings with stack traces, source paths) is dropped: the certificate would otherwise bind, and
publish, somebody's folder names. What is computed stays as it was.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import rfc8785
from google.protobuf.message import Message

from certify.attest.envelope import parse_canonical
from certify.core.errors import ModelError
from certify.core.files import write_bytes
from certify.model_file.onnx_file.external_data import SMALL_BYTES, fits_inside, inline_external
from certify.model_file.onnx_file.messages import listed_fields, messages, parse_model, refuse_unknown_fields
from certify.model_file.onnx_file.weights_file import write_weights
from certify.model_file.onnx_graph.external_bytes import is_external
from certify.model_file.pt2 import archive as exported

if TYPE_CHECKING:
    from certify.data.preprocess import Preprocess

PREPROCESS_KEY = "leanmark.preprocess"
OWN_PREFIX = "leanmark."

_EXPORTER_KEYS = ("pkg.torch", "pkg.onnxscript", "namespace")
_SOURCE_PATH = re.compile(r"(^|[\s\"'(=])(/|~/|[A-Za-z]:[\\/])[^\s\"']*[\\/]|\.py\b")


def normalise(source: Path, target: Path, preprocess: Preprocess) -> None:
    """Write the normal form of a model's file; normalising twice under one name gives the same bytes.

    Args:
        source: any ONNX file, with its external data beside it, or a program exported by torch (``.pt2``).
        target: where the normal form goes; may be ``source`` itself. A model of more than 2 GB keeps its weights in
            a file beside, as :mod:`certify.model_file.onnx_file.weights_file` says.
        preprocess: how pictures become the model's input; stored in the file as ``leanmark.preprocess``.

    Raises:
        ModelError: the file is damaged, holds fields that this version of ONNX does not know, has external data that
            leaves its folder, or more than 2 GB beside its weights.
    """
    if source.suffix == exported.SUFFIX:
        contract = rfc8785.dumps(preprocess.to_json())
        write_bytes(target, exported.normal_form(exported.read_exported(source), contract))
        return
    model = parse_model(source)
    refuse_unknown_fields(model)
    inside = fits_inside(model, source.parent)
    inline_external(model, source.parent, largest_weight=None if inside else SMALL_BYTES)
    for message in messages(model):
        _strip(message)
    _replace_own_metadata(model, preprocess)
    if not inside:
        write_weights(model, source.parent, target)
    write_bytes(target, model.SerializeToString(deterministic=True))


def stored_contract(path: Path) -> Preprocess | None:
    """The preprocessing contract that a file carries, or None where it carries none.

    Raises:
        ModelError: the file is damaged, or carries more than one.
        CertificateError: the contract is not canonical JSON.
        UsageError: a field of the contract is not allowed.
    """
    from certify.data.preprocess import Preprocess

    if path.suffix == exported.SUFFIX:
        carried = exported.stored_contract(exported.read_exported(path))
        stored = [] if carried is None else [carried]
    else:
        entries = parse_model(path).metadata_props
        for entry in entries:
            listed_fields(entry)  # refuses what is no text
        stored = [entry.value.encode() for entry in entries if entry.key == PREPROCESS_KEY]
    if not stored:
        return None
    if len(stored) > 1:
        raise ModelError(f"{path} carries {len(stored)} {PREPROCESS_KEY} entries; give the right contract as a file.")
    values = parse_canonical(stored[0], f"the {PREPROCESS_KEY} entry")
    if not isinstance(values, dict):
        raise ModelError(f"{path}: its {PREPROCESS_KEY} entry is no JSON object.")
    return Preprocess.from_json(values, f"{PREPROCESS_KEY} of {path}")


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


def _replace_own_metadata(model: onnx.ModelProto, preprocess: Preprocess) -> None:
    foreign = [entry for entry in model.metadata_props if not entry.key.startswith(OWN_PREFIX)]
    kept = [onnx.StringStringEntryProto(key=entry.key, value=entry.value) for entry in foreign]
    contract = rfc8785.dumps(preprocess.to_json()).decode()
    model.ClearField("metadata_props")
    model.metadata_props.extend([*kept, onnx.StringStringEntryProto(key=PREPROCESS_KEY, value=contract)])
