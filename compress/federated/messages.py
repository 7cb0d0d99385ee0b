"""Messages between server and clients: a few JSON values and raw bytes, parsed strictly.

A message is ``LMF1``, the length of the header (4 bytes, little-endian), the header as canonical JSON (RFC 8785), and
the payload. It states its kind, so one channel carries all kinds; signed lines (:mod:`certify.core.federation`) are in
the header.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import rfc8785

from certify.core.errors import DataError

MAGIC = b"LMF1"
MAX_HEADER_BYTES = 4_000_000
"""Maximum size of a header; the keys and encrypted shares of a hundred peers need about 100 kB."""


@dataclass(frozen=True)
class Message:
    """One message.

    Attributes:
        kind: kind of the request or answer, such as ``train``.
        values: values of the header, without the kind.
        payload: raw bytes, such as a model or an update.

    Example:
        >>> sent = Message("train", {"round": 3}, b"weights")
        >>> Message.parse(sent.content(), most_bytes=100) == sent
        True
    """

    kind: str
    values: Mapping[str, Any]
    payload: bytes = b""

    def content(self) -> bytes:
        """Return the bytes of the message."""
        header = rfc8785.dumps({**self.values, "kind": self.kind})
        return MAGIC + struct.pack("<I", len(header)) + header + self.payload

    @classmethod
    def parse(cls, content: bytes, most_bytes: int) -> Message:
        """Parse a message.

        Args:
            content: received bytes.
            most_bytes: maximum size of the payload.

        Raises:
            DataError: the message is malformed or too large.
        """
        if len(content) < 8 or content[:4] != MAGIC:
            raise DataError("The message is not one of a federated round, or was truncated.")
        (length,) = struct.unpack("<I", content[4:8])
        if length > MAX_HEADER_BYTES:
            raise DataError(f"The message's header must have at most {MAX_HEADER_BYTES} bytes, got {length}.")
        if len(content) - 8 < length:
            raise DataError(f"The message's header must have {length} bytes, got {len(content) - 8}.")
        payload = content[8 + length :]
        if len(payload) > most_bytes:
            raise DataError(f"The message's payload must have at most {most_bytes} bytes, got {len(payload)}.")
        header = content[8 : 8 + length]
        try:
            values = json.loads(header)
            # Accept only canonical bytes, so that each message has one encoding and one digest.
            whole = isinstance(values, dict) and rfc8785.dumps(values) == header
        except (ValueError, RecursionError, rfc8785.CanonicalizationError) as error:
            raise DataError("The message's header is not valid JSON.") from error
        kind = values.pop("kind", None) if whole else None
        if not isinstance(kind, str):
            raise DataError("The message's header is not canonical JSON with a kind.")
        return cls(kind, values, payload)

    def expect(self, kind: str, **kinds: type) -> dict[str, Any]:
        """Return the values after checking the kind of the message, and the names and types of its values.

        Args:
            kind: expected kind.
            kinds: expected Python type of each value, by name.

        Raises:
            DataError: the kind is another, or a value is missing, unknown or of another type.

        Example:
            >>> Message("train", {"round": 3}).expect("train", round=int)
            {'round': 3}
        """
        if self.kind != kind:
            raise DataError(f"The message must be of the kind '{kind}', got '{self.kind[:40]}'.")
        if odd := set(self.values) ^ set(kinds):
            raise DataError(f"The '{kind}' message lacks or must not have '{min(odd)[:40]}'.")
        for name, wanted in kinds.items():
            value = self.values[name]
            # JSON writes 1.0 as 1, and in Python True is an int.
            fits = isinstance(value, (int, float)) if wanted is float else isinstance(value, wanted)
            if not fits or (isinstance(value, bool) and wanted is not bool):
                raise DataError(f"The value '{name}' of the '{kind}' message must be of type {wanted.__name__}.")
        return dict(self.values)


@dataclass(frozen=True)
class Outgoing(Mapping[str, bytes]):
    """Messages of one kind with a common payload, each built when it is sent: all at once would hold as many payloads.

    Attributes:
        kind: kind of the messages.
        headers: values of the headers by the client's name.
        payload: payload of every message, such as the model.

    Example:
        >>> sent = Outgoing("train", {"a": {"round": 3}}, b"weights")
        >>> sent["a"] == Message("train", {"round": 3}, b"weights").content()
        True
    """

    kind: str
    headers: Mapping[str, Mapping[str, Any]]
    payload: bytes

    def __getitem__(self, name: str) -> bytes:
        return Message(self.kind, self.headers[name], self.payload).content()

    def __iter__(self) -> Iterator[str]:
        return iter(self.headers)

    def __len__(self) -> int:
        return len(self.headers)
