"""ONNX models whose weights don't fit into one message: written with a file of weights beside, run and looked at.

A protobuf message can't exceed 2 GB. What is larger keeps its weights as external data
(https://onnx.ai/onnx/repo-docs/ExternalData.html), here always in one file beside the model's, named after it; nothing
that is written here names a file anywhere else.
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

INLINE_BYTES = 2_000_000_000
"""Models with more bytes of weights than this keep them in a file beside."""
SMALL_BYTES = 4096
"""Constants up to this size always stay inside: shapes are computed from their values."""
ALIGNMENT = 4096
"""Of each constant in the file beside, so that a runtime can map it."""
SUFFIX = ".data"

Weights = Mapping[str, onnx.TensorProto]


def weight_bytes(model: onnx.ModelProto) -> int:
    """Bytes of all constants."""
    return sum(_bytes(tensor) for tensor in model.graph.initializer)


def split(model: onnx.ModelProto) -> tuple[onnx.ModelProto, Weights]:
    """A copy that fits into a message, and the constants that it lacks; none where it fits as it is.

    The copy names them as external data, at the places where :func:`save` writes them in a file without a name.
    """
    if weight_bytes(model) <= INLINE_BYTES:
        copied = onnx.ModelProto()
        copied.CopyFrom(model)
        return copied, {}
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
    """Write a model, which is left as it is, with its weights beside where they are too many; as a whole or not at all.

    Raises:
        OSError: as the file system says.
    """
    with replacing(path) as written:
        copied, weights = split(model)
        if weights:
            beside = written.with_name(written.name + SUFFIX)
            with beside.open("wb") as stream:
                for tensor in weights.values():
                    array = onnx.numpy_helper.to_array(tensor)
                    stream.write(array.astype(array.dtype.newbyteorder("<"), copy=False).data)
                    stream.write(b"\0" * (-stream.tell() % ALIGNMENT))
            for tensor in copied.graph.initializer:
                for entry in tensor.external_data:
                    if entry.key == "location":
                        entry.value = beside.name
        written.write_bytes(copied.SerializeToString())


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path of the same name in a folder of its own; what lies there in the end replaces ``path``.

    The files of weights come first and the one that names them last; on a failure nothing is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        written = Path(folder, path.name)
        yield written
        for other in sorted(written.parent.iterdir()):
            if other != written:
                other.replace(path.parent / other.name)
        files.copy(written, path)


def parts(path: Path) -> list[Path]:
    """The model's file, and after it by name the files beside that hold its weights.

    Raises:
        ModelError: it names a file that is missing or outside of its folder.
    """
    return [path, *external_files(parse_model(path), path.parent)]


def infer_shapes(model: onnx.ModelProto) -> None:
    """State the shapes of all values that they can be inferred for, in place."""
    inferred = onnx.shape_inference.infer_shapes(split(model)[0]).graph
    for stated, found in ((model.graph.value_info, inferred.value_info), (model.graph.output, inferred.output)):
        del stated[:]
        stated.extend(found)


def runtime_values(weights: Weights) -> dict[str, Any]:
    """Constants that :func:`split` took out, for ONNX Runtime's ``add_external_initializers``.

    They must outlive the session, which does not copy them.
    """
    import onnxruntime

    arrays = {name: onnx.numpy_helper.to_array(tensor) for name, tensor in weights.items()}
    return {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in arrays.items()}


def _bytes(tensor: onnx.TensorProto) -> int:
    """Bytes of a constant of numbers; 0 for texts, and for types that numpy has not, which always stay inside."""
    kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    return math.prod(tensor.dims) * kind.itemsize if kind.kind in "fiu" else 0


def _without(message: Message, left_out: str) -> Any:
    """A copy without one field, which is never copied."""
    copied = type(message)()
    for field, value in message.ListFields():
        if field.name == left_out:
            continue
        if isinstance(value, Message):
            getattr(copied, field.name).CopyFrom(value)
        elif hasattr(value, "extend"):  # repeated; protobuf has no one name for that in all its versions
            getattr(copied, field.name).extend(value)
        else:
            setattr(copied, field.name, value)
    return copied
