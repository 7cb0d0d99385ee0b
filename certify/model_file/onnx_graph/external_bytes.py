"""Tensor bytes in an ONNX model's sidecar files.

ONNX stores the location of such bytes as text in the model (``location``, ``offset``, ``length``; see
https://onnx.ai/onnx/repo-docs/ExternalData.html). That text is untrusted, so no file outside the model's own folder is
ever opened.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import onnx

from certify.core.errors import ModelError
from certify.core.files import CHUNK_BYTES


@dataclass(frozen=True)
class ExternalBytes:
    """Range of a file with one tensor's bytes.

    Attributes:
        path: the file, inside the model's folder.
        offset: offset of the first byte.
        length: number of bytes.
    """

    path: Path
    offset: int
    length: int

    def chunks(self) -> Iterator[bytes]:
        """Yield the bytes in chunks.

        Raises:
            ModelError: the file ends early.
        """
        left = self.length
        with self.path.open("rb") as stream:
            stream.seek(self.offset)
            while left > 0:
                chunk = stream.read(min(left, CHUNK_BYTES))
                if not chunk:
                    raise ModelError(
                        f"External data {self.path.name} is shorter than the model requires; restore the complete file."
                    )
                left -= len(chunk)
                yield chunk


def is_external(tensor: onnx.TensorProto) -> bool:
    """Return whether the tensor's bytes are in another file."""
    return bool(tensor.data_location == onnx.TensorProto.EXTERNAL)


def external_bytes(tensor: onnx.TensorProto, folder: Path | None) -> ExternalBytes:
    """Find the bytes of an external tensor.

    Args:
        tensor: tensor for which :func:`is_external` holds.
        folder: folder of the model; None for a model that is not on disk.

    Raises:
        ModelError: the location is missing or malformed, is outside the folder, or is not a regular file.
    """
    if folder is None:
        raise ModelError(
            f"Tensor '{tensor.name}' is in another file, but the model's folder is unknown; load the model from its "
            "file."
        )
    if tensor.HasField("raw_data"):
        raise ModelError(f"Tensor '{tensor.name}' has both internal and external bytes. Save the model again.")
    place = {entry.key: entry.value for entry in tensor.external_data}
    if not all(
        isinstance(text, str) for pair in place.items() for text in pair
    ):  # protobuf returns bytes for text that is not UTF-8
        raise ModelError("A tensor has a location of external data that is not UTF-8 text. Save the model again.")
    path = _confined(place.get("location", ""), folder)
    size = path.stat().st_size
    offset = _position(place.get("offset", "0"), tensor.name)
    length = _position(place["length"], tensor.name) if "length" in place else max(0, size - offset)
    if offset + length > size:
        raise ModelError(
            f"Tensor '{tensor.name}' needs bytes {offset} to {offset + length} of {path.name}, which has only {size} "
            "bytes; restore the complete file."
        )
    return ExternalBytes(path, offset, length)


def _confined(location: str, folder: Path) -> Path:
    """Resolve a location below ``folder``; links and paths that lead out of it are refused."""
    refusal = ModelError(
        f"External data '{location[:200]}' is not a regular file inside the model's folder {folder}; save the model "
        "with internal weights, or with the weights in its own folder."
    )
    # Checked in both notations, because a file written on Linux must not lead out of the folder on Windows.
    parts = PurePosixPath(location.replace("\\", "/"))
    leaves = parts.is_absolute() or ".." in parts.parts or PureWindowsPath(location).drive
    if not location or "\0" in location or leaves:
        raise refusal
    home = folder.resolve()
    try:
        # Both fail if the name is too long.
        linked = (home / parts).is_symlink()
        path = (home / parts).resolve(strict=not linked)
    except FileNotFoundError as error:
        raise ModelError(
            f"External data '{location[:200]}' is missing in {folder}; put the weights file of the model there, under "
            "that name."
        ) from error
    except (OSError, RuntimeError) as error:
        raise ModelError(f"External data '{location[:200]}' cannot be read in {folder}: {error}.") from error
    if linked:
        raise ModelError(
            f"External data '{location[:200]}' is a symbolic link, as in the cache of a model hub; copy the model and "
            "its weights as files to a folder of their own (cp -L)."
        )
    if home not in path.parents or not path.is_file():
        raise refusal
    return path


def _position(text: str, tensor: str) -> int:
    # isdigit alone accepts digits of other scripts, and longer numbers exceed 64 bits.
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise ModelError(f"Tensor '{tensor}' has a malformed location of external data: '{text[:40]}'.")
    return int(text)
