"""The seal: a metadata entry with the certificate inside the ONNX file.

A sealed file consists of the exact bytes of the normalised file, followed by one more ``metadata_props`` entry (field
14 of ONNX's ModelProto) with the key ``leanmark.seal``. Protobuf readers merge fields at any position
(https://protobuf.dev/programming-guides/encoding/), so every ONNX tool can still open the file, and removing the entry
restores the measured bytes. Files are streamed, with at most one entry in memory.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from certify.core.errors import CertificateError, ModelError
from certify.core.files import CHUNK_BYTES, replacing
from certify.model_file.onnx_file.content import SEAL_KEY
from certify.model_file.onnx_file.external_data import MAX_MODEL_BYTES

MAX_CERTIFICATE_BYTES = 1 << 20
MAX_ENTRY_BYTES = 16 << 20
_METADATA_TAG = 14 << 3 | 2
_FIXED_BYTES = {1: 8, 5: 4}


@dataclass(frozen=True)
class Entry:
    """A seal in a file: the bytes from ``start`` to ``end``, including the tag."""

    start: int
    end: int
    envelope: bytes


def seal(path: Path, target: Path, envelope: bytes) -> None:
    """Write a copy of a normalised file with the certificate appended.

    Args:
        path: the normalised file.
        target: path of the sealed file; replaced atomically.
        envelope: canonical JSON of the signed envelope.

    Raises:
        CertificateError: the file already has a seal, or would exceed protobuf's limit of 2 GB.
        ModelError: the file is not a protobuf message.
    """
    with path.open("rb") as stream:
        if find(stream, path) is not None:
            raise CertificateError(f"{path} is already sealed. Normalise it first, which removes the seal.")
    entry = _encode(envelope)
    # The seal is part of the protobuf message, which runtimes could no longer parse.
    if path.stat().st_size + len(entry) > MAX_MODEL_BYTES:
        raise CertificateError(
            f"{path} would exceed 2 GB with its certificate; keep the certificate as a sidecar file."
        )
    with replacing(target) as beside, path.open("rb") as source, beside.open("wb") as sealed:
        # Appending a field to a protobuf message needs no parsing, and leaves the measured bytes as they are.
        while chunk := source.read(CHUNK_BYTES):
            sealed.write(chunk)
        sealed.write(entry)


def read_seal(path: Path) -> bytes | None:
    """Return the envelope sealed into a file, or None.

    Raises:
        CertificateError: there is more than one seal, or one is not canonically encoded.
        ModelError: the file is not a protobuf message.
    """
    with path.open("rb") as stream:
        entry = find(stream, path)
    return None if entry is None else entry.envelope


def file_digest(path: Path) -> str:
    """Return the hex SHA-256 of the bytes before sealing.

    Only a seal at the very end is excluded, since sealing always appends; if another tool has moved it, the digest is
    that of the whole file and matches no certificate.

    Raises:
        CertificateError: there is more than one seal, or one is not canonically encoded.
        ModelError: the file is not a protobuf message.
    """
    with path.open("rb") as stream:
        return digest(stream, unsealed_length(stream, find(stream, path)))


def unsealed_bytes(path: Path) -> int:
    """Return the size in bytes of the file before sealing; see :func:`file_digest`."""
    with path.open("rb") as stream:
        return unsealed_length(stream, find(stream, path))


def unsealed_length(stream: BinaryIO, entry: Entry | None) -> int:
    """Return the size of an open file before sealing, given its seal."""
    size = os.fstat(stream.fileno()).st_size
    # A seal elsewhere was moved by another tool, so the bytes before it are not the measured ones.
    return entry.start if entry is not None and entry.end == size else size


def unseal(path: Path, target: Path) -> None:
    """Write a copy of the file as before sealing; see :func:`file_digest`."""
    left = unsealed_bytes(path)
    with replacing(target) as beside, path.open("rb") as source, beside.open("wb") as bare:
        while left > 0 and (chunk := source.read(min(left, CHUNK_BYTES))):
            bare.write(chunk)
            left -= len(chunk)


def digest(stream: BinaryIO, length: int) -> str:
    """Return the hex SHA-256 of the first ``length`` bytes of an open file."""
    stream.seek(0)
    found = hashlib.sha256()
    while length > 0 and (chunk := stream.read(min(length, CHUNK_BYTES))):
        found.update(chunk)
        length -= len(chunk)
    return found.hexdigest()


def find(stream: BinaryIO, path: Path) -> Entry | None:
    """Find the seal of an open file; raises like :func:`read_seal`."""
    stream.seek(0)
    found: list[Entry] = []
    for start, end, entry in _metadata_entries(stream, path):
        fields = list(_inner_fields(entry, path))
        # Field 1 of a metadata entry is its key, field 2 its value.
        if (1, SEAL_KEY.encode()) not in fields:
            continue
        envelope = next((value for number, value in fields if number == 2), b"")
        stream.seek(start)
        # Protobuf allows padded lengths and reordered fields; accepting them would let bytes change under a seal.
        if stream.read(end - start) != _encode(envelope):
            raise CertificateError(f"{path}: the {SEAL_KEY} entry is not canonically encoded.")
        found.append(Entry(start, end, envelope))
        stream.seek(end)
    if len(found) > 1:
        raise CertificateError(f"{path} has {len(found)} {SEAL_KEY} entries, but a sealed file has exactly one.")
    return found[0] if found else None


def _metadata_entries(stream: BinaryIO, path: Path) -> Iterator[tuple[int, int, bytes]]:
    """Iterate over top-level fields; yield (start, end, content) of each metadata entry."""
    size = os.fstat(stream.fileno()).st_size
    damaged = ModelError(f"{path} is damaged or not an ONNX model: its protobuf fields are inconsistent.")
    while (start := stream.tell()) < size:
        tag = _varint(stream)
        # Field number 0 is reserved; it appears in files of zeros, which would otherwise parse as empty fields.
        if tag is None or tag >> 3 == 0:
            raise damaged
        if tag & 7 == 0:
            length = 0 if _varint(stream) is not None else None
        elif tag & 7 == 2:
            length = _varint(stream)
        else:
            # Groups (wire types 3 and 4) are obsolete and absent from ONNX, so they count as damage.
            length = _FIXED_BYTES.get(tag & 7)
        if length is None or stream.tell() + length > size:
            raise damaged
        if tag == _METADATA_TAG:
            # Checked before reading, since a hostile length would otherwise allocate that much.
            if length > MAX_ENTRY_BYTES:
                raise ModelError(
                    f"The metadata entries of {path} must have at most {MAX_ENTRY_BYTES} bytes each, got {length}."
                )
            end = stream.tell() + length
            yield start, end, stream.read(length)
        else:
            stream.seek(length, os.SEEK_CUR)


def _inner_fields(entry: bytes, path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (number, value) of the length-delimited fields of one metadata entry."""
    position = 0
    damaged = ModelError(f"{path} is damaged: a metadata entry is inconsistent.")
    while position < len(entry):
        tag, position = _varint_at(entry, position)
        length, position = _varint_at(entry, position)
        if tag is None or length is None or tag & 7 != 2 or position + length > len(entry):
            raise damaged
        yield tag >> 3, entry[position : position + length]
        position += length


def _varint(stream: BinaryIO) -> int | None:
    """Read one base-128 varint of at most ten bytes; None if there is none."""
    value = 0
    for shift in range(0, 70, 7):
        byte = stream.read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:
            return value
    return None


def _varint_at(content: bytes, position: int) -> tuple[int | None, int]:
    value = 0
    for shift in range(0, 70, 7):
        if position >= len(content):
            return None, position
        byte = content[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
    return None, position


def _encode_varint(value: int) -> bytes:
    encoded = bytearray()
    while value >= 0x80:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*encoded, value])


def _encode(envelope: bytes) -> bytes:
    key = SEAL_KEY.encode()
    inner = b"\x0a" + _encode_varint(len(key)) + key + b"\x12" + _encode_varint(len(envelope)) + envelope
    return _encode_varint(_METADATA_TAG) + _encode_varint(len(inner)) + inner
