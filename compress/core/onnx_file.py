"""ONNX models with weights that do not fit into one message: written with a separate weight file, run and inspected.

A protobuf message cannot exceed 2 GB. Larger models keep their weights as external data
(https://onnx.ai/onnx/repo-docs/ExternalData.html), here always in one file next to the model's and named after it;
files written here never refer to any other location.
"""

from __future__ import annotations

import contextlib
import math
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
import onnx.external_data_helper
import onnx.numpy_helper
import onnx.shape_inference
from google.protobuf.message import Message

from certify.core import files
from certify.model_file.onnx_file.external_data import external_files
from certify.model_file.onnx_file.messages import parse_model
from certify.model_file.onnx_file.normal_form import drop_exporter_notes

INLINE_BYTES = 2_000_000_000
"""Models with more bytes of weights than this keep them in a separate file."""
SMALL_BYTES = 4096
"""Constants up to this size always stay in the model's file: shapes are computed from their values."""
ALIGNMENT = 4096
"""Alignment of each constant in the weight file, so that a runtime can map it."""
SUFFIX = ".data"

Weights = Mapping[str, onnx.TensorProto]


def weight_bytes(model: onnx.ModelProto) -> int:
    """Return the bytes of all constants."""
    return sum(_bytes(tensor) for tensor in model.graph.initializer)


def split(model: onnx.ModelProto, inline: int | None = None) -> tuple[onnx.ModelProto, Weights]:
    """Return the model itself if it fits into a message, or else a copy without the large constants, and these.

    The copy refers to them as external data, at the offsets at which :func:`save` writes them to a file without a name.

    Args:
        model: the model; not modified.
        inline: bytes of weights that fit; None for what a file may hold.
    """
    if weight_bytes(model) <= (INLINE_BYTES if inline is None else inline):
        return model, {}
    # Copied field by field: a copy of the whole message would hold the weights twice.
    copied = _without(model, "graph")
    copied.graph.CopyFrom(_without(model.graph, "initializer"))
    weights: dict[str, onnx.TensorProto] = {}
    offset = 0
    for tensor in model.graph.initializer:
        if _bytes(tensor) <= SMALL_BYTES:
            copied.graph.initializer.append(tensor)
            continue
        weights[tensor.name] = tensor
        place = copied.graph.initializer.add(name=tensor.name, dims=tensor.dims, data_type=tensor.data_type)
        place.data_location = onnx.TensorProto.EXTERNAL
        entries = {"location": SUFFIX, "offset": str(offset), "length": str(_bytes(tensor))}
        place.external_data.extend(onnx.StringStringEntryProto(key=k, value=v) for k, v in entries.items())
        offset += math.ceil(_bytes(tensor) / ALIGNMENT) * ALIGNMENT
    return copied, weights


def save(model: onnx.ModelProto, path: Path) -> None:
    """Write a model, with a separate weight file if needed, atomically.

    An exporter's notes about source code are dropped first, from the model itself, as they are from a certified file:
    torch writes almost as many bytes of them as a small int8 network has weights.

    Raises:
        OSError: the file system refuses.
    """
    with replacing(path) as written:
        copied, weights = split(model)
        for message in (copied.graph, *copied.graph.node):
            drop_exporter_notes(message)
        if weights:
            beside = written.with_name(written.name + SUFFIX)
            with beside.open("wb") as stream:
                for tensor in weights.values():
                    array = onnx.numpy_helper.to_array(tensor)
                    # External data is little-endian on every machine (ONNX's ExternalData.md).
                    stream.write(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
                    stream.write(b"\0" * (-stream.tell() % ALIGNMENT))
            for tensor in copied.graph.initializer:
                for entry in tensor.external_data:
                    if entry.key == "location":
                        entry.value = beside.name
        written.write_bytes(copied.SerializeToString())


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a path of the same name in a temporary folder; the files written there finally replace ``path``.

    Weight files are moved first and the file that refers to them last; on failure nothing is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        written = Path(folder, path.name)
        yield written
        for part in sorted(written.parent.iterdir()):
            if part != written:
                part.replace(path.parent / part.name)
        # Replace the file atomically and last: until then the old file and its old weights belong together.
        files.copy(written, path)


def parts(path: Path) -> list[Path]:
    """Return the model's file, followed by its external weight files in order of name.

    Raises:
        ModelError: it refers to a file that is missing or outside its folder.
    """
    return [path, *external_files(parse_model(path), path.parent)]


def infer_shapes(model: onnx.ModelProto) -> None:
    """Add the shapes of all values that can be inferred, in place."""
    # Without large weights, of which only the shapes count: inference copies what it gets three times.
    inferred = onnx.shape_inference.infer_shapes(split(model, SMALL_BYTES)[0]).graph
    for stated, found in ((model.graph.value_info, inferred.value_info), (model.graph.output, inferred.output)):
        del stated[:]
        stated.extend(found)


def runtime_values(weights: Weights) -> dict[str, Any]:
    """Return the constants that :func:`split` took out, for ONNX Runtime's ``add_external_initializers``.

    They must outlive the session, which does not copy them.
    """
    import onnxruntime

    arrays = {name: onnx.numpy_helper.to_array(tensor) for name, tensor in weights.items()}
    return {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}


def _bytes(tensor: onnx.TensorProto) -> int:
    """Return the bytes of a numeric constant; 0 for strings and types that numpy lacks, which always stay inside."""
    kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return math.prod(tensor.dims) * kind.itemsize if kind.kind in "fiu" else 0


def _without(message: Message, left_out: str) -> Any:
    """Return a copy without one field; the field itself is never copied."""
    copied = type(message)()
    for field, value in message.ListFields():
        if field.name == left_out:
            continue
        if isinstance(value, Message):
            getattr(copied, field.name).CopyFrom(value)
        elif hasattr(value, "extend"):  # repeated; protobuf versions have no common type name for that
            getattr(copied, field.name).extend(value)
        else:
            setattr(copied, field.name, value)
    return copied
