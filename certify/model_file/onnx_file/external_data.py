"""Tensors that lie outside of a model's file: where they all are, and bringing them inside."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx

from certify.core.errors import ModelError
from certify.model_file.onnx_file.messages import messages
from certify.model_file.onnx_graph.external_bytes import ExternalBytes, external_bytes, is_external

MAX_MODEL_BYTES = (1 << 31) - 1
"""Protobuf's own limit."""

ROOM_BYTES = 4 << 20
"""Kept free for what is added to a model: its preprocessing contract and its certificate."""

SMALL_BYTES = 64 << 10
"""Weights up to this size always lie inside: shapes are computed from their values."""


def external_files(model: onnx.ModelProto, folder: Path) -> list[Path]:
    """The files beside a model that hold bytes of it, by name.

    Raises:
        ModelError: bytes are missing or unreadable.
    """
    return sorted({place.path for place in external_places(model, folder)})


def external_places(model: onnx.ModelProto, folder: Path) -> Iterator[ExternalBytes]:
    """Where the bytes of all tensors are that do not lie inside; raises as :func:`external_files` does."""
    return (external_bytes(tensor, folder) for tensor in _outside(model))


def fits_inside(model: onnx.ModelProto, folder: Path) -> bool:
    """Whether a model with all its tensors inside fits into one file; raises as :func:`external_files` does."""
    return _whole(model, external_places(model, folder)) <= MAX_MODEL_BYTES - ROOM_BYTES


def inline_external(model: onnx.ModelProto, folder: Path, largest_weight: int | None = None) -> None:
    """Bring external tensors inside, in place.

    Args:
        model: whose tensors they are.
        folder: where its external data lies.
        largest_weight: size in bytes above which a weight (initializer of the graph) stays outside; None brings all.

    Raises:
        ModelError: bytes are missing or unreadable, or the model would exceed protobuf's limit of 2 GB.
    """
    weights = list(model.graph.initializer)  # kept, so that no other message gets the identity of one of them
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
            f"The model holds {total / 2**30:.1f} GiB that must lie inside its ONNX file, which can't exceed 2 GiB; "
            "only initializers of its main graph may lie beside it, so make its large constants such."
        )
    for tensor, place in outside:
        tensor.raw_data = b"".join(place.chunks())
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")


def _outside(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    return (found for found in messages(model) if isinstance(found, onnx.TensorProto) and is_external(found))


def _whole(model: onnx.ModelProto, places: Iterable[ExternalBytes]) -> int:
    return int(model.ByteSize()) + sum(place.length for place in places)
