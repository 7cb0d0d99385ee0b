"""Weights that lie in a file beside their model, since one file can't hold more than 2 GB.

In the normal form that is one file, ``model.onnx.data`` beside ``model.onnx``, with the weights in the order of the
model's initializers, each at a multiple of a page, so that runtimes map them into memory. The model names that file
with its checksum (SHA-1, as https://onnx.ai/onnx/repo-docs/ExternalData.html has it), so that models of other weights
never have the same bytes. What a certificate binds is their values, through the content digest. Files are walked in
pieces.
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
    """Write the large weights of a model into a file beside ``path``, and name it in the model, in place.

    Args:
        model: its weights may lie inside or outside.
        folder: where those outside lie.
        path: where the model itself will be written.

    Raises:
        ModelError: bytes are missing or unreadable, or weights overlap in the files that hold them.
    """
    _refuse_overlap(model, folder)
    target = path.with_name(path.name + SUFFIX)
    checksum = hashlib.sha1(usedforsecurity=False)
    placed: dict[ExternalBytes | int, int] = {}
    large = []
    with replacing(target) as beside, beside.open("wb") as stream:
        for index, weight in enumerate(model.graph.initializer):
            outside = external_bytes(weight, folder) if is_external(weight) else None
            length = len(weight.raw_data) if outside is None else outside.length
            if length <= SMALL_BYTES:
                continue
            key = index if outside is None else outside  # weights that share their bytes go on doing so
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
    """Copy the files of weights that a model names into another folder, where a copy of the model will find them.

    Raises:
        ModelError: a file of weights is missing.
    """
    for file in external_files(model, home):
        copy(file, folder / file.relative_to(home.resolve()))


def holds_only_weights(model: onnx.ModelProto, folder: Path) -> bool:
    """Whether the files of weights beside a model hold nothing else: zeros in short gaps, and nothing at the end.

    The normal form does. Other tools may leave what is no longer used; onnx appends to a file that is there already.

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
            if start - reached >= ALIGNMENT:
                return False
            stream.seek(reached)
            if any(stream.read(max(0, start - reached))):
                return False
            reached = max(reached, end)
    return path.stat().st_size == reached


def _refuse_overlap(model: onnx.ModelProto, folder: Path) -> None:
    """A few lines of a hostile file could name the same bytes as any number of weights."""
    places = set(external_places(model, folder))
    held = sum(path.stat().st_size for path in {place.path for place in places})
    if sum(place.length for place in places) > held:
        raise ModelError("Weights of the model overlap in the files beside it. Save the model again.")
