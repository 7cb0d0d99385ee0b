"""Weights in a sidecar file, since an ONNX file cannot exceed 2 GB.

The normal form has one such file, ``model.onnx.data`` next to ``model.onnx``, with the weights in the order of the
model's initializers, each aligned to a page, so that runtimes can memory-map them. The model names that file with its
checksum (SHA-1, see https://onnx.ai/onnx/repo-docs/ExternalData.html), so models with different weights never have the
same bytes. The certificate binds the values through the content digest. Files are processed in chunks.
"""

from __future__ import annotations

import hashlib
import itertools
from pathlib import Path

import onnx

from certify.core.errors import ModelError
from certify.core.files import copy, replacing
from certify.model_file.onnx_file.external_data import SMALL_BYTES, external_files, external_places
from certify.model_file.onnx_graph.external_bytes import ExternalBytes, external_bytes, is_external

SUFFIX = ".data"
ALIGNMENT = 4096


def write_weights(model: onnx.ModelProto, folder: Path, path: Path) -> None:
    """Write the large weights of a model to a sidecar file of ``path``, and refer to it in the model, in place.

    Args:
        model: model with internal or external weights.
        folder: folder of its external data.
        path: path to which the model itself will be written.

    Raises:
        ModelError: bytes are missing or unreadable, or weights overlap in their files.
    """
    _refuse_overlap(model, folder)
    target = path.with_name(path.name + SUFFIX)
    # The format of external data names SHA-1; the certificate does not rest on it.
    checksum = hashlib.sha1(usedforsecurity=False)
    placed: dict[ExternalBytes | int, int] = {}
    large = []
    with replacing(target) as beside, beside.open("wb") as stream:
        for index, weight in enumerate(model.graph.initializer):
            outside = external_bytes(weight, folder) if is_external(weight) else None
            length = len(weight.raw_data) if outside is None else outside.length
            if length <= SMALL_BYTES:
                continue
            key = index if outside is None else outside  # weights that share bytes keep sharing them
            if key not in placed:
                gap = b"\0" * (-stream.tell() % ALIGNMENT)
                placed[key] = stream.tell() + len(gap)
                for chunk in itertools.chain([gap], [weight.raw_data] if outside is None else outside.chunks()):
                    stream.write(chunk)
                    checksum.update(chunk)
            large.append((weight, placed[key], length))
    for weight, offset, length in large:
        weight.ClearField("raw_data")
        weight.ClearField("external_data")
        weight.data_location = onnx.TensorProto.EXTERNAL
        entries = {"location": target.name, "offset": offset, "length": length, "checksum": checksum.hexdigest()}
        for name, value in entries.items():
            weight.external_data.add(key=name, value=str(value))


def copy_weights(model: onnx.ModelProto, home: Path, folder: Path) -> None:
    """Copy a model's sidecar files with weights to another folder, for a copy of the model.

    Raises:
        ModelError: a file of weights is missing.
    """
    for file in external_files(model, home):
        copy(file, folder / file.relative_to(home.resolve()))


def holds_only_weights(model: onnx.ModelProto, folder: Path) -> bool:
    """Return whether a model's sidecar files contain only weights: zeros in short gaps, and nothing at the end.

    This holds for the normal form. Other tools may leave unused bytes; onnx appends to an existing file.

    Raises:
        ModelError: bytes are missing or unreadable.
    """
    stretches: dict[Path, list[tuple[int, int]]] = {}
    for place in external_places(model, folder):
        stretches.setdefault(place.path, []).append((place.offset, place.offset + place.length))
    return all(_only_zeros_between(path, sorted(found)) for path, found in stretches.items())


def _only_zeros_between(path: Path, stretches: list[tuple[int, int]]) -> bool:
    reached = 0
    with path.open("rb") as stream:
        for start, end in stretches:
            # No alignment needs a longer gap, and reading one could take any amount of memory.
            if start - reached >= ALIGNMENT:
                return False
            stream.seek(reached)
            if any(stream.read(max(0, start - reached))):
                return False
            reached = max(reached, end)
    return path.stat().st_size == reached


def _refuse_overlap(model: onnx.ModelProto, folder: Path) -> None:
    """Refuse overlapping weights: a small hostile file could use the same bytes for any number of weights."""
    places = set(external_places(model, folder))
    available = sum(path.stat().st_size for path in {place.path for place in places})
    if sum(place.length for place in places) > available:
        raise ModelError("Weights of the model overlap in its sidecar files. Save the model again.")
