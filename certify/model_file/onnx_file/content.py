"""Content digest of an ONNX model, independent of its serialisation.

It covers every known field of every message, by reflection, in the order of field numbers, each with its number, kind
and length, so that different models never give the same input to the hash. Bytes in other files enter by value: a model
has the same digest with internal and external weights. Metadata enters through its own digest, so that a model with
stripped metadata can be recognised by anybody who knows that digest. The metadata entry of the seal is excluded.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import Message

from certify.core.errors import ModelError
from certify.model_file.onnx_file.messages import listed_fields, refuse_unknown_fields
from certify.model_file.onnx_graph.external_bytes import ExternalBytes, external_bytes, is_external

SEAL_KEY = "leanmark.seal"
_PREFIX = b"leanmark content digest 1\n"
_METADATA_PREFIX = b"leanmark metadata digest 1\n"
_METADATA = onnx.ModelProto.METADATA_PROPS_FIELD_NUMBER
_RAW_DATA = onnx.TensorProto.RAW_DATA_FIELD_NUMBER
_PLACE_FIELDS = (onnx.TensorProto.EXTERNAL_DATA_FIELD_NUMBER, onnx.TensorProto.DATA_LOCATION_FIELD_NUMBER)

Update = Callable[[Any], None]


def content_digest(model: onnx.ModelProto, folder: Path | None = None, metadata: str | None = None) -> str:
    """Return the hex SHA-256 over a model's content.

    Args:
        model: the parsed model; not modified.
        folder: folder of its external data.
        metadata: digest of its original metadata, to use instead of its own; see :func:`metadata_digest`.

    Raises:
        ModelError: an unknown field, more than one seal, or external data that is missing or unreadable.
    """
    refuse_unknown_fields(model)
    if sum(entry.key == SEAL_KEY for entry in model.metadata_props) > 1:
        raise ModelError(f"The model has more than one {SEAL_KEY} entry; use a file that was sealed once.")
    digest = hashlib.sha256(_PREFIX)
    # First and of fixed length, so that no metadata can imitate the beginning of the model.
    digest.update(bytes.fromhex(metadata or metadata_digest(model)))
    _hash_message(digest.update, model, folder)
    return digest.hexdigest()


def metadata_digest(model: onnx.ModelProto) -> str:
    """Return the hex SHA-256 over the metadata entries of a model, without the seal.

    Raises:
        ModelError: an entry is not text.
    """
    entries = unsealed_metadata(model)
    digest = hashlib.sha256(_METADATA_PREFIX)
    if entries:
        _hash_value(digest.update, model, _METADATA, entries, None)
    return digest.hexdigest()


def unsealed_metadata(model: onnx.ModelProto) -> list[onnx.StringStringEntryProto]:
    """Return the metadata entries of a model without the seal."""
    return [entry for entry in model.metadata_props if entry.key != SEAL_KEY]


def _fields(message: Message, folder: Path | None) -> Sequence[tuple[int, Any]]:
    listed = listed_fields(message)
    if isinstance(message, onnx.TensorProto):
        if is_external(message):
            # The place of the bytes is not content: a model keeps its digest when its weights move into another file.
            inside = [pair for pair in listed if pair[0] not in _PLACE_FIELDS]
            listed = sorted([*inside, (_RAW_DATA, external_bytes(message, folder))], key=lambda pair: pair[0])
        else:  # an internalised tensor states "default" explicitly, an internal one omits it
            listed = [pair for pair in listed if pair[0] != onnx.TensorProto.DATA_LOCATION_FIELD_NUMBER]
    elif isinstance(message, onnx.ModelProto):
        # Metadata are hashed first, by a digest of their own, which stays known when a form of the file has lost them.
        listed = [pair for pair in listed if pair[0] != _METADATA]
    return listed


def _hash_message(update: Update, message: Message, folder: Path | None) -> None:
    listed = _fields(message, folder)
    # Kind and count come first: without them two different trees could give the same bytes.
    update(b"M" + struct.pack(">I", len(listed)))
    for number, value in listed:
        update(struct.pack(">I", number))
        _hash_value(update, message, number, value, folder)


def _hash_value(update: Update, owner: Message, number: int, value: Any, folder: Path | None) -> None:
    if isinstance(value, Message):
        _hash_message(update, value, folder)
    elif isinstance(value, bytes | str):
        raw = value.encode() if isinstance(value, str) else value
        update(b"B" + struct.pack(">Q", len(raw)))
        update(raw)
    elif isinstance(value, ExternalBytes):
        update(b"B" + struct.pack(">Q", value.length))
        for chunk in value.chunks():
            update(chunk)
    elif isinstance(value, float):
        # Packed and not printed, so that -0.0 and NaN have bytes of their own.
        update(b"F" + struct.pack(">d", value))
    elif isinstance(value, int):
        # Sixteen bytes hold both signed and unsigned 64-bit fields.
        update(b"I" + value.to_bytes(16, "big", signed=True))
    # ListFields leaves out empty lists, so there is a first element.
    elif isinstance(value[0], Message | bytes | str):
        update(b"R" + struct.pack(">Q", len(value)))
        for item in value:
            _hash_value(update, owner, number, item, folder)
    else:
        packed = _packed(owner, number, value)
        update(b"P" + struct.pack(">QQ", len(value), len(packed)))
        update(packed)


def _packed(owner: Message, number: int, values: Any) -> bytes:
    """Return repeated numbers in protobuf encoding: millions in one call, with NaN payloads preserved."""
    # A message with this field alone, since protobuf offers no encoder for a single field.
    alone = type(owner)()
    getattr(alone, owner.DESCRIPTOR.fields_by_number[number].name).MergeFrom(values)
    encoded: bytes = alone.SerializeToString(deterministic=True)
    return encoded
