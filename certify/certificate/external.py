"""Bringing the external tensors of a model inside, so that it can be sealed as one file."""

from __future__ import annotations

from pathlib import Path

import onnx

from certify.certificate.messages import messages
from certify.errors import ModelError
from certify.graph.external import external_bytes, is_external

MAX_MODEL_BYTES = (1 << 31) - 1
"""Protobuf's own limit."""

ROOM_BYTES = 4 << 20
"""Kept free for what is added to a model: its preprocessing contract and its certificate."""


def inline_external(model: onnx.ModelProto, folder: Path, largest_weight: int | None = None) -> None:
    """Bring external tensors inside, in place.

    Args:
        model: whose tensors they are.
        folder: where its external data lies.
        largest_weight: size in bytes above which a weight (initializer of the graph) stays outside; None brings all.

    Raises:
        ModelError: bytes can't be had, or the model would exceed protobuf's limit of 2 GB.
    """
    weights = list(model.graph.initializer)  # kept, so that no other message gets the identity of one of them
    can_stay = {id(tensor) for tensor in weights}
    outside = []
    for tensor in messages(model):
        if isinstance(tensor, onnx.TensorProto) and is_external(tensor):
            place = external_bytes(tensor, folder)
            if largest_weight is None or place.length <= largest_weight or id(tensor) not in can_stay:
                outside.append((tensor, place))
    if not outside:
        return
    total = model.ByteSize() + sum(place.length for _, place in outside)
    if total > MAX_MODEL_BYTES - ROOM_BYTES:
        raise ModelError(
            f"The model holds {total / 2**30:.1f} GiB with its external data; it is sealed as one ONNX file, which "
            "can't exceed 2 GiB."
        )
    for tensor, place in outside:
        tensor.raw_data = b"".join(place.chunks())
        tensor.ClearField("external_data")
        tensor.ClearField("data_location")
