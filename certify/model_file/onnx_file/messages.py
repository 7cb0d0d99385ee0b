"""Traversal of the protobuf messages of an ONNX model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
from google.protobuf.message import DecodeError, Message
from google.protobuf.unknown_fields import UnknownFieldSet

from certify.core.errors import ModelError


def parse_model(path: Path) -> onnx.ModelProto:
    """Read an ONNX file; external data are not read.

    Raises:
        ModelError: the file cannot be read or is not an ONNX model.
    """
    try:
        # Not onnx.load, which would also read external data, by paths that the file names.
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    return parse_bytes(content, path)


def parse_bytes(content: bytes, path: Path) -> onnx.ModelProto:
    """Parse the bytes of an ONNX file.

    Raises:
        ModelError: they are not an ONNX model.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except (DecodeError, ValueError) as error:
        raise ModelError(f"{path} is damaged or not an ONNX model: {error}.") from error
    if not model.HasField("graph"):
        raise ModelError(f"{path} is damaged or not an ONNX model: it has no graph.")
    return model


def messages(message: Message) -> Iterator[Message]:
    """Yield a message and all messages inside it, outermost first; raises like :func:`listed_fields`."""
    yield message
    for _, value in listed_fields(message):
        if isinstance(value, Message):
            yield from messages(value)
        elif not isinstance(value, str | bytes | int | float) and len(value) and isinstance(value[0], Message):
            for item in value:
                yield from messages(item)


def refuse_unknown_fields(model: Message) -> None:
    """Raise if any message has a field unknown to this version of ONNX, or invalid text.

    Unreadable content cannot be digested, counted or judged, so it must not be sealed.

    Raises:
        ModelError: there is such a field; the message names the kind of protobuf message.
    """
    for message in messages(model):
        # Protobuf keeps such fields when a file is written again, so they would travel under a seal that does not cover
        # them.
        if len(UnknownFieldSet(message)):
            kind = message.DESCRIPTOR.name
            raise ModelError(
                f"The model has a field in a {kind} that ONNX {onnx.__version__} does not know. Save it with this "
                "version of onnx, or update the installed onnx."
            )


def listed_fields(message: Message) -> Sequence[tuple[int, Any]]:
    """Return the set fields as (number, value), in the order of their numbers.

    Raises:
        ModelError: a text is not UTF-8 (protobuf then returns bytes or raises, depending on its implementation).
    """
    refusal = ModelError(f"The model has text in a {message.DESCRIPTOR.name} that is not UTF-8. Export it again.")
    try:
        listed = [(field.number, value, field.type == field.TYPE_STRING) for field, value in message.ListFields()]
        for _, value, is_text in listed:
            texts = [value] if isinstance(value, str | bytes) else value
            # For invalid text some implementations of protobuf return bytes, and some raise.
            if is_text and any(isinstance(text, bytes) for text in texts):
                raise refusal
    except UnicodeDecodeError as error:
        raise refusal from error
    return [(number, value) for number, value, _ in listed]
