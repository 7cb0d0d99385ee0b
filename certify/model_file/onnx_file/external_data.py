"""External tensors of a model: locating and internalising them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx

from certify.core.errors import ModelError
from certify.model_file.onnx_file.messages import messages
from certify.model_file.onnx_graph.external_bytes import ExternalBytes, external_bytes, is_external

MAX_MODEL_BYTES = (1 << 31) - 1
"""Protobuf's limit."""

ROOM_BYTES = 4 << 20
"""Space reserved for additions to a model: its preprocessing contract and its certificate."""

SMALL_BYTES = 64 << 10
"""Weights up to this size are always internal, since shapes are computed from their values."""


def external_files(model: onnx.ModelProto, folder: Path) -> list[Path]:
    """Return the sidecar files of a model, sorted by name.

    Raises:
        ModelError: bytes are missing or unreadable.
    """
    return sorted({place.path for place in external_places(model, folder)})


def external_places(model: onnx.ModelProto, folder: Path) -> Iterator[ExternalBytes]:
    """Yield the locations of the bytes of all external tensors; raises like :func:`external_files`."""
    return (external_bytes(tensor, folder) for tensor in _outside(model))


def fits_inside(model: onnx.ModelProto, folder: Path) -> bool:
    """Return whether a model with all tensors internal fits into one file; raises like :func:`external_files`."""
    return _whole(model, external_places(model, folder)) <= MAX_MODEL_BYTES - ROOM_BYTES


def inline_external(model: onnx.ModelProto, folder: Path, largest_weight: int | None = None) -> None:
    """Internalise external tensors, in place.

    Args:
        model: the model.
        folder: folder of its external data.
        largest_weight: size in bytes above which a weight (initializer of the graph) stays external; None internalises
            all.

    Raises:
        ModelError: bytes are missing or unreadable, or the model would exceed protobuf's limit of 2 GB.
    """
    weights = list(
        model.graph.initializer
    )  # keeps the objects alive, so that no other message gets the identity of one of them
    # By identity, because messages are neither hashable nor unique by name across subgraphs.
    can_stay = {id(tensor) for tensor in weights}
    outside = []
    for tensor in _outside(model):
        place = external_bytes(tensor, folder)
        if largest_weight is None or place.length <= largest_weight or id(tensor) not in can_stay:
            outside.append((tensor, place))
    if not outside:
        return
    total = _whole(model, (place for _, place in outside))
    if total > MAX_MODEL_BYTES - ROOM_BYTES:
        raise ModelError(
            f"The model has {total / 2**30:.1f} GiB that must be inside its ONNX file, which cannot exceed 2 GiB; only "
            "initializers of the main graph may be external, so convert large constants to initializers."
        )
    # Only after the size check, so that a failure leaves the model as it was.
    for tensor, place in outside:
        tensor.raw_data = b"".join(place.chunks())
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")


def _outside(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    return (found for found in messages(model) if isinstance(found, onnx.TensorProto) and is_external(found))


def _whole(model: onnx.ModelProto, places: Iterable[ExternalBytes]) -> int:
    return int(model.ByteSize()) + sum(place.length for place in places)
