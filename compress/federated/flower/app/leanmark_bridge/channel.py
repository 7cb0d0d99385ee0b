"""Frames over a Unix socket: eight bytes of length, then the bytes."""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

MOST_BYTES = 1 << 32


def connect(path: str) -> socket.socket:
    """Connect to the socket at a path.

    Raises:
        OSError: no process listens there.
    """
    bridge = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bridge.connect(path)
    except OSError:
        bridge.close()
        raise
    return bridge


def send(stream: socket.socket, content: bytes) -> None:
    """Send one frame."""
    stream.sendall(struct.pack(">Q", len(content)) + content)


def receive(stream: socket.socket) -> bytes:
    """Receive one frame.

    Raises:
        ConnectionError: the connection is closed, or the frame is too long.
    """
    (length,) = struct.unpack(">Q", _exactly(stream, 8))
    if length > MOST_BYTES:
        raise ConnectionError(f"A frame of {length} bytes was announced; at most {MOST_BYTES} are read.")
    return _exactly(stream, length)


def send_json(stream: socket.socket, values: Any) -> None:
    """Send JSON values as a frame."""
    send(stream, json.dumps(values).encode())


def receive_json(stream: socket.socket) -> dict[str, Any]:
    """Receive a JSON object.

    Raises:
        ConnectionError: the connection is closed, or the frame is not a JSON object.
    """
    content = receive(stream)
    try:
        values = json.loads(content)
    except ValueError as error:
        raise ConnectionError("A frame is not JSON.") from error
    if not isinstance(values, dict):
        raise ConnectionError("A frame is not a JSON object.")
    return values


def _exactly(stream: socket.socket, count: int) -> bytes:
    parts = []
    while count:
        part = stream.recv(min(count, 1 << 20))
        if not part:
            raise ConnectionError("The other side closed the connection.")
        parts.append(part)
        count -= len(part)
    return b"".join(parts)
